//! How much the disk still takes.

/// Of the reserve, what a stop and a start may need.
const EXHAUSTED_SHARE: u64 = 4;
/// Above the reserve by this share of it, a state is left again: not at every freed byte.
const LEAVING_SHARE: u64 = 8;

/// How much the disk still takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// At least the reserve.
    #[default]
    Enough,
    /// Less than the reserve.
    Low,
    /// Less than a quarter of it.
    Exhausted,
}

impl Room {
    /// The room that so many free bytes leave; a state is left later than it is entered.
    pub(super) fn next(self, free: u64, reserve: u64) -> Self {
        let of = |free: u64| match free {
            free if free < reserve / EXHAUSTED_SHARE => Self::Exhausted,
            free if free < reserve => Self::Low,
            _ => Self::Enough,
        };
        let entered = of(free);
        // The other way round with less: would it still be left?
        let left = of(free.saturating_sub(reserve / LEAVING_SHARE));
        entered.max(left.min(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_begins_at_its_mark_and_ends_an_eighth_of_the_reserve_above() {
        let story = [
            (1_000, Room::Enough),
            (800, Room::Enough),
            (799, Room::Low),
            (899, Room::Low),
            (900, Room::Enough),
            (200, Room::Low),
            (199, Room::Exhausted),
            (299, Room::Exhausted),
            (300, Room::Low),
            (0, Room::Exhausted),
            (5_000, Room::Enough),
        ];
        let mut room = Room::Enough;
        for (free, want) in story {
            room = room.next(free, 800);
            assert_eq!(room, want, "{free} bytes free");
        }
    }
}
