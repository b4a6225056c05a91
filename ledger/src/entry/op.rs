use core::fmt;

/// An operation of the ledger, by the word in key `op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    /// `cache.expire`
    CacheExpire,
    /// `cache.read_as_of`
    CacheReadAsOf,
    /// `cache.read_hit`
    CacheReadHit,
    /// `cache.read_miss`
    CacheReadMiss,
    /// `cache.refused`
    CacheRefused,
    /// `cache.reinstate`
    CacheReinstate,
    /// `cache.revoke`
    CacheRevoke,
    /// `cache.supersede`
    CacheSupersede,
    /// `cache.verify`
    CacheVerify,
    /// `cache.write`
    CacheWrite,
    /// `cache.write_conflict`
    CacheWriteConflict,
    /// `ledger.genesis`
    LedgerGenesis,
    /// `ledger.keys`
    LedgerKeys,
    /// `ledger.member`
    LedgerMember,
    /// `ledger.params`
    LedgerParams,
    /// `ledger.rules`
    LedgerRules,
    /// `ledger.seal`
    LedgerSeal,
    /// `model.supersede`
    ModelSupersede,
}

impl Op {
    /// Every operation, in the order of the words.
    pub const ALL: [Self; 18] = [
        Self::CacheExpire,
        Self::CacheReadAsOf,
        Self::CacheReadHit,
        Self::CacheReadMiss,
        Self::CacheRefused,
        Self::CacheReinstate,
        Self::CacheRevoke,
        Self::CacheSupersede,
        Self::CacheVerify,
        Self::CacheWrite,
        Self::CacheWriteConflict,
        Self::LedgerGenesis,
        Self::LedgerKeys,
        Self::LedgerMember,
        Self::LedgerParams,
        Self::LedgerRules,
        Self::LedgerSeal,
        Self::ModelSupersede,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CacheExpire => "cache.expire",
            Self::CacheReadAsOf => "cache.read_as_of",
            Self::CacheReadHit => "cache.read_hit",
            Self::CacheReadMiss => "cache.read_miss",
            Self::CacheRefused => "cache.refused",
            Self::CacheReinstate => "cache.reinstate",
            Self::CacheRevoke => "cache.revoke",
            Self::CacheSupersede => "cache.supersede",
            Self::CacheVerify => "cache.verify",
            Self::CacheWrite => "cache.write",
            Self::CacheWriteConflict => "cache.write_conflict",
            Self::LedgerGenesis => "ledger.genesis",
            Self::LedgerKeys => "ledger.keys",
            Self::LedgerMember => "ledger.member",
            Self::LedgerParams => "ledger.params",
            Self::LedgerRules => "ledger.rules",
            Self::LedgerSeal => "ledger.seal",
            Self::ModelSupersede => "model.supersede",
        }
    }

    /// Reads the word; `None` for one that this version does not know.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.as_str() == word)
    }

    /// Whether it is about the log itself, rather than about a tenant's results.
    pub fn is_of_the_log(self) -> bool {
        matches!(
            self,
            Self::LedgerGenesis
                | Self::LedgerKeys
                | Self::LedgerMember
                | Self::LedgerParams
                | Self::LedgerRules
                | Self::LedgerSeal
        )
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
