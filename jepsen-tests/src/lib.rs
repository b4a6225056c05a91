//! Candor under faults: what tests and tools need to run clusters and to be cruel to them.
//!
//! [`real`] runs clusters of real node processes, and [`workload`] puts load on them. [`trial`] breaks such a cluster
//! while clients ask; [`recorded`] takes down what they saw, [`history`] says it, and [`check`] judges it. [`volume`] ends many results at once
//! under load; [`long`] grows a cluster under it and has nodes catch up; [`power`] cuts the power under all of
//! them; [`full`] fills their disk. The binary beside this library is the program that those processes run
//! (`candor-jepsen node`), and does each of these.
#![forbid(unsafe_code)]

pub mod check;
pub mod full;
pub mod history;
pub mod long;
pub mod power;
pub mod real;
pub mod recorded;
pub mod trial;
pub mod volume;
pub mod workload;
