//! One command each: its arguments, and the figures of a run as `node/ARCHITECTURE.md` has them.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod full;
pub(crate) mod grow;
pub(crate) mod long;
pub(crate) mod power;
pub(crate) mod state;
pub(crate) mod volume;
