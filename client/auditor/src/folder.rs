//! A node's `ledger` folder, read front to back: entries line by line, and beside them what was
//! derived from them (offsets, tree) to be compared.
//!
//! ```text
//! entries/000000065536.jsonl     entries, one a line, from that sequence number on
//! entries/000000065536.offsets   where each of their lines ends, LF included: u64 little-endian
//! tree/00-000000065536           leaf hashes, 32 bytes each, from that index on; level 01 are their
//!                                parents ...
//! checkpoints/0000000000065542   the note of that size
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use candor_ledger::entry::ENTRY_LEN_MAX;
use candor_ledger::shown::shown;

use crate::read::CouldNotRead;

/// A ledger folder and the names in it.
pub(crate) struct Folder {
    root: PathBuf,
    /// First sequence number of each file of entries, ascending.
    pub(crate) entry_files: Vec<u64>,
    /// Level and first index of each file of the tree.
    pub(crate) tree_files: BTreeSet<(u8, u64)>,
    /// Size of each kept checkpoint, ascending.
    pub(crate) checkpoints: Vec<u64>,
    /// Files that are no part of a ledger; nobody looks into them.
    pub(crate) strangers: Vec<String>,
}

impl Folder {
    /// Opens `dir`, or the `ledger` folder in it.
    ///
    /// # Errors
    /// When neither has a folder of entries, or it cannot be listed.
    pub(crate) fn open(dir: &Path) -> Result<Self, CouldNotRead> {
        let nested = dir.join("ledger");
        let found = [dir.to_path_buf(), nested]
            .into_iter()
            .find(|root| root.join("entries").is_dir());
        let Some(root) = found else {
            let problem = "neither it nor `ledger` in it has a folder `entries`";
            return Err(CouldNotRead::new(dir, problem));
        };
        let mut folder = Self {
            root,
            entry_files: Vec::new(),
            tree_files: BTreeSet::new(),
            checkpoints: Vec::new(),
            strangers: Vec::new(),
        };
        for name in folder.names("entries")? {
            let (stem, kind) = name.split_once('.').unwrap_or((&name, ""));
            match (number(stem, 12), kind) {
                (Some(first), "jsonl") => folder.entry_files.push(first),
                (Some(_), "offsets") => (),
                _ => folder.strangers.push(format!("entries/{}", shown(&name))),
            }
        }
        // Without this folder, each of its files is missed by name.
        for name in folder.names("tree").unwrap_or_default() {
            let parts = name.split_once('-');
            let parts = parts.map(|(level, first)| {
                let level = number(level, 2).and_then(|level| u8::try_from(level).ok());
                (level, number(first, 12))
            });
            match parts {
                Some((Some(level), Some(first))) => {
                    folder.tree_files.insert((level, first));
                }
                _ => folder.strangers.push(format!("tree/{}", shown(&name))),
            }
        }
        if folder.root.join("checkpoints").is_dir() {
            for name in folder.names("checkpoints")? {
                match number(&name, 16) {
                    Some(size) => folder.checkpoints.push(size),
                    None => folder
                        .strangers
                        .push(format!("checkpoints/{}", shown(&name))),
                }
            }
        }
        folder.entry_files.sort_unstable();
        folder.checkpoints.sort_unstable();
        Ok(folder)
    }

    /// Bytes of all entries, for the progress bar.
    pub(crate) fn entry_bytes(&self) -> u64 {
        let len = |first: &u64| fs::metadata(self.path(&entry_file(*first))).map_or(0, |m| m.len());
        self.entry_files.iter().map(len).sum()
    }

    pub(crate) fn has_checkpoints(&self) -> bool {
        self.root.join("checkpoints").is_dir()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn names(&self, folder: &str) -> Result<Vec<String>, CouldNotRead> {
        let path = self.path(folder);
        let failed = |error: io::Error| CouldNotRead::new(&path, error);
        let entries = fs::read_dir(&path).map_err(failed)?;
        let name = |entry: io::Result<fs::DirEntry>| {
            Ok(entry
                .map_err(failed)?
                .file_name()
                .to_string_lossy()
                .into_owned())
        };
        entries.map(name).collect()
    }
}

pub(crate) fn entry_file(first: u64) -> String {
    format!("entries/{first:012}.jsonl")
}

pub(crate) fn offsets_file(first: u64) -> String {
    format!("entries/{first:012}.offsets")
}

pub(crate) fn checkpoint_file(size: u64) -> String {
    format!("checkpoints/{size:016}")
}

pub(crate) fn tree_file(level: u8, first: u64) -> String {
    format!("tree/{level:02}-{first:012}")
}

fn number(name: &str, digits: usize) -> Option<u64> {
    let number = name.parse().ok()?;
    (format!("{number:0digits$}") == name).then_some(number)
}

/// What the next line of a file of entries is.
pub(crate) enum Line {
    /// Nothing more.
    End,
    /// An entry, without its LF.
    Entry,
    /// Longer than any entry.
    TooLong,
    /// The file ends before the LF.
    Torn,
}

/// Lines of a file of entries; memory is that of one line.
pub(crate) struct Lines {
    file: BufReader<File>,
    /// Where the line that was read last ends, LF included.
    pub(crate) end: u64,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = BufReader::with_capacity(1 << 16, File::open(path)?);
        Ok(Self { file, end: 0 })
    }

    /// Reads the next line into `line`.
    pub(crate) fn read(&mut self, line: &mut Vec<u8>) -> io::Result<Line> {
        line.clear();
        let limit = u64::try_from(ENTRY_LEN_MAX).expect("invariant: 65,535") + 1;
        let len = self.file.by_ref().take(limit).read_until(b'\n', line)?;
        self.end += u64::try_from(len).expect("invariant: a line is short");
        Ok(match line.pop() {
            None => Line::End,
            Some(b'\n') => Line::Entry,
            Some(last) => {
                line.push(last);
                if line.len() > ENTRY_LEN_MAX {
                    Line::TooLong
                } else {
                    Line::Torn
                }
            }
        })
    }
}

/// A file that was derived from the entries, compared piece by piece with what they give again.
pub(crate) struct Derived {
    pub(crate) name: String,
    file: Option<BufReader<File>>,
    pieces: u64,
    differs: bool,
}

/// How a derived file differs from what the entries give.
pub(crate) enum Difference {
    /// Another piece stands there.
    Other {
        /// Which piece, from 0.
        index: u64,
    },
    /// The file ends before this piece.
    Short {
        /// Which piece, from 0.
        index: u64,
    },
    /// The file cannot be opened or read.
    Unreadable(io::Error),
    /// Pieces follow that no entry gives.
    Long {
        /// How many belong there.
        pieces: u64,
    },
}

impl Derived {
    pub(crate) fn open(folder: &Folder, name: String) -> (Self, Option<Difference>) {
        let opened = File::open(folder.path(&name));
        let (file, problem) = match opened {
            Ok(file) => (Some(BufReader::new(file)), None),
            Err(error) => (None, Some(Difference::Unreadable(error))),
        };
        let derived = Self {
            name,
            file,
            pieces: 0,
            differs: problem.is_some(),
        };
        (derived, problem)
    }

    /// Compares the next piece; after the first difference there are no more.
    pub(crate) fn expect<const LEN: usize>(&mut self, piece: [u8; LEN]) -> Option<Difference> {
        let index = self.pieces;
        self.pieces += 1;
        let file = self.file.as_mut().filter(|_| !self.differs)?;
        let mut found = [0; LEN];
        let difference = match file.read_exact(&mut found) {
            Ok(()) if found == piece => None,
            Ok(()) => Some(Difference::Other { index }),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Some(Difference::Short { index })
            }
            Err(error) => Some(Difference::Unreadable(error)),
        };
        self.differs = difference.is_some();
        difference
    }

    /// Whether the file ends here.
    pub(crate) fn end(mut self) -> Option<(String, Difference)> {
        let file = self.file.as_mut().filter(|_| !self.differs)?;
        let difference = match file.fill_buf() {
            Ok([]) => return None,
            Ok(_) => Difference::Long {
                pieces: self.pieces,
            },
            Err(error) => Difference::Unreadable(error),
        };
        Some((self.name, difference))
    }
}
