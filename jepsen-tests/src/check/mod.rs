//! Checkers: what a stored run must have kept, one property a file.
//!
//! | checker | property | witness |
//! | --- | --- | --- |
//! | `well_formed` | the history is one that processes and a nemesis can have made | history |
//! | `chain` | L2, L3: one gap-free chain, the same on all nodes | ledgers |
//! | `ledger_order` | L1, L8: the ledger's order explains every answer, and respects real time | history, ledger |
//! | `wgl` | L8: some order explains what clients were told | history alone |
//! | `set_full` | L1, L12: what was answered is on every node; what is unknown is on all or none | history, ledgers |
//! | `exactly_once` | L10, L11: a request takes effect once, and nothing without a request | history, ledger |
//! | `receipts` | L6: a receipt holds for ever | receipts, ledger |
//! | `checkpoints` | L5: checkpoints contradict neither each other nor the ledger | checkpoints, ledger |
//! | `signatures` | L4: every note that was seen verifies under the trust policy | checkpoints, receipts |
//! | `cache_validity` | L9: nothing is served after it was withdrawn | history alone |
//! | `ttl` | L9: nothing is served after its deadline, or missed as expired before it | history alone |
//! | `session` | L13: what a client is shown does not go back | history alone |
//! | `liveness` | L18, L19: every call ends in time; after the last fault the cluster serves | history |
//! | `coverage` | the run did what it was planned to do | history |
//! | `alarms` | no error was met that no fault explains | history |
//!
//! A verdict is `true`, `false` or `unknown`; a run is good only if all are `true`. A checker that saw
//! nothing says `unknown`, so that no run passes in which nothing happened. The letters are those of
//! `README.md`; the classes of outcomes are those of `SEMANTICS.md`.

mod alarms;
mod best;
mod cache_validity;
mod chain;
mod checkpoints;
mod coverage;
mod covered;
mod exactly_once;
mod faults;
mod ledger_order;
mod linear;
mod liveness;
mod merkle;
mod model;
mod note;
mod receipts;
mod record;
mod register;
mod run;
mod session;
mod set_full;
mod signatures;
mod ttl;
mod verdict;
mod well_formed;
mod wgl;
mod words;

pub use covered::Covered;
pub use linear::{Call, Search, Stuck, search};
pub use record::Record;
pub use register::{Register, Touch};
pub use run::{Demands, Given, Plan, Run, RunError, Seen};
pub use verdict::{FINDINGS_MAX, Judgement, Verdict};

use verdict::Notes;

/// One property.
#[derive(Clone, Copy, Debug)]
pub struct Checker {
    /// As in results.
    pub name: &'static str,
    /// Judges a run.
    pub judge: fn(&Run) -> Judgement,
}

/// Every checker.
pub const ALL: [Checker; 15] = [
    Checker::new(alarms::NAME, alarms::judge),
    Checker::new(cache_validity::NAME, cache_validity::judge),
    Checker::new(chain::NAME, chain::judge),
    Checker::new(checkpoints::NAME, checkpoints::judge),
    Checker::new(coverage::NAME, coverage::judge),
    Checker::new(exactly_once::NAME, exactly_once::judge),
    Checker::new(ledger_order::NAME, ledger_order::judge),
    Checker::new(liveness::NAME, liveness::judge),
    Checker::new(receipts::NAME, receipts::judge),
    Checker::new(session::NAME, session::judge),
    Checker::new(set_full::NAME, set_full::judge),
    Checker::new(signatures::NAME, signatures::judge),
    Checker::new(ttl::NAME, ttl::judge),
    Checker::new(well_formed::NAME, well_formed::judge),
    Checker::new(wgl::NAME, wgl::judge),
];

impl Checker {
    const fn new(name: &'static str, judge: fn(&Run) -> Judgement) -> Self {
        Self { name, judge }
    }
}

/// Judges a run by every checker.
pub fn judge(run: &Run) -> Vec<Judgement> {
    ALL.iter().map(|checker| (checker.judge)(run)).collect()
}

/// The search for an order as the checker `wgl` makes it, for whoever compares it with another.
pub mod orders {
    pub use super::wgl::{Ask, Lives, by_key, start, step};
}
