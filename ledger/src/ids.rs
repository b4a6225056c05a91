//! Numbers that must not be mixed up, each its own type.

use core::fmt;

/// Position of an entry in the ledger, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// Number of entries in a ledger, or in the prefix of one that a checkpoint covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeSize(pub u64);

/// Number of a node, unique for ever within one origin; a rejoining machine gets a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl Seq {
    /// The size of the smallest ledger that holds this entry.
    ///
    /// `None` at the last representable position.
    pub fn size_including(self) -> Option<TreeSize> {
        self.0.checked_add(1).map(TreeSize)
    }
}

impl TreeSize {
    /// The last entry of a ledger of this size, `None` when empty.
    pub fn last(self) -> Option<Seq> {
        self.0.checked_sub(1).map(Seq)
    }

    /// Whether the entry lies in a ledger of this size.
    pub fn covers(self, seq: Seq) -> bool {
        seq.0 < self.0
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A client's name for one request: a `UUIDv7` (RFC 9562), so ids order by the client's clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId([u8; 16]);

/// A text or number that is not a `UUIDv7` in its canonical lower-case form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a version 7 UUID in lower-case hyphenated form")]
pub struct RequestIdError(pub String);

impl RequestId {
    /// From 16 bytes in network order.
    ///
    /// # Errors
    /// When version or variant bits are not those of a `UUIDv7`.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, RequestIdError> {
        let id = Self(bytes);
        let [_, _, _, _, _, _, version, _, variant, ..] = bytes;
        if version >> 4 == 7 && variant >> 6 == 0b10 {
            Ok(id)
        } else {
            Err(RequestIdError(id.to_string()))
        }
    }

    /// From `xxxxxxxx-xxxx-7xxx-[89ab]xxx-xxxxxxxxxxxx`, lower case.
    ///
    /// # Errors
    /// Any other spelling.
    pub fn parse(text: &str) -> Result<Self, RequestIdError> {
        let refused = || RequestIdError(text.to_owned());
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let mut bytes = [0; 16];
        hex::decode_to_slice(&digits, &mut bytes).map_err(|_| refused())?;
        let id = Self::from_bytes(bytes).map_err(|_| refused())?;
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(refused())
        }
    }

    /// The 16 bytes in network order; their order is the order of ids.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The client's clock in the id: milliseconds since the Unix epoch, 48 bits.
    pub fn unix_millis(self) -> u64 {
        let head = self.0.iter().take(6);
        head.fold(0, |millis, byte| millis << 8 | u64::from(*byte))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    #[test]
    fn request_ids_have_one_spelling_and_carry_their_time() {
        // The example of RFC 9562 appendix A.6: 2022-02-22T19:22:22Z.
        let text = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f";
        let id = RequestId::parse(text).unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(id.unix_millis(), 1_645_557_742_000);
        for other in [
            "017F22E2-79b0-7cc3-98c4-dc0c0c07398f",
            "017f22e279b07cc398c4dc0c0c07398f",
            "017f22e2-79b0-4cc3-98c4-dc0c0c07398f",
            "017f22e2-79b0-7cc3-18c4-dc0c0c07398f",
            "017f22e2-79b0-7cc3-98c4-dc0c0c07398",
            "",
        ] {
            assert!(RequestId::parse(other).is_err(), "{other}");
        }
    }
}
