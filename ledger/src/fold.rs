//! Every rule of the product: from commands to entries, and from entries to state.
//!
//! [`decide`] answers what is asked of the state and composes the entries that say so; [`evolve`]
//! takes one entry into the state, and refuses what `decide` could not have appended there. A node
//! calls the first, which calls the second after each entry; whoever audits a ledger calls the
//! second alone, and so finds the entry at which a cluster broke the rules, however well it is
//! signed.
//!
//! All of it is pure: time and randomness come with the command ([`Stamp`]), everything else from
//! the records of a [`StateView`], which are themselves a function of the entries before. There is
//! no clock, no random number, no float, no map without order, no configuration.

mod decide;
mod decision;
mod dedup;
mod effect;
mod error;
mod evolve;
mod history;
mod lookup;
mod operation;
mod outcome;
mod overlay;
mod rules;
mod state;
mod tick;
mod transaction;

pub use crate::entry::Params;
pub use decide::decide;
pub use decision::{DecideError, Decision, SealDue, ValueName};
pub use error::{FoldError, Rule};
pub use evolve::{evolve, evolve_all};
pub use history::{HistoryError, Past, PastTeller, past};
pub use lookup::{lifecycle, log, lookup, resolve_prefix};
pub use operation::{
    Admin, Attest, Change, Get, Item, ModelSupersede, Operation, ReadAsOf, Request, RequestError,
    Revoke, Set, Stamp, Supersede,
};
pub use outcome::{Answer, Answered, ChangeError, Hit, Miss, Outcome, PastRead, Ticked};
pub use rules::{Effective, RULES_KNOWN, RULES_V1, SUCCESSORS_MAX, effective, model_of};
pub use state::{
    Cascade, Changes, CodecError, DedupFloor, Held, Key, KeysetName, Lifecycle, LogState,
    MemoryState, ModelSuperseded, Prefix, RECORD_VERSION, REVOKED_MAX, Record, RequestRecord,
    ResultKind, ResultRecord, Standing, StateDigest, StateView, ViewError,
};
