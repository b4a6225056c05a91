//! The client against a cluster that keeps the rules, and against one that lies.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::needless_pass_by_value,
    clippy::assigning_clones,
    clippy::items_after_statements,
    clippy::semicolon_if_nothing_returned,
    clippy::duration_suboptimal_units,
    clippy::too_many_lines,
    unreachable_pub,
    reason = "test"
)]

mod historical;
mod history;
mod honest;
mod lies;
mod privacy;
mod range;
mod retries;
mod trails;
mod world;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use candor_client::{Client, Error, FingerprintFields};
use world::{Keys, Shared, World};

pub const HOUR: Duration = Duration::from_secs(3_600);

/// Keys are the slowest part: all honest worlds share one set.
pub fn keys() -> Arc<Keys> {
    static KEYS: OnceLock<Arc<Keys>> = OnceLock::new();
    Arc::clone(KEYS.get_or_init(|| Keys::new("honest")))
}

/// Conditions that differ by the prompt.
pub fn fields(prompt: &str) -> FingerprintFields {
    FingerprintFields {
        model_name: "gpt-4-0613".to_owned(),
        model_version: "checkpoint-20260501".to_owned(),
        prompt_hash: hex::encode(candor_ledger::digest::sha3_256(prompt.as_bytes())),
        temperature: "0.70".to_owned(),
        top_p: "1.0".to_owned(),
        system_prompt_hash: String::new(),
        hardware_class: "a100-80gb".to_owned(),
    }
}

/// A served world with one result under `fields("Capital of France?")`, and its client.
pub async fn with_paris() -> (Shared, Client) {
    let world = World::new(&keys()).shared();
    let client = world::client(&[&world], &[world::serve(&world).await]);
    client
        .set_attested(&fields("Capital of France?"), "Paris", HOUR)
        .await
        .unwrap();
    (world, client)
}

pub fn is<T: std::fmt::Debug>(outcome: Result<T, Error>, code: &str) -> Error {
    let error = outcome.expect_err("a lie was believed");
    assert_eq!(error.code(), code, "{error}");
    error
}
