//! Sources that lie: files of three nodes that are changed so that the node itself takes them for what it
//! wrote, or finds it out only when somebody asks.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use candor_ledger::tree::leaf_hash;

/// Entries of one file, nodes of one file of a level.
pub(super) const FILE: u64 = 65_536;
/// A half of a file's tree: with these levels exchanged the file agrees with its hashes wherever a
/// proof of its first half looks.
const LEVELS: u32 = 15;
/// The changed entry, counted from the start of its file.
const PLACE: u64 = 65_000;
const HASH: u64 = 32;

/// The nodes that lie, in the order in which they are asked.
pub const LIARS: [u64; 3] = [1, 2, 3];

/// What a node that fetched from all of them must have logged.
pub(super) const NAMED: [&str; 3] = [
    "a peer sent entries that are not those that were sealed node=1",
    "a source's files are damaged node=2",
    "a peer sent entries that are not those that were sealed node=3",
];

/// Lies that were told, and how to take them back.
#[derive(Debug)]
pub(super) struct Lies {
    /// Where, for people.
    pub(super) told: [String; 3],
    patches: Vec<Patch>,
}

impl Lies {
    /// Changes files of three nodes, all above what a ledger of `from` entries holds:
    /// a byte of one entry, with its leaf; a file that ends early; the entries of an older file in the
    /// place of a newer one, with their offsets and hashes.
    ///
    /// # Errors
    /// When the ledgers of `size` entries are too short for it; the disk's word.
    pub(super) fn plant(
        folder: impl Fn(u64) -> PathBuf,
        from: u64,
        size: u64,
    ) -> anyhow::Result<Self> {
        let first = from / FILE + u64::from(from % FILE >= PLACE);
        let whole = size / FILE;
        let apart = whole.saturating_sub(first + 1).div_euclid(10).max(1);
        let [byte, short, stale] = [first, first + apart, first + 2 * apart].map(|at| at * FILE);
        ensure!(stale / FILE < whole, "{size} entries have too few files");
        let folders = LIARS.map(folder);
        let [one, two, three] = &folders;
        let mut patches = Vec::new();
        change_entry(one, byte, &mut patches)?;
        shorten(two, short, &mut patches)?;
        put_older(three, stale, &mut patches)?;
        let told = [
            format!("node 1: a changed byte in entry {}", byte + PLACE),
            format!("node 2: the file of entries from {short} on cut to a half"),
            format!("node 3: {FILE} older entries in the place of those from {stale} on"),
        ];
        Ok(Self { told, patches })
    }

    /// Puts everything back.
    ///
    /// # Errors
    /// The disk's word.
    pub(super) fn undo(self) -> anyhow::Result<()> {
        for patch in self.patches.into_iter().rev() {
            patch.undo()?;
        }
        Ok(())
    }
}

/// Bytes that were put into a file, in place, so that open handles see them.
#[derive(Debug)]
struct Patch {
    path: PathBuf,
    at: u64,
    /// To the end of the file, if `ends`.
    before: Vec<u8>,
    ends: bool,
}

impl Patch {
    /// Writes `bytes` at a place; with `ends` the file ends behind them.
    fn make(path: &Path, at: u64, bytes: &[u8], ends: bool) -> anyhow::Result<Self> {
        let file = open(path)?;
        let until = if ends {
            file.metadata()?.len()
        } else {
            at + u64::try_from(bytes.len())?
        };
        let mut before = vec![0; usize::try_from(until - at)?];
        file.read_exact_at(&mut before, at)?;
        file.write_all_at(bytes, at)?;
        if ends {
            file.set_len(at + u64::try_from(bytes.len())?)?;
        }
        let path = path.to_owned();
        Ok(Self {
            path,
            at,
            before,
            ends,
        })
    }

    fn undo(&self) -> anyhow::Result<()> {
        let file = open(&self.path)?;
        file.write_all_at(&self.before, self.at)?;
        if self.ends {
            file.set_len(self.at + u64::try_from(self.before.len())?)?;
        }
        Ok(())
    }
}

fn change_entry(folder: &Path, first: u64, patches: &mut Vec<Patch>) -> anyhow::Result<()> {
    let offsets = fs::read(offsets(folder, first))?;
    let end_of = |place: u64| -> anyhow::Result<u64> {
        let at = usize::try_from(place * 8)?;
        let bytes = offsets.get(at..).and_then(<[u8]>::first_chunk);
        Ok(u64::from_le_bytes(*bytes.context("an offset")?))
    };
    let (start, end) = (end_of(PLACE - 1)?, end_of(PLACE)? - 1);
    let lines = lines(folder, first);
    let mut entry = vec![0; usize::try_from(end - start)?];
    open(&lines)?.read_exact_at(&mut entry, start)?;
    let byte = entry.get_mut(40).context("an entry has 41 bytes")?;
    *byte ^= 1;
    let leaf = leaf_hash(&entry).0;
    patches.push(Patch::make(&lines, start, &entry, false)?);
    patches.push(Patch::make(
        &nodes(folder, 0, first),
        PLACE * HASH,
        &leaf,
        false,
    )?);
    Ok(())
}

fn shorten(folder: &Path, first: u64, patches: &mut Vec<Patch>) -> anyhow::Result<()> {
    let lines = lines(folder, first);
    let half = fs::metadata(&lines)?.len() / 2;
    patches.push(Patch::make(&lines, half, &[], true)?);
    Ok(())
}

fn put_older(folder: &Path, first: u64, patches: &mut Vec<Patch>) -> anyhow::Result<()> {
    let older = first.checked_sub(FILE).context("no file is older")?;
    for (from, to) in [
        (lines(folder, older), lines(folder, first)),
        (offsets(folder, older), offsets(folder, first)),
    ] {
        patches.push(Patch::make(&to, 0, &fs::read(from)?, true)?);
    }
    for level in 0..LEVELS {
        let bytes = (FILE >> level) * HASH;
        let mut found = vec![0; usize::try_from(bytes)?];
        let (file, at) = node_at(folder, level, older);
        open(&file)?.read_exact_at(&mut found, at)?;
        let (file, at) = node_at(folder, level, first);
        patches.push(Patch::make(&file, at, &found, false)?);
    }
    Ok(())
}

/// The file and place of the node of a level that begins with an entry.
fn node_at(folder: &Path, level: u32, seq: u64) -> (PathBuf, u64) {
    let index = seq >> level;
    let file = nodes(folder, level, index - index % FILE);
    (file, index % FILE * HASH)
}

fn lines(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("ledger/entries/{first:012}.jsonl"))
}

fn offsets(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("ledger/entries/{first:012}.offsets"))
}

fn nodes(folder: &Path, level: u32, first: u64) -> PathBuf {
    folder.join(format!("ledger/tree/{level:02}-{first:012}"))
}

fn open(path: &Path) -> anyhow::Result<File> {
    let file = File::options().read(true).write(true).open(path);
    file.with_context(|| format!("cannot open `{}`", path.display()))
}
