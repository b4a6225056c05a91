//! Recorded runs: clients that ask everything, what they saw on one clock, and the folder it is stored in.
//!
//! Where the nodes run, on a machine or in a simulation, is the business of whoever records.

mod clients;
mod folder;
mod leaders;
mod recorder;
pub mod shown;

pub use clients::{Ask, Clients, TIMEOUT, TRY_TIMEOUT};
pub use folder::{Stored, lines_of};
pub use leaders::Leaders;
pub use recorder::{Recorder, Taken};
