//! The Candor server: a library that runs one node.
//!
//! Data takes one road, and each module stands on those before it: [`grpc`] -> [`proposer`] ->
//! [`consensus`] -> [`apply`] -> [`store`] -> [`state`]; [`sealer`] and [`markers`] run beside it.
//! [`env`] is the world outside. `ARCHITECTURE.md` beside this crate tells the whole story.
#![forbid(unsafe_code)]

pub mod apply;
pub mod clock;
pub mod cluster;
pub mod command;
pub mod config;
pub mod consensus;
pub mod env;
pub mod fold;
pub mod genesis;
pub mod grpc;
pub mod guard;
pub mod http;
pub mod identity;
pub mod keys;
pub mod markers;
pub mod metrics;
pub mod node;
pub mod outcome;
pub mod peers;
pub mod principal;
pub mod process;
pub mod proposer;
pub mod records;
pub mod sealer;
pub mod snapshot;
pub mod state;
pub mod storage;
pub mod store;
pub mod verifier;
pub mod wal;
