//! What a request leaves in the ledger, however often it is sent, wherever, and whoever dies.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "test"
)]

mod ended;
mod once;
mod past;
mod patterns;
mod raw;
mod reads;
