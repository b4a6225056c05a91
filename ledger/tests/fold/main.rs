//! The rules of the product, from outside: what commands append, what replays refuse.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test"
)]

mod adversary;
mod dedup;
mod history;
mod limits;
mod models;
mod records;
mod replay;
mod support;
mod table;
mod vectors;
