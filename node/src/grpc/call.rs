//! One call: who is asking, until when, and whether another node sent it on.

use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;

use super::status::{ApiError, ErrorCode};
use crate::principal::{Principal, Right, Tokens};

/// Set by a node that sends a call on; a call that carries it is not sent on again.
pub const FORWARDED: &str = "candor-forwarded";
/// The bearer token's header.
pub const AUTHORIZATION: &str = "authorization";
/// gRPC's own deadline header: at most 8 digits and a unit.
pub const TIMEOUT: &str = "grpc-timeout";
/// What is left of a deadline for the answer's own way back: a twentieth, between these two. Each hop
/// keeps its own, so that what the leader says at the last moment still overtakes the clocks of the
/// node that sent the call on and of the client.
const RETURN_MARGIN_LEAST: Duration = Duration::from_millis(20);
const RETURN_MARGIN_MOST: Duration = Duration::from_millis(250);

/// What is known of a call before its message is looked at.
#[derive(Clone, Debug)]
pub struct Call {
    /// From the token.
    pub principal: Principal,
    /// When the caller stops listening, the way back taken off.
    pub deadline: Instant,
    /// Another node sent it here.
    pub forwarded: bool,
}

impl Call {
    /// What log lines about this call carry: what is asked and by whom, never a value or a token. The
    /// request ids are in the spans of its operations.
    pub fn span(&self, method: &str) -> tracing::Span {
        let Principal { tenant, actor, .. } = &self.principal;
        let forwarded = self.forwarded;
        tracing::info_span!("call", method, tenant, actor, forwarded)
    }

    /// Admits a call or says why not.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `PERMISSION_DENIED`, `DEADLINE_MISSING`, `DEADLINE_PASSED`,
    /// `INVALID_FIELD` for a deadline longer than `longest`.
    pub fn admit(
        metadata: &MetadataMap,
        tokens: &Tokens,
        rights: &[Right],
        now: Instant,
        longest: Duration,
    ) -> Result<Self, ApiError> {
        let principal = principal(metadata, tokens)?;
        if !rights.iter().any(|right| principal.may(*right)) {
            let wanted: Vec<_> = rights.iter().map(|right| right.as_str()).collect();
            return Err(ApiError::new(
                ErrorCode::PermissionDenied,
                format!("this needs the right `{}`", wanted.join("` or `")),
            ));
        }
        let timeout = timeout(metadata)?;
        if timeout > longest {
            let most = longest.as_millis();
            return Err(ApiError::field(
                "grpc-timeout",
                format!("at most {most} ms"),
            ));
        }
        let left = time_to_answer(timeout).ok_or_else(|| {
            ApiError::new(
                ErrorCode::DeadlinePassed,
                "the deadline leaves no time to answer",
            )
        })?;
        Ok(Self {
            principal,
            deadline: now + left,
            forwarded: metadata.get(FORWARDED).is_some(),
        })
    }
}

/// A deadline without the way back; `None` when nothing is left.
pub(super) fn time_to_answer(timeout: Duration) -> Option<Duration> {
    let margin = (timeout / 20).clamp(RETURN_MARGIN_LEAST, RETURN_MARGIN_MOST);
    timeout.checked_sub(margin)
}

fn principal(metadata: &MetadataMap, tokens: &Tokens) -> Result<Principal, ApiError> {
    let missing = || {
        ApiError::new(
            ErrorCode::Unauthenticated,
            "send a known token as `authorization: Bearer <token>`",
        )
    };
    let header = metadata.get(AUTHORIZATION);
    let header = header.and_then(|header| header.to_str().ok());
    let principal = header.and_then(|header| tokens.bearer(header));
    principal.cloned().ok_or_else(missing)
}

/// `grpc-timeout` of the gRPC over HTTP/2 specification: 1 to 8 digits and one of `HMSmun`.
pub(crate) fn timeout(metadata: &MetadataMap) -> Result<Duration, ApiError> {
    let header = metadata.get(TIMEOUT).ok_or_else(|| {
        ApiError::new(
            ErrorCode::DeadlineMissing,
            "every call needs a deadline (`grpc-timeout`)",
        )
    })?;
    let malformed = || ApiError::field(TIMEOUT, "want 1 to 8 digits and one of H M S m u n");
    let text = header.to_str().map_err(|_| malformed())?;
    let (digits, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(malformed)?;
    if digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(malformed());
    }
    let count: u64 = digits.parse().map_err(|_| malformed())?;
    Ok(match unit {
        "H" => Duration::from_hours(count),
        "M" => Duration::from_mins(count),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return Err(malformed()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;
    use crate::principal::token_line;

    fn admit(headers: &[(&'static str, &str)]) -> Result<Call, ErrorCode> {
        let tokens = Tokens::parse(&token_line("secret", "acme", "a", &[Right::Read])).unwrap();
        let mut metadata = MetadataMap::new();
        for (name, value) in headers {
            metadata.insert(*name, value.parse().unwrap());
        }
        let longest = Duration::from_mins(1);
        Call::admit(&metadata, &tokens, &[Right::Read], Instant::now(), longest)
            .map_err(|error| error.code)
    }

    #[test]
    fn a_call_needs_a_known_token_and_a_sensible_deadline() {
        let token = (AUTHORIZATION, "Bearer secret");
        assert_eq!(
            admit(&[token, (TIMEOUT, "5S")]).unwrap().principal.tenant,
            "acme"
        );
        assert!(!admit(&[token, (TIMEOUT, "900m")]).unwrap().forwarded);
        assert!(
            admit(&[token, (TIMEOUT, "900m"), (FORWARDED, "1")])
                .unwrap()
                .forwarded
        );
        for (headers, code) in [
            (&[token][..], ErrorCode::DeadlineMissing),
            (&[token, (TIMEOUT, "1m")], ErrorCode::DeadlinePassed),
            (&[token, (TIMEOUT, "61S")], ErrorCode::InvalidField),
            (&[token, (TIMEOUT, "5")], ErrorCode::InvalidField),
            (&[token, (TIMEOUT, "+5S")], ErrorCode::InvalidField),
            (&[token, (TIMEOUT, "123456789m")], ErrorCode::InvalidField),
            (&[(TIMEOUT, "5S")], ErrorCode::Unauthenticated),
            (
                &[(AUTHORIZATION, "Bearer other"), (TIMEOUT, "5S")],
                ErrorCode::Unauthenticated,
            ),
            (
                &[(AUTHORIZATION, "secret"), (TIMEOUT, "5S")],
                ErrorCode::Unauthenticated,
            ),
        ] {
            assert_eq!(admit(headers).unwrap_err(), code, "{headers:?}");
        }
    }

    #[test]
    fn every_hop_keeps_time_for_the_way_back() {
        let millis = |ms| time_to_answer(Duration::from_millis(ms)).map(|left| left.as_millis());
        assert_eq!(millis(19), None);
        assert_eq!(millis(100), Some(80));
        assert_eq!(millis(2_000), Some(1_900));
        assert_eq!(millis(60_000), Some(59_750));
    }

    #[test]
    fn a_right_is_needed_and_no_other_stands_for_it() {
        let tokens = Tokens::parse(&token_line("s", "acme", "a", &[Right::Read])).unwrap();
        let mut metadata = MetadataMap::new();
        metadata.insert(AUTHORIZATION, "Bearer s".parse().unwrap());
        metadata.insert(TIMEOUT, "5S".parse().unwrap());
        let longest = Duration::from_mins(1);
        let denied =
            Call::admit(&metadata, &tokens, &[Right::Write], Instant::now(), longest).unwrap_err();
        assert_eq!(denied.code, ErrorCode::PermissionDenied);
        assert!(denied.message.contains("`write`"));
    }
}
