//! Candor under faults: what tests and tools need to run clusters and to be cruel to them.
//!
//! [`real`] runs clusters of real node processes; [`workload`] puts load on them; [`supersede`] ends
//! a model's results under it; [`long`] has nodes catch up after a long life of it; [`power`] cuts the
//! power under all of them. The binary beside this library is the program that those processes run
//! (`candor-jepsen node`), and measures (`candor-jepsen bench`, `long`, `state`, `supersede`, `power`).
#![forbid(unsafe_code)]

pub mod long;
pub mod power;
pub mod real;
pub mod supersede;
pub mod workload;
