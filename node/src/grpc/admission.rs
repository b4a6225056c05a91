//! How many new subjects a principal may bring into the state.
//!
//! Every lookup of a fingerprint never seen makes a subject, for ever: without a limit one client
//! could fill the disks of all nodes with guesses. The limit is the leader's, by the hour and from
//! its configuration, not a rule of the ledger: a rule would have to count for each principal what
//! it ever made, and would end a service that has reached the number for good. Nothing that is
//! refused here leaves an entry, or an answer.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::principal::Principal;

const HOUR: Duration = Duration::from_hours(1);

/// What each principal has made in its hour. Another leader starts anew, so a change of leaders
/// allows a principal its share once more.
#[derive(Default)]
pub(crate) struct NewSubjects {
    /// By tenant and actor: as many as there are tokens.
    hours: Mutex<BTreeMap<(String, String), Hour>>,
}

struct Hour {
    began: Instant,
    made: u64,
}

impl NewSubjects {
    /// How long the principal has to wait before it may make one more; `None`: not at all.
    pub(crate) fn wait(&self, principal: &Principal, max: u64, now: Instant) -> Option<Duration> {
        let hours = self.hours.lock().unwrap_or_else(PoisonError::into_inner);
        let hour = hours.get(&name(principal))?;
        let left = HOUR.checked_sub(now.saturating_duration_since(hour.began))?;
        (hour.made >= max && !left.is_zero()).then_some(left)
    }

    /// The principal has made one.
    pub(crate) fn count(&self, principal: &Principal, now: Instant) {
        let mut hours = self.hours.lock().unwrap_or_else(PoisonError::into_inner);
        let anew = Hour {
            began: now,
            made: 0,
        };
        let hour = hours.entry(name(principal)).or_insert(anew);
        if now.saturating_duration_since(hour.began) >= HOUR {
            (hour.began, hour.made) = (now, 0);
        }
        hour.made = hour.made.saturating_add(1);
    }
}

fn name(principal: &Principal) -> (String, String) {
    (principal.tenant.clone(), principal.actor.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_principal_that_made_its_share_waits_for_its_hour_to_end_and_no_other_does() {
        let named =
            |actor: &str| Principal::forwarded("acme".to_owned(), actor.to_owned(), Vec::new());
        let (subjects, one, other) = (NewSubjects::default(), named("one"), named("other"));
        let start = Instant::now();
        let at = |minutes| start + Duration::from_mins(minutes);
        for minute in 0..3 {
            assert_eq!(subjects.wait(&one, 3, at(minute)), None);
            subjects.count(&one, at(minute));
        }
        assert_eq!(
            subjects.wait(&one, 3, at(10)),
            Some(Duration::from_mins(50))
        );
        assert_eq!(subjects.wait(&one, 4, at(10)), None);
        assert_eq!(subjects.wait(&other, 3, at(10)), None);
        assert_eq!(subjects.wait(&one, 3, at(60)), None);
        subjects.count(&one, at(61));
        assert_eq!(subjects.wait(&one, 3, at(62)), None);
        assert_eq!(
            subjects.wait(&one, 1, at(62)),
            Some(Duration::from_mins(59))
        );
    }
}
