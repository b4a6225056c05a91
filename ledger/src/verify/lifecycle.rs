//! Entries against each other: the chain, time, ordinals, links, and what was disclosed.
//!
//! All entries looked at here are committed, so whatever contradicts is the log's own doing: a
//! rule broken by the cluster, whoever signed it.

use std::collections::BTreeMap;

use super::entries::{CheckedEntry, Standing};
use super::{Fault, Finding};
use crate::digest::{ChainHash, TaggedDigest};
use crate::entry::{Body, Entry, MissReason, ReadHit, Write};
use crate::ids::Seq;
use crate::time::Micros;

/// Checks whatever the entries shown say about each other; holes between them are no fault here.
pub(super) fn check_order(entries: &[CheckedEntry<'_>], findings: &mut Vec<Finding>) {
    let good: Vec<(&Entry, &str)> = entries.iter().filter_map(readable).collect();
    for pair in good.windows(2) {
        if let [before, after] = pair {
            findings.extend(chain_problem(before, after.0));
        }
    }
    let mut lifecycles: BTreeMap<(&str, String), Vec<&Entry>> = BTreeMap::new();
    for (entry, _) in good {
        let key = (entry.tenant.as_str(), entry.subject.to_string());
        lifecycles.entry(key).or_default().push(entry);
    }
    for lifecycle in lifecycles.values() {
        let mut walk = Walk::default();
        for entry in lifecycle {
            walk.next(entry, findings);
        }
    }
}

/// One subject's events, walked through in their order. Memory is that of its last event and of its
/// writes.
#[derive(Default)]
pub(crate) struct Walk {
    last: Option<(Seq, u64)>,
    known: Known,
    writes: BTreeMap<Seq, Held>,
}

impl Walk {
    /// The place of the event before.
    pub(crate) fn last(&self) -> Option<Seq> {
        self.last.map(|(seq, _)| seq)
    }

    /// Checks the next event shown against those before it: ordinals, links, and whether what it
    /// disclosed could be. Holes between them are no fault here.
    ///
    /// The last is a part of the rules of [`crate::fold`], as much as one subject's events show:
    /// whether a model was superseded meanwhile, a full replay alone can tell.
    pub(crate) fn next(&mut self, entry: &Entry, findings: &mut Vec<Finding>) {
        let linked = self.last.and_then(|before| link_problem(before, entry));
        findings.extend(linked.or_else(|| first_problem(entry)));
        let n = self.last.map_or(0, |(_, n)| n);
        match entry.n {
            1 => self.known = Known::Absent,
            next if next == n.saturating_add(1) => (),
            _ => self.known = Known::Nothing,
        }
        self.last = Some((entry.seq, entry.n));
        if let Body::ReadHit(hit) = &entry.body {
            findings.extend(self.hit_problem(entry, hit));
        }
        if let Some(held) = held(entry) {
            self.writes.insert(entry.seq, held);
        }
        self.known = core::mem::take(&mut self.known).after(entry);
    }

    fn hit_problem(&self, entry: &Entry, hit: &ReadHit) -> Option<Finding> {
        let broken = |problem: &str| broken("disclosure-forbidden", entry.seq, problem);
        let held = match &self.known {
            Known::Absent => return Some(broken("a hit where nothing was ever set")),
            Known::Inactive(held, why) if held.write_seq == hit.write_seq => {
                let problem = format!("a hit on a result that is {why}");
                return Some(broken(&problem).but("a result that is active", why));
            }
            Known::Inactive(held, _) | Known::Active(held) => *held,
            // Without all events before it: at least against the write that it names.
            Known::Nothing => match self.writes.get(&hit.write_seq) {
                Some(held) => *held,
                _ if hit.write_seq < entry.seq => return None,
                _ => return Some(broken("a hit on a write that comes after it")),
            },
        };
        if held.write_seq != hit.write_seq {
            let problem = "a hit names another write than the newest before it";
            return Some(broken(problem).but(held.write_seq, hit.write_seq));
        }
        if held.version != hit.version {
            return Some(broken("a hit names another version").but(held.version, hit.version));
        }
        if held.output_hash != hit.output_hash {
            let [expected, found] = [held.output_hash, hit.output_hash].map(TaggedDigest::sha3);
            return Some(broken("a hit names another output").but(expected, found));
        }
        if entry.time >= held.deadline {
            let expected = format!("before {}", held.deadline);
            return Some(broken("a hit on an expired result").but(expected, entry.time));
        }
        None
    }
}

fn readable<'a>(checked: &'a CheckedEntry<'_>) -> Option<(&'a Entry, &'a str)> {
    let committed = matches!(checked.standing, Standing::Proved | Standing::NotTrusted);
    let entry = checked.entry.as_ref().filter(|_| committed)?;
    Some((entry, checked.shown.line.as_str()))
}

fn broken(code: &'static str, seq: Seq, problem: &str) -> Finding {
    Finding::at(
        Fault::Tampered,
        code,
        seq,
        format!("rule broken by the cluster: {problem}"),
    )
}

/// Time never goes back, and of two neighbours the later names the earlier's hash.
fn chain_problem((before, line): &(&Entry, &str), after: &Entry) -> Option<Finding> {
    if after.time < before.time {
        let problem = format!("time goes back from entry {}", before.seq);
        let finding = broken("time-goes-back", after.seq, &problem);
        return Some(finding.but(format_args!("{} or later", before.time), after.time));
    }
    let neighbours = before.seq.size_including().map(|size| size.0) == Some(after.seq.0);
    let head = ChainHash::of(line.as_bytes());
    if neighbours && after.prev != head {
        let problem = "prev is not the hash of the entry before";
        return Some(broken("chain-broken", after.seq, problem).but(head, after.prev));
    }
    None
}

/// The first event of a lifecycle has no event before it, and every other has one.
fn first_problem(entry: &Entry) -> Option<Finding> {
    let problem = match (entry.n, entry.subject_prev) {
        (0, _) => "ordinals start at 1",
        (1, Some(_)) => "the first event of a subject names one before it",
        (2.., None) => "an event after the first names none before it",
        (2.., Some(prev)) if prev >= entry.seq => "an event names one before it that is not",
        _ => return None,
    };
    Some(broken("lifecycle-broken", entry.seq, problem))
}

/// Of two shown events of one subject the later has the greater ordinal; it names the earlier one
/// exactly when it is the next, and one in between otherwise.
fn link_problem((seq, n): (Seq, u64), after: &Entry) -> Option<Finding> {
    let found = after
        .subject_prev
        .map_or("none".to_owned(), |seq| seq.to_string());
    if after.n <= n {
        let problem = format!("entry {seq} of the same subject has ordinal {n}");
        let expected = format!("ordinal above {n}");
        let finding = broken("lifecycle-broken", after.seq, &problem);
        return Some(finding.but(expected, format_args!("ordinal {}", after.n)));
    }
    let is_next = after.n == n.saturating_add(1);
    let links_to_before = after.subject_prev == Some(seq);
    let links_beyond = after.subject_prev.is_none_or(|prev| prev < seq);
    if is_next && !links_to_before {
        let problem = "the event names another one before it than the one that is";
        return Some(broken("lifecycle-broken", after.seq, problem).but(seq, found));
    }
    if !is_next && (links_to_before || links_beyond) {
        let expected = format!("an entry after {seq}");
        let problem = "by its ordinal there is an event in between, by its link there is none";
        return Some(broken("lifecycle-broken", after.seq, problem).but(expected, found));
    }
    None
}

/// What is known of a subject's result while walking through its events.
#[derive(Default)]
enum Known {
    /// Events are missing, so anything may be.
    #[default]
    Nothing,
    /// No result was ever set.
    Absent,
    /// There is one and it may be disclosed.
    Active(Held),
    /// There is one and it may not, for this reason.
    Inactive(Held, &'static str),
}

#[derive(Clone, Copy)]
struct Held {
    write_seq: Seq,
    version: u64,
    output_hash: [u8; 32],
    deadline: Micros,
}

impl Known {
    fn after(self, entry: &Entry) -> Self {
        match (&entry.body, self) {
            (Body::Write(_), _) => held(entry).map_or(Self::Nothing, Self::Active),
            (Body::Revoke(revocation), Self::Active(held))
                if revocation.version == held.version =>
            {
                Self::Inactive(held, "revoked")
            }
            (Body::Reinstate(revocation), Self::Inactive(held, "revoked"))
                if revocation.version == held.version =>
            {
                Self::Active(held)
            }
            // Of an older version, whose write is further back.
            (Body::Revoke(_) | Body::Reinstate(_), _) => Self::Nothing,
            (Body::Expire(_), Self::Active(held)) => Self::Inactive(held, "expired"),
            (Body::Supersede(_), Self::Active(held)) => Self::Inactive(held, "superseded"),
            (Body::ReadMiss(miss), Self::Active(held)) => match miss.reason {
                MissReason::Expired => Self::Inactive(held, "expired"),
                MissReason::Superseded(_) => Self::Inactive(held, "superseded"),
                _ => Self::Nothing,
            },
            (_, known) => known,
        }
    }
}

fn held(entry: &Entry) -> Option<Held> {
    let Body::Write(write) = &entry.body else {
        return None;
    };
    let Write {
        version,
        output_hash,
        ttl_ms,
        ..
    } = **write;
    Some(Held {
        write_seq: entry.seq,
        version,
        output_hash,
        deadline: entry.time.plus_millis(ttl_ms),
    })
}
