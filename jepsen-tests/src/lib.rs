//! Candor under faults: what tests and tools need to run clusters and to be cruel to them.
//!
//! [`history`] says what a run did, and [`check`] judges it; [`real`] runs clusters of real node processes; [`workload`] puts load on them; [`volume`] ends many
//! results at once under it; [`long`] grows a cluster under it and has nodes catch up; [`power`] cuts the
//! power under all of them; [`full`] fills their disk. The binary beside this library is the program that those processes run
//! (`candor-jepsen node`), and measures (`candor-jepsen bench`, `grow`, `long`, `power`, `state`, `volume`).
#![forbid(unsafe_code)]

pub mod check;
pub mod full;
pub mod history;
pub mod long;
pub mod power;
pub mod real;
pub mod volume;
pub mod workload;
