//! The Candor SDK: caches results, and verifies what the servers say instead of believing it.
//!
//! ```no_run
//! # async fn example() -> Result<(), candor_client::Error> {
//! use std::time::Duration;
//! use candor_client::{Client, FingerprintFields};
//!
//! let client = Client::from_config("client.toml".as_ref())?;
//! let fields = FingerprintFields {
//!     model_name: "gpt-4-0613".into(),
//!     model_version: "checkpoint-20260501".into(),
//!     prompt_hash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
//!     temperature: "0.0".into(),
//!     top_p: "1.0".into(),
//!     system_prompt_hash: String::new(),
//!     hardware_class: "a100-80gb".into(),
//! };
//! let output: String = match client.get_verified(&fields).await? {
//!     Some(verified) => verified,
//!     None => {
//!         let output = "Paris".to_owned(); // the model's answer
//!         client.set_attested(&fields, &output, Duration::from_secs(3600)).await?;
//!         output
//!     }
//! };
//! # Ok(())
//! # }
//! ```
//!
//! # What a returned value rests on
//!
//! Three things that no server has a hand in: the question that was asked, the trust policy (public
//! keys from somebody who is trusted), and the checkpoint remembered from earlier answers. Every
//! value is hashed, its entry is proved to lie under a checkpoint with three signatures and the
//! policy's quorum, that checkpoint is proved to extend the remembered one and is not older than
//! `max_age`, and the entry is held against the question: tenant, fingerprint recomputed from its
//! fields, version, output hash, deadline. A value that fails any check is never returned.
//!
//! Answers that fail say who is to blame: an endpoint that is behind or does not prove its answer is
//! left for another ([`Error::Stale`], [`Error::Unproven`] when none is left). Only validly signed
//! statements that contradict each other are [`Error::Misbehaviour`]: they go into a file that
//! anybody can check, and the log is believed no more.
//!
//! # What it does not prove
//!
//! That the output was right, or that the caller told the truth about its model. That a result was
//! still ACTIVE when it was read is the answering node's statement until the read's own entry is
//! sealed; [`GetOptions::wait_for`] waits for that.
//!
//! # Privacy
//!
//! A digest of a prompt hides nothing from somebody who can guess the prompt. With a [`TenantKey`]
//! ([`ClientBuilder::tenant_key`]) nodes and ledger see pseudonyms and ciphertext only, and
//! nothing else changes for the caller.
//!
//! # Retries
//!
//! All tries of a request carry one request id, so a state-changing request takes effect once
//! whatever happens to leaders and connections. When that cannot be told before the deadline, the
//! caller gets [`Error::OutcomeUnknown`] with the id, and asks [`Client::receipt_of`].
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod audit;
mod cache;
mod call;
mod checkpoint;
mod client;
mod config;
mod durable;
mod endpoint;
mod error;
mod establish;
mod fields;
mod historical;
mod history;
mod memory;
mod misbehaviour;
pub mod operator;
mod output;
mod parameters;
mod privacy;
mod range;
mod recorded;
mod report;
mod request_id;
mod retry;
mod source;
mod surroundings;
mod verify;

pub use audit::{AttestSigner, AuditTrail, TrailEntry};
pub use cache::{
    Attested, ChangeOptions, GetOptions, Lookup, Missed, Revoked, SetItem, SetOptions, WaitFor,
};
pub use checkpoint::VerifiedCheckpoint;
pub use client::{ATTEMPT_TIMEOUT, Client, ClientBuilder, MAX_AGE, TIMEOUT};
pub use config::{CONFIG_VARIABLE, Config, ConfigError, DEV_CONFIG, find_config};
pub use error::{Error, Fault, Unproven};
pub use fields::{
    Fields, FieldsWithParameters, FingerprintFields, ResultOnlyFields, SemanticFields,
};
pub use historical::{Historical, HistoricalValue, Then};
pub use history::{Moment, PastTrail};
pub use misbehaviour::{ContradictingEntry, Misbehaviour};
pub use operator::Operator;
pub use output::{About, AsOf, FromOutput, Verified};
pub use parameters::{ParameterValue, Parameters};
pub use privacy::{OpenError, TenantKey, TenantKeyError};
pub use range::{Located, RangeItem, RangeReader};
pub use recorded::{Recorded, Sealed};
pub use report::{ComplianceReport, Counts};
pub use source::Source;
pub use surroundings::Surroundings;
