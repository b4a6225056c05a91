#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]
use proptest::prelude::*;

use super::*;

const AGES: ThinAges = ThinAges {
    minute_after_ms: 3_600_000,
    hour_after_ms: 7 * 24 * 3_600_000,
};

/// Every checkpoint ever taken, and what a node keeps of them.
#[derive(Default)]
struct Log {
    taken: Vec<(u64, Micros, bool)>,
    kept: BTreeMap<u64, Kept>,
}

impl Log {
    fn take(&mut self, sealed: Micros, new_keys: bool) {
        if new_keys && let Some(mut newest) = self.kept.last_entry() {
            newest.get_mut().last_of_keys = true;
            self.taken.last_mut().unwrap().2 = true;
        }
        let size = u64::try_from(self.taken.len()).unwrap() + 1;
        self.taken.push((size, sealed, false));
        let kept = Kept {
            crc: 0,
            sealed,
            last_of_keys: false,
        };
        self.kept.insert(size, kept);
    }

    fn thin(&mut self, thinner: &mut Thinner, ages: ThinAges) -> usize {
        let found = thinner.superfluous(&self.kept, ages);
        for size in &found {
            self.kept.remove(size);
        }
        found.len()
    }

    /// What the rule leaves of everything ever taken, said the other way round.
    fn due(&self, ages: ThinAges) -> Vec<u64> {
        let now = self.taken.last().unwrap().1;
        let stays = |at: usize| {
            let (_, sealed, last_of_keys) = self.taken[at];
            let is_last_of = |slot_us: u64| {
                let next = self.taken.get(at + 1);
                next.is_none_or(|next| next.1.0 / slot_us != sealed.0 / slot_us)
            };
            let young = |after_ms| sealed.plus_millis(after_ms) >= now;
            let hourly = young(ages.hour_after_ms) || is_last_of(HOUR_US);
            let minutely = young(ages.minute_after_ms) || is_last_of(MINUTE_US);
            last_of_keys || (hourly && minutely)
        };
        let at = (0..self.taken.len()).filter(|at| stays(*at));
        at.map(|at| self.taken[at].0).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn keeps_the_young_the_last_of_each_slot_and_what_ties_new_keys_to_old(
        gaps in prop::collection::vec((0_u8..100, 0_u64..60_000_000), 1..400),
        short in any::<bool>(),
    ) {
        // Short ages make both passes meet, also the wrong way round.
        let ages = if short {
            ThinAges { minute_after_ms: 2 * 3_600_000, hour_after_ms: 3_600_000 }
        } else {
            AGES
        };
        let (mut log, mut now) = (Log::default(), Micros(1_700_000_000_000_000));
        let mut thinner = Thinner::default();
        for (kind, gap) in gaps {
            now = Micros(now.0 + match kind {
                0 => 8 * 24 * HOUR_US,
                1..10 => gap * 60,
                10..40 => gap,
                _ => gap / 600,
            });
            log.take(now, kind == 99);
            // What a node thinks that has just started over this list.
            let anew = Thinner::default().superfluous(&log.kept, ages);
            let found = thinner.superfluous(&log.kept, ages);
            prop_assert_eq!(&anew, &found);
            for size in &found {
                log.kept.remove(size);
            }
            let kept: Vec<u64> = log.kept.keys().copied().collect();
            prop_assert_eq!(kept, log.due(ages));
        }
    }
}

#[test]
fn what_a_long_silence_made_superfluous_goes_in_bounded_steps_the_same_after_a_restart() {
    let mut log = Log::default();
    let begin = 1_700_000_000_000_000;
    (0..36_000).for_each(|number| log.take(Micros(begin + number * 100_000), false));
    let after_a_month = begin + 30 * 24 * HOUR_US;
    let mut thinner = Thinner::default();
    let mut steps = 0;
    for number in 0.. {
        log.take(Micros(after_a_month + number * 100_000), false);
        if number % 7 == 3 {
            thinner = Thinner::default();
        }
        let dropped = log.thin(&mut thinner, AGES);
        assert!(dropped <= DROPPED_MAX);
        if dropped == 0 {
            break;
        }
        steps += 1;
    }
    assert_eq!(steps, 36);
    let kept: Vec<u64> = log.kept.keys().copied().collect();
    assert_eq!(kept, log.due(AGES));
    let month_old = kept.iter().filter(|size| **size <= 36_000).count();
    assert_eq!(month_old, 2, "the last of each hour of two");
}

#[test]
fn a_checkpoint_costs_no_look_at_those_that_are_not_of_age() {
    let mut log = Log::default();
    let mut thinner = Thinner::default();
    for number in 0..40_000 {
        log.take(Micros(1_700_000_000_000_000 + number * 100_000), false);
        log.thin(&mut thinner, AGES);
    }
    // 400 seconds are older than an hour: the cursor stands at the first that is not.
    assert_eq!(thinner.minutes, 4_000);
    assert_eq!(log.kept.keys().copied().collect::<Vec<_>>(), log.due(AGES));
}
