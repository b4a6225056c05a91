//! All that is checked before an answer is believed.
//!
//! A server's reply is a claim. Here it is held against three things that the server has no hand
//! in: the question that was asked, the trust policy, and the checkpoint remembered from earlier
//! answers. The functions are pure: time comes in as a number, and checkpoints come in verified.
//!
//! - [`proof`]: an entry lies where it is said to lie, and says nothing that contradicts the
//!   checkpoint above it.
//! - [`own`]: the entry that a request made is the one it should have made.
//! - [`lookup`]: a hit's value is the one recorded under the fingerprint that was asked for.
//! - [`change`]: what a set, supersession, revocation ... says it did.
//! - [`past`]: what stood at a moment of the past is what the events before it tell.
//! - [`lifecycle`]: the entries about a subject follow each other without a hole.

pub(crate) mod change;
pub(crate) mod lifecycle;
pub(crate) mod lookup;
pub(crate) mod own;
pub(crate) mod past;
pub(crate) mod proof;

use std::time::Duration;

use candor_ledger::time::Micros;

use crate::checkpoint::VerifiedCheckpoint;
use crate::error::{Doubt, Unproven};

/// How far this machine's clock may be off.
pub(crate) const CLOCK_TOLERANCE: Duration = Duration::from_secs(5);

/// A duration in whole microseconds, saturating.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A time, later by a duration, saturating.
pub(crate) fn after(time: Micros, duration: Duration) -> Micros {
    Micros(time.0.saturating_add(micros(duration)))
}

/// The checkpoint was sealed at most `max_age` ago, and not in the future.
pub(crate) fn fresh(
    checkpoint: &VerifiedCheckpoint,
    max_age: Duration,
    now: Micros,
) -> Result<(), Doubt> {
    let (shown, sealed) = (checkpoint.size(), checkpoint.sealed());
    if sealed > after(now, CLOCK_TOLERANCE) {
        // Believed, it would look fresh for as long as it is ahead.
        let latest = format!("at most {now} and {CLOCK_TOLERANCE:?}");
        return Err(Unproven::differs("the time of the seal", latest, sealed).into());
    }
    if after(sealed, max_age.saturating_add(CLOCK_TOLERANCE)) < now {
        return Err(Doubt::TooOld { shown, sealed });
    }
    Ok(())
}
