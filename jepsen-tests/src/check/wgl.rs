//! L8: what clients were told is possible in some order that real time allows.
//!
//! From client data alone: no sequence number, no ledger. So it does not believe the cluster about the
//! order, as `ledger_order` does. Each key is searched by itself ([`search`]), with the model of a
//! result's life; where a deadline may have passed, both lives are followed.
//!
//! Sound: what it calls violated is. Not complete about time: a result may expire as early as it
//! likes here (`ttl` judges that), and may have any successor. A key that needs more states than the plan
//! allows is unknown.

use std::collections::{BTreeMap, BTreeSet};

use super::linear::{Call, Search, Stuck, search};
use super::model::{Life, agrees, is_about_successor};
use super::words::{brief, operation};
use super::{Judgement, Notes, Run};
use crate::history::{Asked, F, Found, Operation, Outcome, once_each};

/// As named in results.
pub(super) const NAME: &str = "wgl";

/// Judges a run.
pub(super) fn judge(run: &Run) -> Judgement {
    let mut notes = Notes::default();
    for (key, asks) in by_key(run.all()) {
        notes.saw();
        match search(&asks, start(), step, run.plan.states_max) {
            Search::Linearizable(_) => {}
            Search::Violated(stuck) => notes.violated(counterexample(run, &key, &asks, &stuck)),
            Search::Exhausted => notes.doubted(format!(
                "key `{}`: {} operations need more than {} states",
                brief(&key),
                asks.len(),
                run.plan.states_max
            )),
        }
    }
    notes.close(NAME, "keys")
}

/// One operation, for the search: what was asked, what was answered, and where it is in the history.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What was asked.
    pub asked: Asked,
    /// What was answered; `None` when nobody knows.
    pub found: Option<Found>,
    /// `:index` of the invocation.
    pub index: u64,
}

/// The lives that a key may have led so far.
pub type Lives = BTreeSet<LifeState>;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LifeState(Life);

/// Before anything was asked.
pub fn start() -> Lives {
    BTreeSet::from([LifeState(Life::default())])
}

/// What a key may have become by one more operation; `None` when the answer was impossible.
pub fn step(lives: &Lives, ask: &Ask) -> Option<Lives> {
    let hindrance = ask.found.as_ref().and_then(is_about_successor);
    let mut next = Lives::new();
    for LifeState(life) in lives {
        // Time passes by itself.
        for life in life.expired().iter().chain([life]) {
            let (demanded, after) = life.decide(&ask.asked, hindrance);
            if ask
                .found
                .as_ref()
                .is_none_or(|found| agrees(&demanded, found))
            {
                next.insert(LifeState(after));
            }
        }
    }
    (!next.is_empty()).then_some(next)
}

/// The operations of each key as the search wants them.
pub fn by_key(all: &[Operation]) -> BTreeMap<String, Vec<Call<Ask>>> {
    let mut keys: BTreeMap<String, Vec<Call<Ask>>> = BTreeMap::new();
    for operation in once_each(all) {
        if let (Some(key), Some(call)) = (operation.asked.key(), call(&operation)) {
            keys.entry(key.to_owned()).or_default().push(call);
        }
    }
    keys
}

/// What did nothing, or nothing that can be known, is left out.
fn call(operation: &Operation) -> Option<Call<Ask>> {
    let found = match &operation.outcome {
        Outcome::Failed(_) => return None,
        Outcome::Ok(answer) => Some(answer.found.clone()),
        Outcome::Unknown(_) if matches!(operation.asked.f(), F::Get | F::Attest) => return None,
        Outcome::Unknown(_) => None,
    };
    let completed = found.as_ref().and(operation.completed_ns);
    Some(Call {
        invoked: operation.invoked_ns,
        completed,
        op: Ask {
            asked: operation.asked.clone(),
            found,
            index: operation.index,
        },
    })
}

/// The farthest that any order came, and what could not follow.
fn counterexample(run: &Run, key: &str, asks: &[Call<Ask>], stuck: &Stuck<Lives>) -> String {
    const SHOWN: usize = 4;
    let tell = |call: &Call<Ask>| {
        let found = run.all().iter().find(|one| one.index == call.op.index);
        found.map(operation).unwrap_or_default()
    };
    let placed: BTreeSet<usize> = stuck.placed.iter().copied().collect();
    let left = asks
        .iter()
        .enumerate()
        .filter(|(at, _)| !placed.contains(at));
    let left: Vec<&Call<Ask>> = left.map(|(_, call)| call).collect();
    let ends = left.iter().filter_map(|call| call.completed).min();
    let next = left.iter().filter(|call| Some(call.invoked) <= ends);
    let next: Vec<String> = next.take(SHOWN).map(|call| tell(call)).collect();
    let before = stuck.placed.iter().rev().take(SHOWN).rev();
    let before: Vec<String> = before.filter_map(|at| asks.get(*at)).map(tell).collect();
    let states: Vec<String> = stuck
        .state
        .iter()
        .map(|LifeState(life)| life.in_words())
        .collect();
    format!(
        "key `{}`: no order of its {} operations is possible. The farthest places {}, lastly [{}]; the result is then {}; \
         what has to come next cannot: [{}]",
        brief(key),
        asks.len(),
        placed.len(),
        before.join("; "),
        states.join(" or "),
        next.join("; ")
    )
}
