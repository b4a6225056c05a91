//! What every store of another crate is wrapped in.

use std::fmt::Display;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Claim;
use super::store::KeepError;

/// The key of the claim; it starts no other key, and every other key comes after it.
pub(super) const CLAIM: &[u8] = &[0];

/// Calls another crate's store; a panic in there is an error like any other.
pub(super) fn fenced<T, E: Display>(call: impl FnOnce() -> Result<T, E>) -> Result<T, KeepError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(done) => done.map_err(super::unreadable),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let text = text.unwrap_or("no message");
            Err(KeepError(format!("the store panicked: {text}")))
        }
    }
}

/// The same place, or the first after the claim.
pub(super) fn after_claim(from: Bound<&[u8]>) -> Bound<&[u8]> {
    match from {
        Bound::Included(key) | Bound::Excluded(key) if key > CLAIM => from,
        _ => Bound::Excluded(CLAIM),
    }
}

/// Reads a claim that was kept.
pub(super) fn from_claim(bytes: &[u8]) -> Result<Claim, KeepError> {
    let claim = Claim::from_bytes(bytes);
    claim.ok_or_else(|| KeepError("its claim is none of this version".to_owned()))
}
