//! The trust policy: which keys an auditor believes, and who must have signed.
//!
//! ```text
//! candor-policy v1
//! keyset <origin> <suite> <vkey> <vkey> <vkey>   all must verify; several lines are alternatives
//! node <name> <vkey>                             a member of the log; counts as vouched
//! witness <name> <vkey> [<url>]                  somebody outside it; counts as witnessed
//! group <name> all|any|<k> <members...>          of nodes, witnesses and groups
//! quorum <name>|none                             exactly one
//! pin <origin> <size> <root>                     what the auditor knows already
//! ```
//!
//! Items are separated by spaces or tabs; empty lines and lines that start with `#` say nothing.
//! Names are defined before use, and each is a member of at most one group, so that a cosigner
//! counts in one way only. The rules are those of c2sp.org/tlog-policy with two differences: one
//! `keyset` stands for three signatures, and `log` lines are refused because there they mean that
//! any one of several keys is enough.

use std::collections::BTreeSet;

use crate::checkpoint::{
    Checkpoint, CosignerPublic, NoteError, check_line, is_early, majority, verify_note,
};
use crate::ids::{NodeId, TreeSize};
use crate::note::{Note, NoteSignature, VerifierKey, VkeyError};
use crate::signature::{Algorithm, KeySet};
use crate::tree::NodeHash;

mod export;
mod parse;
mod quorum;

pub use export::C2spExport;
pub use parse::{POLICY_GROUPS_MAX, POLICY_KEYS_MAX, POLICY_LEN_MAX, PolicyError, PolicyProblem};

/// Whom an auditor trusts. Comes from the auditor's own hand, never from the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    keysets: Vec<KeySet>,
    cosigners: Vec<Cosigner>,
    groups: Vec<Group>,
    /// `None` is `quorum none`.
    quorum: Option<String>,
    pins: Vec<Pin>,
    distrusted: BTreeSet<Algorithm>,
}

/// A root that the auditor knows from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// Of which log.
    pub origin: String,
    /// At which size.
    pub size: TreeSize,
    /// The root there.
    pub root: NodeHash,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Cosigner {
    name: String,
    role: Role,
    key: VerifierKey,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    Node { origin: String, node: NodeId },
    Witness { url: Option<String> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: String,
    threshold: Threshold,
    members: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Threshold {
    All,
    Any,
    AtLeast(usize),
}

/// What a policy makes of a note. Only [`PolicyVerdict::accepted`] is a yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyVerdict {
    /// What was signed, when all three log signatures hold under one key set of the policy and no
    /// known key's line fails; its `keyset` says which.
    pub checkpoint: Option<Checkpoint>,
    /// Everything that speaks against the note; empty when it is accepted.
    pub refusals: Vec<Refusal>,
    /// The nodes of this log that the policy names and whose cosignature verified.
    pub vouched: Vec<Vouched>,
    /// The witnesses that the policy names and whose cosignature verified.
    pub witnessed: Vec<Witnessed>,
    /// Name and key id of lines by keys that the policy does not name.
    pub unknown: Vec<(String, [u8; 4])>,
    /// What an accepted note still does not show, under this policy.
    pub caveats: Vec<Caveat>,
}

/// A node that vouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// Its name in the policy.
    pub name: String,
    /// Its number in the log.
    pub node: NodeId,
    /// When, by its own clock: seconds since the Unix epoch.
    pub time_unix_s: u64,
}

/// A witness that cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnessed {
    /// Its name in the policy.
    pub name: String,
    /// When, by its own clock: seconds since the Unix epoch.
    pub time_unix_s: u64,
}

/// Why a note is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The policy distrusts every family of the suite.
    #[error("the policy distrusts every signature family there is")]
    NothingTrusted,
    /// A log signature is missing or bad, or a known key's line fails.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The log signed another root than the auditor holds for this size: the log was rewritten, or
    /// the pin is wrong.
    #[error("at size `{size}` the note has root `{got}`, but the policy pins `{want}`")]
    Pin {
        /// The pinned size.
        size: TreeSize,
        /// The auditor's.
        want: NodeHash,
        /// The note's.
        got: NodeHash,
    },
    /// Too few of the cosigners that the policy demands.
    #[error("quorum `{quorum}` is not met without {}", list(missing))]
    Quorum {
        /// The name on the quorum line.
        quorum: String,
        /// The cosigners of every unmet group who did not sign.
        missing: Vec<String>,
    },
    /// The checkpoint is by a key set that the policy does not name.
    #[error("the policy has no key set `{keyset}` of `{origin}`")]
    UnknownKeySet {
        /// The checkpoint's.
        origin: String,
        /// The checkpoint's, hex.
        keyset: String,
    },
}

/// A limit of what an accepted note shows, in words for its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Caveat {
    /// The policy demands fewer than two nodes, and every node holds the log's keys.
    #[error("one compromised machine could have made this")]
    OneMachine,
    /// The auditor holds this family for broken; the verdict rests on the others.
    #[error("`{0}` is distrusted: the verdict rests on the other families")]
    Distrusted(Algorithm),
    /// Nobody outside the operator signed.
    #[error("nobody outside the operator has witnessed this")]
    NotWitnessed,
}

impl Policy {
    /// A policy for one key set under which a majority of these members must have vouched; with no
    /// members, `quorum none`. Members are named `node-<id>`, their group `nodes`.
    ///
    /// # Errors
    /// [`PolicyError`] for a member whose bytes are no key, and for what no policy may hold.
    pub fn for_cluster(keys: &KeySet, members: &[CosignerPublic]) -> Result<Self, PolicyError> {
        Self::parse(&Self::text_for_cluster(keys, members)?)
    }

    /// The text of [`Policy::for_cluster`], as it is handed to clients and auditors.
    ///
    /// # Errors
    /// [`PolicyError`] for a member whose bytes are no key.
    pub fn text_for_cluster(
        keys: &KeySet,
        members: &[CosignerPublic],
    ) -> Result<String, PolicyError> {
        let mut lines = vec![format!(
            "candor-policy v1\nkeyset {} {} {}",
            keys.origin(),
            keys.suite(),
            keys.vkeys().join(" ")
        )];
        let mut group = format!("group nodes {}", majority(members.len()));
        for (line, member) in (3..).zip(members) {
            let key = VerifierKey::for_cosigner(&member.name, &member.key);
            let key = key.map_err(|error| PolicyError {
                line,
                problem: VkeyError::from(error).into(),
            })?;
            lines.push(format!("node node-{} {key}", member.node));
            group = format!("{group} node-{}", member.node);
        }
        if members.is_empty() {
            lines.push("quorum none".to_owned());
        } else {
            lines.extend([group, "quorum nodes".to_owned()]);
        }
        Ok(lines.join("\n") + "\n")
    }

    /// The key sets that the policy believes, each by itself.
    pub fn keysets(&self) -> &[KeySet] {
        &self.keysets
    }

    /// The roots that the auditor knows already.
    pub fn pins(&self) -> &[Pin] {
        &self.pins
    }

    /// Makes every verdict say that this family is held for broken. All three signatures must
    /// still be there and verify: no verdict ever rests on fewer lines than the log writes.
    pub fn distrust(&mut self, algorithm: Algorithm) {
        self.distrusted.insert(algorithm);
    }

    /// Judges a note.
    ///
    /// Cost: that of [`verify_note`], and 0.03 ms for each cosigner of the policy that signed.
    pub fn check(&self, note: &Note) -> PolicyVerdict {
        let mut verdict = PolicyVerdict {
            checkpoint: None,
            refusals: Vec::new(),
            vouched: Vec::new(),
            witnessed: Vec::new(),
            unknown: Vec::new(),
            caveats: Vec::new(),
        };
        match self.read(note, &mut verdict) {
            Ok(checkpoint) => self.judge(checkpoint, &mut verdict),
            Err(refusal) => {
                // Signatures beside a failing one say nothing about anything.
                verdict.vouched.clear();
                verdict.witnessed.clear();
                verdict.refusals.push(refusal);
            }
        }
        if Algorithm::SUITE_1
            .iter()
            .all(|a| self.distrusted.contains(a))
        {
            verdict.refusals.push(Refusal::NothingTrusted);
        }
        verdict
    }

    /// Checks every line whose key the policy knows and sorts the lines by who made them.
    fn read(&self, note: &Note, verdict: &mut PolicyVerdict) -> Result<Checkpoint, Refusal> {
        let checkpoint = Checkpoint::parse(&note.text).map_err(NoteError::from)?;
        let keys = self.key_set_of(&checkpoint)?;
        verify_note(note, keys, &[])?;
        for (line, signature) in note.lines() {
            if keys.keys().iter().any(|key| key.names(signature)) {
                continue;
            }
            let Some(cosigner) = self.cosigner_of(signature) else {
                self.check_other_log_keys(note, line, signature)?;
                let name = signature.name.clone();
                verdict.unknown.push((name, signature.key_id));
                continue;
            };
            let time_unix_s = check_line(note, line, signature, &cosigner.key)?
                .expect("invariant: cosigners hold cosignature keys only");
            verdict.count(cosigner, time_unix_s, &checkpoint);
        }
        Ok(checkpoint)
    }

    /// Applies quorum and pins to what was found, and says what it leaves open.
    fn judge(&self, checkpoint: Checkpoint, verdict: &mut PolicyVerdict) {
        let signers = verdict.signers();
        if let Some(quorum) = &self.quorum
            && !self.is_met(quorum, &signers)
        {
            let missing = self.missing(quorum, &signers);
            let quorum = quorum.clone();
            verdict.refusals.push(Refusal::Quorum { quorum, missing });
        }
        let contradicts = |pin: &&Pin| {
            pin.origin == checkpoint.origin
                && pin.size == checkpoint.size
                && pin.root != checkpoint.root
        };
        for pin in self.pins.iter().filter(contradicts) {
            verdict.refusals.push(Refusal::Pin {
                size: pin.size,
                want: pin.root,
                got: checkpoint.root,
            });
        }
        if self.required_nodes() < 2 {
            verdict.caveats.push(Caveat::OneMachine);
        }
        let distrusted = self.distrusted.iter().copied().map(Caveat::Distrusted);
        verdict.caveats.extend(distrusted);
        if verdict.witnessed.is_empty() {
            verdict.caveats.push(Caveat::NotWitnessed);
        }
        verdict.checkpoint = Some(checkpoint);
    }

    fn key_set_of(&self, checkpoint: &Checkpoint) -> Result<&KeySet, Refusal> {
        let ours =
            |keys: &&KeySet| keys.origin() == checkpoint.origin && keys.id() == checkpoint.keyset;
        let found = self.keysets.iter().find(ours);
        found.ok_or_else(|| Refusal::UnknownKeySet {
            origin: checkpoint.origin.clone(),
            keyset: hex::encode(checkpoint.keyset),
        })
    }

    fn cosigner_of(&self, signature: &NoteSignature) -> Option<&Cosigner> {
        self.cosigners.iter().find(|c| c.key.names(signature))
    }

    /// A line by a key of another key set adds nothing, but a known key that fails rejects.
    fn check_other_log_keys(
        &self,
        note: &Note,
        line: usize,
        signature: &NoteSignature,
    ) -> Result<(), NoteError> {
        let keys = self.keysets.iter().flat_map(KeySet::keys);
        for key in keys.filter(|key| key.names(signature)) {
            check_line(note, line, signature, key)?;
        }
        Ok(())
    }
}

impl PolicyVerdict {
    /// The checkpoint, when nothing speaks against it.
    pub fn accepted(&self) -> Option<&Checkpoint> {
        self.checkpoint
            .as_ref()
            .filter(|_| self.refusals.is_empty())
    }

    /// The cosigners whose clock, when they signed, stood more than `bound_ms` before the seal.
    /// A sound bound is the log's `max_skew` and one second.
    pub fn early(&self, bound_ms: u64) -> Vec<(&str, u64)> {
        let Some(checkpoint) = &self.checkpoint else {
            return Vec::new();
        };
        let early = |(_, time): &(&str, u64)| is_early(*time, checkpoint.sealed, bound_ms);
        self.times().filter(early).collect()
    }

    /// Name in the policy and time of everybody who cosigned.
    fn times(&self) -> impl Iterator<Item = (&str, u64)> {
        let nodes = self
            .vouched
            .iter()
            .map(|v| (v.name.as_str(), v.time_unix_s));
        let witnesses = self
            .witnessed
            .iter()
            .map(|w| (w.name.as_str(), w.time_unix_s));
        nodes.chain(witnesses)
    }

    fn signers(&self) -> BTreeSet<String> {
        self.times().map(|(name, _)| name.to_owned()).collect()
    }

    /// Counts a good cosignature. A node of another log has nothing to say about this one.
    fn count(&mut self, cosigner: &Cosigner, time_unix_s: u64, checkpoint: &Checkpoint) {
        let name = cosigner.name.clone();
        match &cosigner.role {
            Role::Witness { .. } => self.witnessed.push(Witnessed { name, time_unix_s }),
            Role::Node { origin, node } if *origin == checkpoint.origin => {
                let node = *node;
                self.vouched.push(Vouched {
                    name,
                    node,
                    time_unix_s,
                });
            }
            Role::Node { .. } => {}
        }
    }
}

fn list(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

#[cfg(all(test, feature = "sign"))]
mod tests;
