//! Bugs that are planted on purpose, to show that tests would find them.
//!
//! A build with `--cfg candor_mutants` holds all of them and has none or one at work, chosen when it
//! runs. In any other build `planted!(..)` is the literal `false`. Which test finds which: `jepsen-tests/README.md`.

/// One bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// As in [`planted!`](crate::planted), and on the command line.
    pub name: &'static str,
    /// The invariant that it breaks, of those in `jepsen-tests/README.md`.
    pub breaks: &'static str,
    /// What a program with it does.
    pub does: &'static str,
}

/// All bugs that can be planted; where, a search for their names shows.
pub const ALL: &[Mutant] = &[
    // What is on disk.
    Mutant {
        name: "ack-before-sync",
        breaks: "L7",
        does: "the Raft log calls a group durable that it has not synced",
    },
    Mutant {
        name: "failed-sync-retried",
        breaks: "L7",
        does: "a sync of the Raft log that failed is made again, and its success believed",
    },
    Mutant {
        name: "last-segment-kept",
        breaks: "L7",
        does: "a start goes on behind the last group as it reads it, and does not write it anew",
    },
    Mutant {
        name: "marker-before-files",
        breaks: "L7",
        does: "a marker counts ledger files that were not synced",
    },
    Mutant {
        name: "truncation-unwritten",
        breaks: "L2",
        does: "entries that another leader's replace are dropped in memory, and not in the log on disk",
    },
    Mutant {
        name: "vote-unsaved",
        breaks: "L3",
        does: "a vote is kept in memory alone",
    },
    Mutant {
        name: "vote-unsynced",
        breaks: "L3",
        does: "a vote is written and not synced",
    },
    Mutant {
        name: "checksum-unchecked",
        breaks: "L14",
        does: "a start looks at the records of a group, and not at the checksum over all of them",
    },
    Mutant {
        name: "corruption-cut",
        breaks: "L14",
        does: "a start takes a damaged group of the Raft log for one that was not written to its end",
    },
    Mutant {
        name: "segment-unlisted",
        breaks: "L7",
        does: "the name of a new segment of the Raft log is not synced",
    },
    Mutant {
        name: "torn-refused",
        breaks: "L18",
        does: "a start takes a group that was not written to its end for a damaged one",
    },
    Mutant {
        name: "purge-early",
        breaks: "L7",
        does: "the Raft log is purged to the newest marker, though a start may have to take the older one",
    },
    Mutant {
        name: "state-ahead",
        breaks: "L17",
        does: "a start believes a persisted state that is not one of its ledger",
    },
    // Agreement.
    Mutant {
        name: "ack-before-quorum",
        breaks: "L1",
        does: "a leader counts a member that did not answer an append as one that has it",
    },
    Mutant {
        name: "applied-ahead",
        breaks: "L17",
        does: "the marker says that one more command was applied than it counts",
    },
    Mutant {
        name: "applied-behind",
        breaks: "L10",
        does: "the marker says that one command less was applied than it counts",
    },
    Mutant {
        name: "hash-order",
        breaks: "L3",
        does: "a node applies the operations of a command in the order of a hash of its own",
    },
    Mutant {
        name: "snapshot-ahead",
        breaks: "L17",
        does: "a snapshot stands for commands whose entries it does not hold",
    },
    Mutant {
        name: "time-goes-back",
        breaks: "L2",
        does: "an entry has the time of its command, also where an earlier one has a later time",
    },
    Mutant {
        name: "clock-unchecked",
        breaks: "L9",
        does: "a leader dates entries by a clock that no majority agrees with",
    },
    Mutant {
        name: "page-unproved",
        breaks: "L2",
        does: "a node that catches up keeps entries that are not shown to be those that were sealed",
    },
    Mutant {
        name: "wiped-admitted",
        breaks: "L16",
        does: "a node that lost its folder, or has an old one, is taken for the one it was",
    },
    // Once, and recorded.
    Mutant {
        name: "floor-forgotten",
        breaks: "L10",
        does: "a request id that is older than all remembered ones is taken for a new one",
    },
    Mutant {
        name: "hit-unrecorded",
        breaks: "L11",
        does: "a hit leaves no entry",
    },
    Mutant {
        name: "refused-though-unknown",
        breaks: "L12",
        does: "a node says of a call it gave up that nothing happened",
    },
    Mutant {
        name: "requests-unfolded",
        breaks: "L10",
        does: "a start does not remember which requests took effect",
    },
    Mutant {
        name: "retry-renamed",
        breaks: "L10",
        does: "the SDK sends a request again under another id",
    },
    Mutant {
        name: "twice-done",
        breaks: "L10",
        does: "a request id that took effect is taken for a new one",
    },
    // What is served.
    Mutant {
        name: "expired-served",
        breaks: "L9",
        does: "a result is served behind its deadline, until an entry ends it",
    },
    Mutant {
        name: "revoked-served",
        breaks: "L9",
        does: "a revocation leaves the result as it was",
    },
    Mutant {
        name: "superseded-served",
        breaks: "L9",
        does: "a supersession leaves the result as it was",
    },
    Mutant {
        name: "answer-unbound",
        breaks: "L9",
        does: "the SDK takes the answer to another question",
    },
    // What is signed.
    Mutant {
        name: "majority-unneeded",
        breaks: "L4",
        does: "a checkpoint is sealed without the cosignatures of a majority",
    },
    Mutant {
        name: "tip-signed",
        breaks: "L5",
        does: "a checkpoint has the root of all entries that are there, and not of those before its seal",
    },
    Mutant {
        name: "signature-unchecked",
        breaks: "L4",
        does: "one of the three signatures of a checkpoint is not verified",
    },
    Mutant {
        name: "rules-unchecked",
        breaks: "L17",
        does: "an audit does not compare what entries say with what the rules demand",
    },
];

/// Whether the bug of this name is planted in what runs: with `--cfg candor_mutants`, where it was chosen.
///
/// A name that is not in [`mutants::ALL`](crate::mutants::ALL) does not compile.
#[cfg(not(candor_mutants))]
#[macro_export]
macro_rules! planted {
    ($name:literal) => {{
        const { $crate::mutants::demand($name) };
        false
    }};
}

/// Whether the bug of this name is planted in what runs: with `--cfg candor_mutants`, where it was chosen.
///
/// A name that is not in [`mutants::ALL`](crate::mutants::ALL) does not compile.
#[cfg(candor_mutants)]
#[macro_export]
macro_rules! planted {
    ($name:literal) => {{
        const { $crate::mutants::demand($name) };
        // The prefix tells a binary that holds planted bugs from one that does not.
        $crate::mutants::at_work::is_chosen(concat!("candor-mutant:", $name))
    }};
}

/// Stops the compiler at a name that is not listed.
///
/// # Panics
/// At such a name.
pub const fn demand(name: &str) {
    assert!(
        is_listed(name),
        "it is not in `candor_ledger::mutants::ALL`"
    );
}

const fn is_listed(name: &str) -> bool {
    let mut rest = ALL;
    while let [first, others @ ..] = rest {
        if is_equal(first.name.as_bytes(), name.as_bytes()) {
            return true;
        }
        rest = others;
    }
    false
}

/// As `==`, which is no constant function of slices.
const fn is_equal(mut one: &[u8], mut other: &[u8]) -> bool {
    while let ([a, one_left @ ..], [b, other_left @ ..]) = (one, other) {
        if *a != *b {
            return false;
        }
        (one, other) = (one_left, other_left);
    }
    one.is_empty() && other.is_empty()
}

/// The choice of this process.
#[cfg(candor_mutants)]
pub mod at_work {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{ALL, is_listed};

    // A release has neither debug assertions nor, therefore, this.
    #[cfg(not(debug_assertions))]
    compile_error!("planted bugs are for builds with debug assertions, which are never released");

    /// Chooses for programs that take no argument, such as tests.
    const VARIABLE: &str = "CANDOR_MUTANT";

    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    static REACHED: AtomicU64 = AtomicU64::new(0);

    /// Plants a bug in this process, once and before anything runs.
    ///
    /// # Errors
    /// When there is no such bug, or the choice was made before.
    pub fn choose(name: &str) -> Result<(), String> {
        let known: Vec<_> = ALL.iter().map(|mutant| mutant.name).collect();
        if !is_listed(name) {
            return Err(format!("`{name}` is none of {}", known.join(", ")));
        }
        let again = |_| format!("`{name}` comes too late: the choice was made");
        CHOSEN.set(Some(name.to_owned())).map_err(again)
    }

    /// How often the chosen bug did its work.
    pub fn reached() -> u64 {
        REACHED.load(Ordering::Relaxed)
    }

    /// For `planted!` alone.
    ///
    /// # Panics
    /// When the environment names a bug that there is not.
    pub fn is_chosen(marked: &str) -> bool {
        let chosen = CHOSEN.get_or_init(|| {
            let name = std::env::var(VARIABLE).ok()?;
            assert!(is_listed(&name), "`{VARIABLE}={name}` names no mutant");
            Some(name)
        });
        let chosen = chosen.as_deref().zip(marked.split_once(':'));
        let is_it = chosen.is_some_and(|(chosen, (_, name))| chosen == name);
        if is_it {
            REACHED.fetch_add(1, Ordering::Relaxed);
        }
        is_it
    }
}
