//! What an auditor of a Candor ledger must trust.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod canonical;
pub mod checkpoint;
pub mod decimal;
pub mod digest;
pub mod entry;
pub mod evidence;
pub mod export;
pub mod fingerprint;
#[cfg(all(test, feature = "sign"))]
mod fixture;
pub mod fold;
pub mod ids;
#[doc(hidden)]
pub mod mutants;
pub mod note;
pub mod policy;
pub mod proof;
pub mod receipt;
pub mod replay;
pub mod shown;
pub mod signature;
mod text;
pub mod tile;
pub mod time;
pub mod tree;
pub mod verify;
