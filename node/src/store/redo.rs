//! A repair that a crash has cut off is done again by the next start.
//!
//! Repairs are made in place, and a device that loses power in the middle of a block may leave all of
//! it unreadable: bytes beside the damaged ones too, which were whole until then. So before a repair
//! touches a file, it writes down what the blocks that it touches shall hold.
//!
//! ```text
//! repair   "CANDORRP" | u32 format = 1 | u32 length of the body | body | SHA3-256 of all before
//! body     varint length | file | varint offset | varint length | bytes
//! ```
//! Integers are little-endian, varints LEB128. One repair at a time, and no marker while it lasts
//! (`Shared::repairing`), so what is in those blocks and not written down was appended later, and no
//! marker counts it.
//!
//! A repair writes what is true of the ledger for good, so one done once more does no harm. Only the
//! bytes beside it could have been repaired since, and then that repair has taken the place of this.

use candor_ledger::digest::sha3_256;

use super::StoreError;
use super::codec::{Reader, Writer};
use crate::env::{Disk, DiskFile, MODE_PUBLIC, OpenMode};

const PATH: &str = "repair";
const MAGIC: [u8; 8] = *b"CANDORRP";
const FORMAT: u32 = 1;

/// What a file shall hold at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Redo {
    pub(super) file: String,
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
}

impl Redo {
    /// Writes it down, durably.
    pub(super) fn begin<D: Disk>(&self, disk: &D) -> std::io::Result<()> {
        let mut body = Writer::default();
        body.bytes(self.file.as_bytes());
        body.varint(self.offset);
        body.bytes(&self.bytes);
        let mut file = Writer::default();
        file.raw(&MAGIC);
        file.u32(FORMAT);
        file.u32_bytes(&body.0);
        let digest = sha3_256(&file.0);
        file.raw(&digest);
        disk.write_durable(PATH, &file.0, MODE_PUBLIC)
    }

    /// Writes to the file itself, durably.
    pub(super) fn write<D: Disk>(&self, disk: &D) -> std::io::Result<()> {
        let open = disk.open(&self.file, OpenMode::Create)?;
        open.write_all_at(&self.bytes, self.offset)?;
        open.sync_data()?;
        // Its name may be new, or that of a process that died before it was durable.
        match self.file.rsplit_once('/') {
            Some((dir, _)) => disk.sync_dir(dir),
            None => Ok(()),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (checked, digest) = bytes.split_last_chunk::<32>()?;
        if sha3_256(checked) != *digest {
            return None;
        }
        let mut file = Reader(checked);
        if file.array() != Some(MAGIC) || file.u32() != Some(FORMAT) {
            return None;
        }
        let mut body = Reader(file.u32_bytes().filter(|_| file.0.is_empty())?);
        let redo = Self {
            file: body.text()?,
            offset: body.varint()?,
            bytes: body.bytes()?.to_vec(),
        };
        body.0.is_empty().then_some(redo)
    }
}

/// The repair is durable. A crash may bring this back, and then it is done once more.
pub(super) fn end<D: Disk>(disk: &D) -> std::io::Result<()> {
    disk.remove_file(PATH)
}

/// Does a repair again that was cut off, and says which file it was.
///
/// Something that was not written whole by [`Redo::begin`] is damage of its own, and costs the
/// repair: what it was about is found again when it is read.
pub(super) fn again<D: Disk>(disk: &D) -> Result<Option<String>, StoreError> {
    let Some(bytes) = disk.read(PATH)? else {
        return Ok(None);
    };
    let redo = Redo::decode(&bytes);
    if let Some(redo) = &redo {
        redo.write(disk)?;
    } else {
        tracing::error!(file = PATH, "it is damaged; what it was about is as it was");
    }
    end(disk)?;
    Ok(redo.map(|redo| redo.file))
}
