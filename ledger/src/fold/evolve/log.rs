//! Entries about the log itself.

use super::{Evolved, Step, broken};
use crate::digest::ChainHash;
use crate::entry::{Body, Entry, Genesis, LOG_ACTOR, MemberChange, Seal};
use crate::fold::error::{FoldError, Rule};
use crate::fold::operation::Change;
use crate::fold::rules::{RULES_KNOWN, check_genesis, judge_change};
use crate::fold::state::{Changes, Key, KeysetName, Lifecycle, LogState, Record, StateView};
use crate::ids::{NodeId, Seq, TreeSize};
use crate::signature::KeySet;

/// The entry of an empty ledger.
pub(super) fn first(entry: &Entry, head: ChainHash) -> Result<Evolved, FoldError> {
    let Body::Genesis(genesis) = &entry.body else {
        return Err(broken(
            Seq(0),
            Rule::Genesis,
            "`ledger.genesis`",
            entry.op(),
        ));
    };
    let id = entry.request_id.map(|id| id.to_string());
    let first = entry.subject_prev.map(|seq| seq.to_string());
    let null = || "null".to_owned();
    for (rule, expected, found) in [
        (Rule::Seq, "0", entry.seq.to_string()),
        (
            Rule::Prev,
            &ChainHash::EMPTY.to_string(),
            entry.prev.to_string(),
        ),
        (Rule::Lifecycle, "1", entry.n.to_string()),
        (Rule::Lifecycle, "null", first.unwrap_or_else(null)),
        (Rule::Subject, "", entry.tenant.clone()),
        (Rule::Subject, "ledger", entry.subject.to_string()),
        (Rule::Actor, LOG_ACTOR, entry.actor.clone()),
        (Rule::RequestId, "null", id.unwrap_or_else(null)),
    ] {
        if expected != found {
            return Err(broken(
                Seq(0),
                rule,
                format!("`{expected}`"),
                format!("`{found}`"),
            ));
        }
    }
    check_rules(entry, genesis.rules)?;
    let keys = check_genesis(genesis);
    let keys = keys.map_err(|error| broken(Seq(0), Rule::Genesis, "a usable genesis", error))?;
    let log = initial(entry, genesis, &keys, head);
    let mut changes = Changes::default();
    changes.put(Key::Log, Record::Log(Box::new(log)));
    Ok(Evolved {
        changes,
        answer: None,
    })
}

fn initial(entry: &Entry, genesis: &Genesis, keys: &KeySet, head: ChainHash) -> LogState {
    let nodes = genesis.members.iter().map(|member| member.node);
    LogState {
        size: TreeSize(1),
        head,
        time: entry.time,
        lifecycle: Lifecycle {
            n: 1,
            last: entry.seq,
        },
        last_seal: None,
        origin: genesis.origin.clone(),
        cluster_id: genesis.cluster_id,
        members: genesis.members.clone(),
        node_max: nodes.max().unwrap_or(NodeId(0)),
        keyset: KeysetName {
            id: keys.id(),
            seq: entry.seq,
        },
        keyset_next: None,
        rules: genesis.rules,
        params: genesis.params,
    }
}

/// Rules that this version does not know may allow anything after.
fn check_rules(entry: &Entry, rules: u32) -> Result<(), FoldError> {
    if RULES_KNOWN.contains(&rules) {
        return Ok(());
    }
    let (seq, what) = (entry.seq, format!("rules `{rules}` are unknown"));
    Err(FoldError::NotUnderstood { seq, what })
}

impl<V: StateView> Step<'_, V> {
    pub(super) fn change_log(&self, log: &mut LogState) -> Result<(), FoldError> {
        match &self.entry.body {
            Body::Seal(seal) => self.seal(seal, log),
            Body::Keys(change) => {
                self.check_change(&Change::Keys((**change).clone()))?;
                let keys = change.keys.key_set(&log.origin);
                let unusable = |error| self.broken(Rule::Change, "keys of the suite", error);
                log.keyset_next = Some(KeysetName {
                    id: keys.map_err(unusable)?.id(),
                    seq: self.entry.seq,
                });
                Ok(())
            }
            Body::Member(change) => {
                self.check_change(&Change::Member(change.clone()))?;
                change_members(log, change);
                Ok(())
            }
            Body::Params(change) => {
                self.check_change(&Change::Params(**change))?;
                log.params = change.params;
                Ok(())
            }
            Body::Rules(change) => {
                check_rules(self.entry, change.rules)?;
                self.check_change(&Change::Rules(*change))?;
                log.rules = change.rules;
                Ok(())
            }
            _ => {
                let expected = "an operation after the genesis";
                Err(self.broken(Rule::Genesis, expected, self.entry.op()))
            }
        }
    }

    fn check_change(&self, change: &Change) -> Result<(), FoldError> {
        match judge_change(self.log, change) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.broken(Rule::Change, "a change", "what is in force already")),
            Err(error) => Err(self.broken(Rule::Change, "a change that is allowed", error)),
        }
    }

    /// The seal after a rotation still names the old keys; those after it, the new ones.
    fn seal(&self, seal: &Seal, log: &mut LogState) -> Result<(), FoldError> {
        self.require_digest(Rule::Keyset, log.keyset.id, seal.keyset)?;
        let shown = |seq: Option<Seq>| seq.map_or("null".to_owned(), |seq| seq.to_string());
        self.require(
            Rule::PrevSeal,
            &shown(log.last_seal),
            &shown(seal.prev_seal),
        )?;
        log.last_seal = Some(self.entry.seq);
        if let Some(next) = log.keyset_next.take() {
            log.keyset = next;
        }
        Ok(())
    }
}

fn change_members(log: &mut LogState, change: &MemberChange) {
    match change {
        MemberChange::Join(member) => {
            // Ids only grow, so the newest member is the last.
            log.node_max = member.node;
            log.members.push(member.clone());
        }
        MemberChange::Leave(node) => log.members.retain(|member| member.node != *node),
    }
}
