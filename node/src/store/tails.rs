//! The last blocks of growing files, kept a second time in the marker.
//!
//! Entries, offsets and nodes follow each other without padding, so bytes that are durable share
//! their last block with bytes written later. A device that loses power in the middle of a block
//! may leave all of it unreadable, the durable part too. The marker therefore carries that part of
//! each such file, and a start puts it back. About 25 files and 2 KiB each: 50 KB a marker.

use candor_ledger::ids::TreeSize;

use super::{Shared, StoreError, bytes_of, names, tree};
use crate::env::{Disk, DiskFile, OpenMode};

/// The largest block that a device writes in one piece.
pub(super) const BLOCK_BYTES: u64 = 4_096;

/// Durable bytes that share a block with what follows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) file: String,
    /// Where they start: a multiple of the block.
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

/// The tails of a ledger of this size, which may have grown since; the lines of its last file took `lines_end`
/// bytes then.
///
/// # Errors
/// What is damaged is in the register then.
pub(super) fn of<D: Disk>(
    shared: &Shared<D>,
    size: u64,
    lines_end: u64,
) -> Result<Vec<Tail>, StoreError> {
    let read = read(shared, size, lines_end);
    read.inspect_err(|error| shared.register.note(error))
}

fn read<D: Disk>(shared: &Shared<D>, size: u64, lines_end: u64) -> Result<Vec<Tail>, StoreError> {
    let mut lengths = Vec::new();
    for file in tree::files(size, shared.tree.per_file()) {
        // Nothing is written behind a whole file.
        if !file.whole {
            lengths.push((file.name(), file.bytes()));
        }
    }
    let first = shared.entries.first_of(size);
    if let Some(last) = TreeSize(size).last()
        && last.0 >= first
    {
        lengths.push((names::offsets(first), (size - first) * 8));
        lengths.push((names::lines(first), lines_end));
    }
    let mut tails = Vec::new();
    for (file, len) in lengths {
        let rest = len % BLOCK_BYTES;
        if rest > 0 {
            let offset = len - rest;
            let mut bytes = vec![0; usize::try_from(rest).expect("invariant: below a block")];
            let open = shared.disk.open(&file, OpenMode::Read)?;
            let found = open.read_at(&mut bytes, offset)?;
            if found < bytes.len() {
                let found = format!(
                    "only `{}`",
                    offset + bytes_of(bytes.get(..found).unwrap_or(&[]))
                );
                let expected = format!("`{len}` bytes");
                return Err(StoreError::damaged(file, size - 1, expected, found));
            }
            tails.push(Tail {
                file,
                offset,
                bytes,
            });
        }
    }
    Ok(tails)
}

/// Puts tails back where the disk has something else, durably, and returns the files concerned.
///
/// A file that is too short is left to the checks: no later write makes a file shorter.
pub(super) fn put_back<D: Disk>(disk: &D, tails: &[Tail]) -> Result<Vec<String>, StoreError> {
    let mut restored = Vec::new();
    for Tail {
        file,
        offset,
        bytes,
    } in tails
    {
        let stat = disk.stat(file)?;
        if stat.is_none_or(|stat| stat.len < offset + bytes_of(bytes)) {
            continue;
        }
        let open = disk.open(file, OpenMode::ReadWrite)?;
        let mut found = vec![0; bytes.len()];
        // A block that cannot be read may be written again.
        let same = open.read_exact_at(&mut found, *offset).is_ok() && found == *bytes;
        if !same {
            open.write_all_at(bytes, *offset)?;
            open.sync_data()?;
            restored.push(file.clone());
        }
    }
    Ok(restored)
}
