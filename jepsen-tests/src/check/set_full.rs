//! L1, L12: what was answered is on every node at the end; what is unknown is on all or on none.
//!
//! By ids and not by places, so that it does not depend on `ledger_order`. Lost: answered, and not on some
//! node. Recovered: unknown, and there. Whether an answer was visible to others in time is `wgl`'s question.

use std::collections::{BTreeMap, BTreeSet};

use super::words;
use super::{Judgement, Notes, Record, Run};
use crate::history::Operation;

/// As named in results.
pub(super) const NAME: &str = "set_full";

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    let (mut recovered, mut lost_unknown) = (0_u64, 0_u64);
    let held = held(run);
    for operation in run.all().iter().filter(|one| one.asked.f().makes_entry()) {
        let missing = missing(&held, operation);
        let told = || words::operation(operation);
        match (operation.answer(), operation.request()) {
            (Some(_), _) => {
                notes.saw();
                notes.demand(missing.is_empty(), || {
                    format!("{} is lost on nodes {missing:?}", told())
                });
            }
            (None, Some(_)) if operation.is_unknown() => {
                let known = missing.is_empty() || missing.len() == held.len();
                notes.demand(known, || {
                    format!("{} is on some nodes and not on {missing:?}", told())
                });
                recovered += u64::from(missing.is_empty());
                lost_unknown += u64::from(!missing.is_empty());
            }
            _ => {}
        }
    }
    let of = format!("answers ({recovered} unknown were recorded, {lost_unknown} not)");
    notes.close(NAME, &of)
}

/// What each node holds: ids of requests, and places.
struct Held<'a> {
    ids: BTreeSet<&'a str>,
    len: u64,
}

fn held<'a>(run: &'a Run) -> BTreeMap<u64, Held<'a>> {
    let of = |(node, chain): (&u64, &'a Vec<Record>)| {
        let ids = chain.iter().filter_map(Record::request).collect();
        let len = u64::try_from(chain.len()).unwrap_or(u64::MAX);
        (*node, Held { ids, len })
    };
    run.chains.iter().map(of).collect()
}

/// The nodes that do not hold an operation's entry. Without an id, a node that ends before its place
/// cannot.
fn missing(nodes: &BTreeMap<u64, Held<'_>>, operation: &Operation) -> Vec<u64> {
    let lacks = |held: &Held<'_>| match (operation.request(), operation.answer()) {
        (Some(id), _) => !held.ids.contains(id),
        (None, Some(answer)) => answer.seq >= held.len,
        (None, None) => true,
    };
    let lacking = nodes.iter().filter(|(_, held)| lacks(held));
    lacking.map(|(node, _)| *node).collect()
}
