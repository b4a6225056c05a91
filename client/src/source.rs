//! Reading one node without believing it: its answers as they came.
//!
//! For an auditor who checks everything at the end, or as it comes, by other means than this SDK's.
//! Nothing that is returned here has been verified; whoever only wants answers uses [`crate::Client`].

use std::time::Duration;

use bytes::Bytes;
use candor_ledger::ids::{Seq, TreeSize};
use candor_proto::ErrorCode;
use candor_proto::audit_v1 as wire;
use tonic::{Response, Status};

use crate::endpoint::{Endpoints, Line};
use crate::error::Error;
use crate::operator;
use crate::surroundings::Surroundings;

/// A question that meets a passing trouble is asked again after so many pauses, each twice the one
/// before: 3 seconds in all, enough for an election.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(100);

/// A connection to one node, whose word is not taken.
pub struct Source {
    endpoints: Endpoints,
    timeout: Duration,
}

impl Source {
    /// Connects when first used. Call it within a Tokio runtime. `timeout` is that of one try.
    ///
    /// # Errors
    /// [`Error::Config`] for an address that is no `http://host:port`, or an unusable token.
    pub fn new(uri: &str, token: Option<&str>, timeout: Duration) -> Result<Self, Error> {
        let endpoints = Endpoints::new(&[uri.to_owned()], token, Surroundings::real())?;
        Ok(Self { endpoints, timeout })
    }

    /// The note of the newest checkpoint.
    ///
    /// # Errors
    /// [`Error::Rejected`] by the node, [`Error::Unavailable`] when it does not answer; so with all
    /// methods here.
    pub async fn newest_note(&self) -> Result<Bytes, Error> {
        self.note(0).await
    }

    /// The note of the checkpoint of this size; `None` when the node says that it keeps none.
    ///
    /// # Errors
    /// As [`Source::newest_note`].
    pub async fn kept_note(&self, size: TreeSize) -> Result<Option<Bytes>, Error> {
        match self.note(size.0).await {
            Ok(note) => Ok(Some(note)),
            Err(Error::Rejected { code, .. }) if code == ErrorCode::UnknownCheckpoint.as_str() => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Entries from `start` on, as many as the node puts into one answer (2 MiB); none where its
    /// ledger ends. It takes the right `audit-all`.
    ///
    /// # Errors
    /// As [`Source::newest_note`].
    pub async fn entries(&self, start: Seq) -> Result<Vec<Bytes>, Error> {
        let request = wire::ListEntriesRequest {
            start: start.0,
            page_size: 0,
        };
        let reply = self
            .ask(|line| {
                let request = line.request(request);
                async move { line.audit().list_entries(request).await }
            })
            .await?;
        Ok(reply.entries)
    }

    async fn note(&self, size: u64) -> Result<Bytes, Error> {
        let reply = self
            .ask(|line| {
                let request = line.request(wire::GetCheckpointRequest {
                    size,
                    ..wire::GetCheckpointRequest::default()
                });
                async move { line.audit().get_checkpoint(request).await }
            })
            .await?;
        Ok(reply.checkpoint.unwrap_or_default().note)
    }

    async fn ask<R, F>(&self, send: impl Fn(Line) -> F) -> Result<R, Error>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let mut pause = PAUSE;
        for _ in 1..TRIES {
            match self.ask_once(&send).await {
                Err(error) if is_passing(&error) => tokio::time::sleep(pause).await,
                done => return done,
            }
            pause *= 2;
        }
        self.ask_once(&send).await
    }

    async fn ask_once<R, F>(&self, send: impl Fn(Line) -> F) -> Result<R, Error>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let line = self.endpoints.line(0, self.timeout);
        operator::answer(&line, self.timeout, send(line.clone())).await
    }
}

/// Whether the node may answer in a moment.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Unavailable { .. } => true,
        Error::Rejected { code, .. } => ErrorCode::parse(code).is_some_and(ErrorCode::is_retriable),
        _ => false,
    }
}
