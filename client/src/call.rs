//! One call: tries over the endpoints until there is a verified answer or the deadline.
//!
//! All tries of a call carry one request id. A try whose outcome is unknown may have taken effect,
//! so from then on the id is never replaced, and a call that gives up says so.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use candor_ledger::ids::{RequestId, Seq, TreeSize};
use candor_ledger::planted;
use candor_ledger::time::Micros;
use candor_proto::{Effect, ErrorCode, error_domain, error_metadata};
use tokio::time::Instant;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

use crate::client::Inner;
use crate::endpoint::Line;
use crate::error::{Doubt, Error, Unproven};
use crate::retry::Backoff;

/// Replacements of an id that a call makes: the first learns the ledger's time, and another is
/// needed only when that moves by more than its tolerance within one round trip.
const REPLACED_MAX: u32 = 3;

/// Beyond its own timeout, how long a try waits for the node to say that it timed out.
const GRACE: Duration = Duration::from_millis(250);

/// With less time left nothing is tried again: a node keeps 20 ms of a deadline for the way back, and
/// a try that is cut off on its way makes an outcome unknown that was known.
const RETRY_LEAST: Duration = Duration::from_millis(50);

/// Whether a call changes anything when it succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A lost try changes nothing that matters to the caller.
    Read,
    /// A lost try may have taken effect.
    Change,
}

/// An answer, and how it was got.
#[derive(Debug)]
pub(crate) struct Answer<A> {
    pub(crate) answer: A,
    /// An earlier try of the same id has an unknown outcome.
    pub(crate) tried_before: bool,
}

impl Inner {
    /// Tries until `judge` accepts a reply.
    ///
    /// `send` makes one try; `judge` verifies a reply and may itself ask the endpoint that gave it.
    pub(crate) async fn call<R, A, SF, JF>(
        &self,
        kind: Kind,
        deadline: Instant,
        first_id: RequestId,
        send: impl Fn(Line, RequestId) -> SF + Send,
        judge: impl Fn(Line, RequestId, R) -> JF + Send,
    ) -> Result<Answer<A>, Error>
    where
        SF: Future<Output = Result<Response<R>, Status>> + Send,
        JF: Future<Output = Result<A, Doubt>> + Send,
    {
        let mut tries = Tries::new(self, kind, deadline, first_id);
        loop {
            self.refuse_when_condemned()?;
            let line = tries.line()?;
            let id = tries.id;
            let outcome = tokio::time::timeout(line.timeout + GRACE, send(line.clone(), id)).await;
            let trouble = match outcome {
                Err(_) => Trouble::lost(format!("`{}` did not answer in time", line.uri)),
                Ok(Err(status)) => Trouble::of(&status, &line),
                Ok(Ok(reply)) => match judge(line.clone(), id, reply.into_inner()).await {
                    Ok(answer) => {
                        self.budget.deposit();
                        self.endpoints.prefer(line.at);
                        let tried_before = tries.unknown;
                        return Ok(Answer {
                            answer,
                            tried_before,
                        });
                    }
                    Err(doubt) => Trouble::Doubt(doubt),
                },
            };
            tracing::debug!(endpoint = line.uri, request_id = %id, %trouble, "a try failed");
            tries.after(trouble, &line).await?;
        }
    }
}

/// Why a try gave no answer.
enum Trouble {
    /// The reply was not accepted.
    Doubt(Doubt),
    /// A node, or the transport, refused.
    Status {
        code: Option<ErrorCode>,
        /// The code's text, also of one that this version does not know, or of the gRPC status.
        name: String,
        effect: Effect,
        retriable: bool,
        /// Who said it; a text of our own says so itself.
        endpoint: Option<String>,
        message: String,
        field: Option<String>,
        leader: Option<String>,
        ledger_time: Option<Micros>,
        wait: Duration,
    },
}

impl Trouble {
    fn lost(message: String) -> Self {
        Self::Status {
            code: None,
            name: "NO_ANSWER".to_owned(),
            effect: Effect::Unknown,
            retriable: true,
            endpoint: None,
            message,
            field: None,
            leader: None,
            ledger_time: None,
            wait: Duration::ZERO,
        }
    }

    fn came_too_late(&self) -> bool {
        let too_late = Some(ErrorCode::DeadlinePassed);
        matches!(self, Self::Status { code, .. } if *code == too_late)
    }

    fn of(status: &Status, line: &Line) -> Self {
        let details = status.get_error_details();
        let info = details
            .error_info()
            .filter(|info| info.domain == error_domain::CANDOR);
        let code = info.and_then(|info| ErrorCode::parse(&info.reason));
        let fact = |key| info.and_then(|info| info.metadata.get(key));
        let violation = details
            .bad_request()
            .and_then(|bad| bad.field_violations.first());
        let wait = details.retry_info().and_then(|retry| retry.retry_delay);
        let (effect, retriable) = match code {
            Some(code) => (code.effect(), code.is_retriable()),
            None => (transport_effect(status), transport_retriable(status.code())),
        };
        Self::Status {
            code,
            name: info.map_or_else(|| grpc_name(status.code()), |info| info.reason.clone()),
            effect,
            retriable,
            endpoint: Some(line.uri.clone()),
            message: status.message().to_owned(),
            field: violation.map(|violation| violation.field.clone()),
            leader: fact(error_metadata::LEADER_ADDRESS).cloned(),
            ledger_time: fact(error_metadata::LEDGER_TIME)
                .and_then(|time| Micros::parse(time).ok()),
            wait: wait.unwrap_or_default(),
        }
    }
}

/// A try that never connected did nothing; of any other broken one nothing is known.
fn transport_effect(status: &Status) -> Effect {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return Effect::None;
        }
        cause = error.source();
    }
    Effect::Unknown
}

fn transport_retriable(code: Code) -> bool {
    matches!(
        code,
        Code::Aborted
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Internal
            | Code::ResourceExhausted
            | Code::Unavailable
            | Code::Unknown
    )
}

/// `Code::PermissionDenied` as `PERMISSION_DENIED`.
fn grpc_name(code: Code) -> String {
    let mut name = String::new();
    for char in format!("{code:?}").chars() {
        if char.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(char.to_ascii_uppercase());
    }
    name
}

/// The state of one call.
struct Tries<'a> {
    inner: &'a Inner,
    kind: Kind,
    deadline: Instant,
    id: RequestId,
    replaced: u32,
    /// A try with this id may have taken effect.
    unknown: bool,
    /// Position of the next try.
    next: usize,
    /// Tries since the last wait.
    in_round: usize,
    /// Endpoints whose answers were not proved: not asked again in this call.
    blamed: BTreeSet<usize>,
    backoff: Backoff,
    seen: Seen,
}

/// What to report when the call ends without an answer: the gravest first.
#[derive(Default)]
struct Seen {
    unproven: Option<(String, Unproven)>,
    stale: Option<(TreeSize, String)>,
    withheld: Option<Seq>,
    last: Option<String>,
}

impl<'a> Tries<'a> {
    fn new(inner: &'a Inner, kind: Kind, deadline: Instant, id: RequestId) -> Self {
        Self {
            inner,
            kind,
            deadline,
            id,
            replaced: 0,
            unknown: false,
            next: inner.endpoints.preferred(),
            in_round: 0,
            blamed: BTreeSet::new(),
            backoff: Backoff::default(),
            seen: Seen::default(),
        }
    }

    /// The endpoint of the next try.
    ///
    /// # Errors
    /// When no time is left.
    fn line(&mut self) -> Result<Line, Error> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let is_retry = self.seen.last.is_some();
        if left.is_zero() || (is_retry && left < RETRY_LEAST) {
            return Err(self.give_up());
        }
        self.in_round += 1;
        let mut line = self
            .inner
            .endpoints
            .line(self.next, left.min(self.inner.attempt_timeout));
        line.known = self.inner.memory.newest();
        Ok(line)
    }

    /// Decides what follows a failed try, and waits for it.
    ///
    /// # Errors
    /// What the caller gets when nothing follows.
    async fn after(&mut self, trouble: Trouble, line: &Line) -> Result<(), Error> {
        // Sent with too little time left: what the tries before it met is what there is to say.
        if trouble.came_too_late() && self.seen.last.is_some() {
            return Err(self.give_up());
        }
        self.seen.last = Some(trouble.to_string());
        match trouble {
            Trouble::Doubt(doubt) => self.after_doubt(doubt, line).await,
            Trouble::Status {
                code: Some(code @ (ErrorCode::RequestIdAhead | ErrorCode::RequestIdStale)),
                ledger_time,
                ..
            } => self.after_bad_id(code, ledger_time).await,
            Trouble::Status {
                retriable: false,
                name,
                message,
                field,
                effect,
                ..
            } => {
                self.unknown |= effect == Effect::Unknown;
                if self.outcome_is_unknown() {
                    return Err(self.give_up());
                }
                let endpoint = line.uri.clone();
                Err(Error::Rejected {
                    code: name,
                    message,
                    field,
                    endpoint,
                })
            }
            Trouble::Status {
                effect,
                leader,
                wait,
                ..
            } => {
                self.unknown |= effect == Effect::Unknown;
                let leader = leader.and_then(|address| self.inner.endpoints.learn(&address));
                let leader = leader.filter(|at| *at != line.at);
                self.again(leader, line, wait).await
            }
        }
    }

    async fn after_doubt(&mut self, doubt: Doubt, line: &Line) -> Result<(), Error> {
        // An answer that is not believed says nothing of what was done.
        self.unknown = true;
        match doubt {
            Doubt::Final(error) => return Err(error),
            Doubt::Misbehaviour(found) => return Err(self.inner.condemn(*found)),
            Doubt::Behind { shown, known } => {
                let problem = format!("`{}` is behind the remembered size {known}", line.uri);
                self.seen.stale = Some((shown, problem));
            }
            Doubt::TooOld { shown, sealed } => {
                let problem = format!("`{}` showed one sealed at {sealed}", line.uri);
                self.seen.stale = Some((shown, problem));
            }
            Doubt::Withheld { write_seq } => self.seen.withheld = Some(write_seq),
            Doubt::Unproven(problem) => {
                tracing::warn!(endpoint = line.uri, %problem, "an answer was not proved");
                self.seen.unproven = Some((line.uri.clone(), problem));
                self.blamed.insert(line.at);
            }
        }
        self.again(None, line, Duration::ZERO).await
    }

    /// The ledger did not take the id. One that was sent only once did nothing: another is made,
    /// with the ledger's time. One with an earlier try may yet take effect, or has.
    async fn after_bad_id(
        &mut self,
        code: ErrorCode,
        ledger_time: Option<Micros>,
    ) -> Result<(), Error> {
        let inner = self.inner;
        if let Some(ledger_time) = ledger_time {
            inner.ids.learn(ledger_time, inner.around.now());
        }
        if self.unknown {
            return match code {
                // The ledger's time moves on, and an earlier try may still arrive.
                ErrorCode::RequestIdAhead => self.pause(Duration::ZERO).await,
                _ => Err(self.give_up()),
            };
        }
        if self.replaced == REPLACED_MAX {
            return Err(self.give_up());
        }
        self.replaced += 1;
        self.id = inner.ids.mint(&inner.around);
        Ok(())
    }

    /// Goes on to the leader that was named, else to the next endpoint; waits after a full round.
    async fn again(
        &mut self,
        leader: Option<usize>,
        line: &Line,
        wait: Duration,
    ) -> Result<(), Error> {
        let count = self.inner.endpoints.len();
        let others = (1..=count).map(|step| (line.at + step) % count);
        let next = leader
            .into_iter()
            .chain(others)
            .find(|at| !self.blamed.contains(at));
        let Some(next) = next else {
            return Err(self.give_up());
        };
        if !self.inner.budget.withdraw() {
            return Err(self.give_up());
        }
        if planted!("retry-renamed") {
            self.id = self.inner.ids.mint(&self.inner.around);
        }
        self.next = next;
        if self.in_round < count && wait.is_zero() {
            return Ok(());
        }
        self.in_round = 0;
        self.pause(wait).await
    }

    /// # Errors
    /// When the deadline would come first.
    async fn pause(&mut self, at_least: Duration) -> Result<(), Error> {
        let wait = self.backoff.next(&self.inner.around, at_least);
        if Instant::now() + wait + RETRY_LEAST >= self.deadline {
            return Err(self.give_up());
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn outcome_is_unknown(&self) -> bool {
        self.unknown && self.kind == Kind::Change
    }

    fn give_up(&mut self) -> Error {
        let seen = std::mem::take(&mut self.seen);
        let last = seen
            .last
            .unwrap_or_else(|| "the deadline had passed".to_owned());
        if self.outcome_is_unknown() {
            let request_id = self.id;
            // An answer came and was not believed: that is what the caller must look into.
            let last = match seen.unproven {
                Some((endpoint, problem)) => format!("UNPROVEN: `{endpoint}`: {problem}"),
                None => last,
            };
            return Error::OutcomeUnknown { request_id, last };
        }
        match seen {
            Seen {
                unproven: Some((endpoint, problem)),
                ..
            } => Error::Unproven { endpoint, problem },
            Seen {
                stale: Some((seen, problem)),
                ..
            } => Error::Stale { seen, problem },
            Seen {
                withheld: Some(write_seq),
                ..
            } => Error::Withheld { write_seq },
            _ => Error::Unavailable { last },
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status {
                name,
                endpoint: Some(endpoint),
                message,
                ..
            } => write!(f, "{name}: `{endpoint}`: {message}"),
            Self::Status { name, message, .. } => write!(f, "{name}: {message}"),
            Self::Doubt(doubt) => fmt::Display::fmt(doubt, f),
        }
    }
}
