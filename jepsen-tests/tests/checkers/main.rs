//! The checkers against what they must find, what they must not find, and other checkers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

mod changes;
mod corpus;
mod orders;
mod planted;
mod random;
mod rules;
mod stored;
mod story;
mod world;
