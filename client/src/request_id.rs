//! Request ids stamped with the ledger's time.

use std::sync::atomic::{AtomicI64, Ordering};

use candor_ledger::ids::RequestId;
use candor_ledger::time::Micros;

use crate::surroundings::Surroundings;

/// Makes `UUIDv7` ids (RFC 9562 section 5.7) whose time is the ledger's as far as it is known: the
/// ledger orders requests by it and refuses ids that are too far ahead or behind.
#[derive(Debug, Default)]
pub(crate) struct IdMint {
    /// Ledger time minus this machine's clock, in microseconds, as of the last reply.
    offset_us: AtomicI64,
}

impl IdMint {
    /// A new id.
    pub(crate) fn mint(&self, around: &Surroundings) -> RequestId {
        let offset = self.offset_us.load(Ordering::Relaxed);
        let ledger_now = Micros(around.now().0.saturating_add_signed(offset));
        let mut bytes = [0; 16];
        around.fill(&mut bytes);
        let [.., version, _, variant, _, _, _, _, _, _, _] = &mut bytes;
        *version = 0x70 | (*version & 0x0f);
        *variant = 0x80 | (*variant & 0x3f);
        let millis = ledger_now.as_millis().to_be_bytes();
        for (to, from) in bytes.iter_mut().zip(millis.iter().skip(2)) {
            *to = *from;
        }
        RequestId::from_bytes(bytes).expect("invariant: version and variant are set above")
    }

    /// Takes note of the ledger's time in a reply that has just come.
    pub(crate) fn learn(&self, ledger_time: Micros, now: Micros) {
        let offset = i128::from(ledger_time.0) - i128::from(now.0);
        if let Ok(offset) = i64::try_from(offset) {
            self.offset_us.store(offset, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_the_ledgers_time_and_are_distinct() {
        let mint = IdMint::default();
        let around = Surroundings::real().with_wall(|| Micros(1_000_000_000));
        assert_eq!(mint.mint(&around).unix_millis(), 1_000_000);
        mint.learn(Micros(1_747_216_801_999_999), Micros(1_000_000_000));
        let (first, second) = (mint.mint(&around), mint.mint(&around));
        assert_eq!(first.unix_millis(), 1_747_216_801_999);
        assert_ne!(first, second);
        mint.learn(Micros(0), Micros(1_000_000_000));
        assert_eq!(mint.mint(&around).unix_millis(), 0);
    }
}
