//! Tiles of the tree and bundles of entries, as C2SP tlog-tiles names and writes them.
//!
//! ```text
//! tile/<L>/<N>[.p/<W>]         up to 256 hashes of level 8 L, 32 bytes each
//! tile/entries/<N>[.p/<W>]     up to 256 entries, each: u16 length || bytes
//! ```
//!
//! A tile never changes: the hashes in it stand over complete subtrees. `W` is there when fewer than
//! 256 are asked for; the same hashes are then the beginning of every wider tile of that place.

use core::fmt;

use crate::entry::ENTRY_LEN_MAX;
use crate::ids::{Seq, TreeSize};

/// Hashes of a full tile, entries of a full bundle.
pub const TILE_WIDTH: u16 = 256;
/// Levels of the tree from one level of tiles to the next.
pub const TILE_LEVELS: u8 = 8;
/// The highest level of tiles that a path can name.
pub const TILE_LEVEL_MAX: u8 = 63;
/// The largest bundle: 256 entries of 65,535 bytes with two bytes before each, 16 MiB.
pub const BUNDLE_LEN_MAX: usize = 256 * (ENTRY_LEN_MAX + 2);
/// Entries in one directory of an index: three digits.
const INDEX_BASE: u64 = 1_000;

/// What a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TileKind {
    /// Entries: a bundle.
    Entries,
    /// Hashes of this level of tiles.
    Hashes(u8),
}

/// The name of one tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TileId {
    /// Which of the two, and which level.
    pub kind: TileKind,
    /// Its place within the level, from 0.
    pub index: u64,
    /// How many hashes or entries, 1 to 256.
    pub width: u16,
}

/// A text that names no tile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no tile: want `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`")]
pub struct TileIdError(pub String);

/// A bundle that is not as long as its entries say, or has not as many as its name says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bundle of {wanted} entries cannot be read after entry {whole} of it")]
pub struct BundleError {
    /// How many entries its name promises.
    pub wanted: u16,
    /// How many could be read.
    pub whole: u16,
}

impl TileId {
    /// From its path without a leading slash.
    ///
    /// # Errors
    /// [`TileIdError`] for every spelling but the one that [`TileId`] is displayed as.
    pub fn parse(path: &str) -> Result<Self, TileIdError> {
        let parsed = parse(path).filter(|tile| tile.to_string() == path);
        parsed.ok_or_else(|| TileIdError(path.to_owned()))
    }

    /// The tile of this place, as wide as a tree of `size` has it; `None` when it has nothing there.
    pub fn at(kind: TileKind, index: u64, size: TreeSize) -> Option<Self> {
        let first = index.checked_mul(u64::from(TILE_WIDTH))?;
        let left = hashes_at(kind, size).checked_sub(first)?;
        let width = u16::try_from(left).unwrap_or(TILE_WIDTH).min(TILE_WIDTH);
        let tile = Self { kind, index, width };
        (width > 0).then_some(tile)
    }

    /// Whether it has all of its width.
    pub fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// Its first hash, counted within the level of the tree; of a bundle, its first entry.
    pub fn first(&self) -> u64 {
        self.index.saturating_mul(u64::from(TILE_WIDTH))
    }

    /// The first one after it.
    pub fn end(&self) -> u64 {
        self.first().saturating_add(u64::from(self.width))
    }

    /// Whether a tree of this size has all that the tile holds.
    pub fn is_within(&self, size: TreeSize) -> bool {
        self.end() <= hashes_at(self.kind, size)
    }

    /// The level of the tree whose nodes it holds, 0 for a bundle; above 255 there is nothing.
    pub fn tree_level(&self) -> Option<u8> {
        match self.kind {
            TileKind::Entries => Some(0),
            TileKind::Hashes(level) => level.checked_mul(TILE_LEVELS),
        }
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Entries => f.write_str("tile/entries/")?,
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
        }
        let mut groups = Vec::new();
        let mut index = self.index;
        while index >= INDEX_BASE {
            groups.push(index % INDEX_BASE);
            index /= INDEX_BASE;
        }
        groups.push(index);
        while let Some(group) = groups.pop() {
            if groups.is_empty() {
                write!(f, "{group:03}")?;
            } else {
                write!(f, "x{group:03}/")?;
            }
        }
        if self.is_full() {
            return Ok(());
        }
        write!(f, ".p/{}", self.width)
    }
}

/// Appends an entry, without LF, to a bundle.
///
/// # Panics
/// When it is longer than an entry can be.
pub fn push_to_bundle(bundle: &mut Vec<u8>, entry: &[u8]) {
    let len = u16::try_from(entry.len()).expect("invariant: an entry has at most 65,535 bytes");
    bundle.extend(len.to_be_bytes());
    bundle.extend(entry);
}

/// The entries of a bundle that its name says to have so many.
///
/// # Errors
/// When there are fewer, or bytes after them.
pub fn bundle_entries(bundle: &[u8], width: u16) -> Result<Vec<&[u8]>, BundleError> {
    let (mut entries, mut rest) = (Vec::new(), bundle);
    let broken = |entries: &[&[u8]]| BundleError {
        wanted: width,
        whole: u16::try_from(entries.len()).unwrap_or(u16::MAX),
    };
    for _ in 0..width {
        let split = rest.split_first_chunk().and_then(|(len, after)| {
            let len = usize::from(u16::from_be_bytes(*len));
            after.split_at_checked(len)
        });
        let Some((entry, after)) = split else {
            return Err(broken(&entries));
        };
        entries.push(entry);
        rest = after;
    }
    match rest {
        [] => Ok(entries),
        _ => Err(broken(&entries)),
    }
}

/// The first entry of a bundle.
pub fn bundle_of(seq: Seq) -> u64 {
    seq.0 / u64::from(TILE_WIDTH)
}

/// Nodes of the tile's level in a tree of this size.
fn hashes_at(kind: TileKind, size: TreeSize) -> u64 {
    match kind {
        TileKind::Entries => size.0,
        TileKind::Hashes(level) => {
            let bits = u32::from(level) * u32::from(TILE_LEVELS);
            size.0.checked_shr(bits).unwrap_or(0)
        }
    }
}

/// Reads more spellings than there are; the caller compares.
fn parse(path: &str) -> Option<TileId> {
    let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
    let kind = match kind {
        "entries" => TileKind::Entries,
        level => TileKind::Hashes(
            level
                .parse()
                .ok()
                .filter(|level| *level <= TILE_LEVEL_MAX)?,
        ),
    };
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, width.parse().ok().filter(|w| *w < TILE_WIDTH)?),
        None => (rest, TILE_WIDTH),
    };
    let mut number = 0_u64;
    for group in index.split('/') {
        let digits: u64 = group.trim_start_matches('x').parse().ok()?;
        number = number.checked_mul(INDEX_BASE)?.checked_add(digits)?;
    }
    // No tile starts behind the last entry that can be numbered.
    number.checked_mul(u64::from(TILE_WIDTH))?;
    (width > 0).then_some(TileId {
        kind,
        index: number,
        width,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]
    use super::*;

    fn hashes(level: u8, index: u64, width: u16) -> TileId {
        TileId {
            kind: TileKind::Hashes(level),
            index,
            width,
        }
    }

    #[test]
    fn a_path_names_one_tile_and_a_tile_has_one_path() {
        let entries = TileId {
            kind: TileKind::Entries,
            index: 999,
            width: 255,
        };
        for (path, tile) in [
            ("tile/0/000", hashes(0, 0, 256)),
            ("tile/0/x001/x234/067", hashes(0, 1_234_067, 256)),
            ("tile/63/x001/000.p/1", hashes(63, 1_000, 1)),
            ("tile/entries/999.p/255", entries),
        ] {
            assert_eq!(TileId::parse(path).as_ref(), Ok(&tile));
            assert_eq!(tile.to_string(), path);
        }
        for wrong in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/00/000",
            "tile/64/000",
            "tile/-1/000",
            "tile/+1/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/x000/001",
            "tile/0/001/002",
            "tile/0/x001",
            "tile/0/1234",
            "tile/0/xx001/002",
            "/tile/0/000",
            "tile/0/000/",
            "tile/0/000.p/1/",
            "tile/data/000",
            "tile/0/000?a",
            "tile/0/x018/x446/x744/x073/x709/x551/615",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert!(TileId::parse(wrong).is_err(), "{wrong}");
        }
    }

    /// The example of the specification.
    #[test]
    fn a_tree_of_70_000_has_the_tiles_that_the_specification_counts() {
        let size = TreeSize(70_000);
        let wide = |level, index| {
            let tile = TileId::at(TileKind::Hashes(level), index, size);
            assert!(tile.is_none_or(|tile| tile.is_within(size)));
            tile.map(|tile| tile.width)
        };
        assert_eq!(
            [272, 273, 274].map(|n| wide(0, n)),
            [Some(256), Some(112), None]
        );
        assert_eq!([0, 1, 2].map(|n| wide(1, n)), [Some(256), Some(17), None]);
        assert_eq!([0, 1].map(|n| wide(2, n)), [Some(1), None]);
        assert_eq!((wide(3, 0), wide(8, 0), wide(63, 0)), (None, None, None));
        assert!(!hashes(0, 273, 113).is_within(size) && hashes(0, 273, 7).is_within(size));
    }

    #[test]
    fn a_bundle_gives_back_its_entries_and_nothing_from_a_shorter_or_longer_one() {
        let longest = vec![b'x'; ENTRY_LEN_MAX];
        let lines: [&[u8]; 3] = [b"", b"{}", &longest];
        let mut bundle = Vec::new();
        for line in lines {
            push_to_bundle(&mut bundle, line);
        }
        assert_eq!(bundle.get(..6).unwrap(), b"\0\0\0\x02{}");
        assert_eq!(bundle_entries(&bundle, 3).unwrap(), lines);
        for (width, cut) in [(2, 0), (4, 0), (3, 1)] {
            let short = bundle.get(..bundle.len() - cut).unwrap();
            assert!(bundle_entries(short, width).is_err());
        }
    }
}
