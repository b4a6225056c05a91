//! Random numbers by purpose: a draw more for one leaves those of the others as they were.

use candor_ledger::digest::sha3_256;
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus as Rng;

/// The numbers of one purpose in the run of one seed.
pub(crate) fn stream(seed: u64, purpose: &str) -> Rng {
    Rng::from_seed(sha3_256(format!("candor-sim/{seed}/{purpose}").as_bytes()))
}
