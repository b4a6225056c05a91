//! The one ledger: whatever a serving node holds at a place is what every node holds there, at every moment.

use std::collections::BTreeMap;
use std::path::Path;

use candor_jepsen::recorded::lines_of;
use candor_ledger::digest::sha3_256;
use candor_node::env::sim::SimDisk;
use candor_node::env::{Disk as _, DiskFile as _, OpenMode};

/// Where nodes keep entries.
const FOLDER: &str = "ledger/entries";

/// All entries that any node has shown, and how far each was looked at.
#[derive(Default)]
pub(crate) struct Canon {
    entries: Vec<[u8; 32]>,
    seen: BTreeMap<u64, Place>,
}

/// How far a node's files were looked at.
#[derive(Clone, Debug, Default)]
struct Place {
    file: String,
    offset: u64,
    seq: usize,
}

impl Canon {
    /// Entries that any node has shown.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A node's files may be cut, by its end or its start.
    pub(crate) fn forget(&mut self, node: u64) {
        self.seen.remove(&node);
    }

    /// Looks at what a serving node has written since.
    ///
    /// # Errors
    /// When it holds another entry than one that was seen at the same place.
    pub(crate) fn look(&mut self, node: u64, disk: &SimDisk) -> anyhow::Result<()> {
        let mut place = self.seen.remove(&node).unwrap_or_default();
        for name in files(disk)? {
            if name < place.file {
                continue;
            }
            if name != place.file {
                place.file.clone_from(&name);
                place.offset = 0;
            }
            let file = disk.open(&name, OpenMode::Read)?;
            let len = file.len()?;
            if len < place.offset {
                // Cut by an installation: looked at anew the next time.
                return Ok(());
            }
            let mut bytes = vec![0; usize::try_from(len - place.offset)?];
            file.read_exact_at(&mut bytes, place.offset)?;
            for line in lines_of(&bytes) {
                let digest = sha3_256(line);
                match self.entries.get(place.seq) {
                    None => self.entries.push(digest),
                    Some(known) => anyhow::ensure!(
                        *known == digest,
                        "a fork: node {node} holds another entry {}: {}",
                        place.seq,
                        String::from_utf8_lossy(line),
                    ),
                }
                place.seq += 1;
                place.offset += u64::try_from(line.len() + 1)?;
            }
        }
        self.seen.insert(node, place);
        Ok(())
    }
}

/// The files of entries on a node's disk, in their order.
pub(crate) fn files(disk: &SimDisk) -> std::io::Result<Vec<String>> {
    if disk.stat(FOLDER)?.is_none() {
        return Ok(Vec::new());
    }
    let files = disk.list(FOLDER)?.into_iter().map(|file| file.name);
    let entries = files.filter(|name| Path::new(name).extension().is_some_and(|it| it == "jsonl"));
    Ok(entries.map(|name| format!("{FOLDER}/{name}")).collect())
}
