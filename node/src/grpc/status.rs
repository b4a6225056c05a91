//! The only map from errors to gRPC statuses. Codes and their statuses are `candor_proto`'s; each
//! is explained in `node/ARCHITECTURE.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use candor_ledger::planted;
pub use candor_proto::ErrorCode;
use candor_proto::{error_domain, error_metadata};
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::proposer::SubmitError;

/// An error on its way to a status: who is at fault is in the code.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The stable code.
    pub code: ErrorCode,
    /// One sentence for people.
    pub message: String,
    /// The request field at fault.
    pub field: Option<String>,
    /// Facts that belong to the code.
    pub metadata: BTreeMap<String, String>,
}

impl ApiError {
    /// An error without a field.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            field: None,
            metadata: BTreeMap::new(),
        }
    }

    /// A malformed field.
    pub fn field(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::at(ErrorCode::InvalidField, field, problem)
    }

    /// Any code that is about one field.
    pub fn at(code: ErrorCode, field: impl Into<String>, problem: impl Into<String>) -> Self {
        let (field, problem) = (field.into(), problem.into());
        let mut error = Self::new(code, format!("`{field}`: {problem}"));
        error.field = Some(field);
        error
    }

    /// Adds a fact.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Fact>) -> Self {
        self.metadata.insert(key.to_owned(), value.into().0);
        self
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let mut details = ErrorDetails::new();
        #[expect(
            clippy::disallowed_types,
            reason = "tonic-types takes no other map, and encodes it for the wire at once"
        )]
        let metadata: std::collections::HashMap<_, _> = error.metadata.into_iter().collect();
        details.set_error_info(error.code.as_str(), error_domain::CANDOR, metadata);
        if let Some(field) = error.field {
            details.add_bad_request_violation(field, error.message.clone());
        }
        if let Some(after) = retry_after(error.code) {
            details.set_retry_info(Some(after));
        }
        Status::with_error_details(error.code.grpc(), error.message, details)
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        let message = error.to_string();
        match error {
            SubmitError::ClockUnsure => Self::new(ErrorCode::ClockUnsure, message),
            SubmitError::NotLeader { leader: None } => Self::new(ErrorCode::NoLeader, message),
            SubmitError::NotLeader {
                leader: Some(leader),
            } => Self::new(ErrorCode::NotLeader, message).with(error_metadata::LEADER_ID, leader),
            SubmitError::StorageFull => Self::new(ErrorCode::StorageFull, message),
            SubmitError::StorageSlow => Self::new(ErrorCode::StorageSlow, message),
            SubmitError::QueueFull => Self::new(ErrorCode::QueueFull, message),
            SubmitError::Stopping => Self::new(ErrorCode::ShuttingDown, message),
            SubmitError::Unknown if planted!("refused-though-unknown") => {
                Self::new(ErrorCode::DeadlinePassed, message)
            }
            SubmitError::Unknown => Self::new(ErrorCode::OutcomeUnknown, message),
        }
    }
}

/// The text of a fact that belongs to a code.
#[derive(Clone, Debug)]
pub struct Fact(String);

impl<T: std::fmt::Display> From<T> for Fact {
    fn from(value: T) -> Self {
        Self(value.to_string())
    }
}

/// How long a caller should wait before the same call may go through; `None`: at once, elsewhere,
/// or never.
fn retry_after(code: ErrorCode) -> Option<Duration> {
    match code {
        ErrorCode::QueueFull | ErrorCode::RulesMismatch | ErrorCode::NotSealed => {
            Some(Duration::from_millis(50))
        }
        ErrorCode::ClockUnsure | ErrorCode::NoLeader | ErrorCode::ShuttingDown => {
            Some(Duration::from_millis(200))
        }
        ErrorCode::StorageFull | ErrorCode::StorageSlow => Some(Duration::from_secs(1)),
        _ => None,
    }
}
