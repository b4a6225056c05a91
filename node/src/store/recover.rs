//! Opening a ledger: find the marker, check what it promises, cut away the rest.
//!
//! Checks come before the cut and change nothing, so a damaged folder stays as it was found. The
//! cut is not made durable: until the next marker a start makes it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, RwLock};

use candor_ledger::digest::ChainHash;
use candor_ledger::ids::Seq;
use candor_ledger::tree::{Frontier, NodeHash, inclusion_path, leaf_hash, verify_inclusion};

use super::checkpoints::Checkpoints;
use super::dirty::Dirty;
use super::entries::{EntryFiles, EntryWriter};
use super::marker::{self, Marker, Slots};
use super::reader::path_error;
use super::redo;
use super::register::Register;
use super::tails;
use super::thinning::Thinner;
use super::tree::{self, RecentNodes, TreeFiles, TreeWriter};
use super::values::{PackLengths, PackWriter, Values};
use super::{Layout, Ledger, MarkerWriter, Opened, Published, Shared, StoreError, names};
use crate::env::{Disk, DiskFile, OpenMode};

/// See [`Ledger::open`].
pub(super) fn open<D: Disk>(disk: D, layout: Layout) -> Result<Opened<D>, StoreError> {
    make_folders(&disk)?;
    let slots = match marker::read(&disk)? {
        Some(slots) => slots,
        None => first_start(&disk)?,
    };
    let Slots {
        newest: marker,
        older_applied,
        lost,
    } = slots;
    // The tails last: they may be of blocks that lay beside the repair and have grown since.
    let mut restored: Vec<String> = redo::again(&disk)?.into_iter().collect();
    restored.extend(tails::put_back(&disk, &marker.tails)?);
    let (shared, values_damaged) = shared(&disk, layout, &marker)?;
    let checked = Check {
        shared: &shared,
        marker: &marker,
        layout,
    };
    let end = checked.entries()?;
    let frontier = checked.tree()?;
    checked.genesis()?;
    // An older marker may name checkpoints that a newer one, now unreadable, let go.
    if lost.is_none() {
        checked.checkpoints()?;
    }
    cut(&disk, layout, &marker, end)?;
    let shared = Arc::new(shared);
    let ledger = Ledger {
        entries: EntryWriter::new(disk.clone(), layout.entries_per_file, marker.size.0, end),
        tree: TreeWriter::new(disk, layout.entries_per_file, frontier),
        shared: Arc::clone(&shared),
        thinner: Thinner::default(),
        stopped: false,
    };
    Ok(Opened {
        ledger,
        markers: MarkerWriter::new(shared, marker.clone(), end, older_applied),
        marker,
        slot_lost: lost,
        restored,
        values_damaged,
    })
}

fn make_folders<D: Disk>(disk: &D) -> Result<(), StoreError> {
    for dir in [
        names::ENTRIES,
        names::TREE,
        names::CHECKPOINTS,
        names::VALUES,
    ] {
        disk.create_dir_all(dir)?;
    }
    disk.sync_dir("ledger")?;
    Ok(disk.sync_dir("")?)
}

/// Both slots are written before the first entry, so a ledger without any has lost them.
fn first_start<D: Disk>(disk: &D) -> Result<Slots, StoreError> {
    for dir in [
        names::ENTRIES,
        names::TREE,
        names::CHECKPOINTS,
        names::VALUES,
    ] {
        if !disk.list(dir)?.is_empty() {
            let why = format!("there is none, yet `{dir}` is not empty");
            return Err(StoreError::MarkerLost { why });
        }
    }
    marker::write(disk, &Marker::empty(1))?;
    marker::write(disk, &Marker::empty(2))?;
    Ok(Slots {
        newest: Marker::empty(2),
        older_applied: None,
        lost: None,
    })
}

fn shared<D: Disk>(
    disk: &D,
    layout: Layout,
    marker: &Marker,
) -> Result<(Shared<D>, Vec<StoreError>), StoreError> {
    let (values, values_damaged) = Values::scan(disk, &marker.packs)?;
    let published = Published {
        size: marker.size.0,
        head: marker.head,
        root: marker.root,
        recent: RecentNodes::default(),
    };
    let shared = Shared {
        published: RwLock::new(published),
        entries: EntryFiles::new(disk.clone(), layout.entries_per_file),
        tree: TreeFiles::new(disk.clone(), layout.entries_per_file),
        checkpoints: Checkpoints::new(marker.checkpoints.clone()),
        values,
        packs: Mutex::new(PackWriter::new(disk.clone(), layout.pack_bytes_max)),
        dirty: Dirty::default(),
        register: Register::new(&values_damaged),
        repairing: Mutex::default(),
        disk: disk.clone(),
    };
    Ok((shared, values_damaged))
}

/// The cheap checks of a start: what the marker names is there, is as long as it says, and ends
/// as it says.
struct Check<'a, D: Disk> {
    shared: &'a Shared<D>,
    marker: &'a Marker,
    layout: Layout,
}

impl<D: Disk> Check<'_, D> {
    /// All files of entries, and the last entry against the chain head. Returns where the last
    /// line of the last file ends.
    fn entries(&self) -> Result<u64, StoreError> {
        let (size, per_file) = (self.marker.size.0, self.layout.entries_per_file);
        let lengths = lengths(&self.shared.disk, names::ENTRIES)?;
        let mut end = 0;
        for first in (0..size).step_by(usize::try_from(per_file).unwrap_or(usize::MAX)) {
            let count = per_file.min(size - first);
            let last = first + count - 1;
            let whole = count == per_file;
            holds(&lengths, &names::offsets(first), first, count * 8, whole)?;
            end = self.shared.entries.span(last)?.end;
            if let Err(error) = holds(&lengths, &names::lines(first), last, end, whole) {
                // Unless it is the offset that is wrong.
                self.shared.unchecked_run(last, last + 1, 0)?;
                return Err(error);
            }
        }
        let Some(last) = self.marker.size.last() else {
            return Ok(0);
        };
        let entry = self.shared.unchecked_run(last.0, size, 0)?.concat();
        let head = ChainHash::of(&entry);
        if head != self.marker.head {
            let file = names::lines(self.shared.entries.first_of(last.0));
            let expected = format!("an entry with hash `{}`", self.marker.head);
            return Err(StoreError::damaged(
                file,
                last.0,
                expected,
                format!("`{head}`"),
            ));
        }
        Ok(if size.is_multiple_of(per_file) {
            0
        } else {
            end
        })
    }

    /// All levels, and the frontier against the root.
    fn tree(&self) -> Result<Frontier, StoreError> {
        let size = self.marker.size.0;
        let lengths = lengths(&self.shared.disk, names::TREE)?;
        for file in tree::files(size, self.layout.entries_per_file) {
            let seq = file.first << file.level;
            holds(&lengths, &file.name(), seq, file.bytes(), file.whole)?;
        }
        let mut nodes = Vec::new();
        let of_size = (0..tree::levels(size))
            .rev()
            .filter(|level| size >> level & 1 == 1);
        for level in of_size {
            let index = (size >> level) - 1;
            let stored = self.shared.tree.stored_one(level, index)?;
            if self.shared.recomputed(level, index)? != stored {
                return Err(self.shared.blame_node(level, index));
            }
            nodes.push(stored);
        }
        match Frontier::from_nodes(self.marker.size, nodes) {
            Ok(frontier) if frontier.root() == self.marker.root => Ok(frontier),
            other => Err(self.no_root(other.ok().map(|frontier| frontier.root()))),
        }
    }

    /// The first entry, up to the root: every checkpoint takes the log's name from it, and the way
    /// leads through whole files, of which the marker has no tail.
    fn genesis(&self) -> Result<(), StoreError> {
        let (first, size) = (Seq(0), self.marker.size);
        if !size.covers(first) {
            return Ok(());
        }
        let entry = self.shared.run(0, 1, 0)?.concat();
        let path = inclusion_path(self.shared, first, size).map_err(path_error)?;
        let under = verify_inclusion(&leaf_hash(&entry), first, size, &path, &self.marker.root);
        under.map_err(|_| self.no_root(None))
    }

    /// Every node looked at agrees with its children, yet together they are another tree.
    fn no_root(&self, found: Option<NodeHash>) -> StoreError {
        let last = self.marker.size.0.saturating_sub(1);
        let expected = format!("nodes with root `{}`", self.marker.root);
        let found = found.map_or("another tree".to_owned(), |root| format!("`{root}`"));
        StoreError::damaged(names::TREE, last, expected, found)
    }

    /// Every kept checkpoint has a file; its content is checked when it is read.
    fn checkpoints(&self) -> Result<(), StoreError> {
        let lengths = lengths(&self.shared.disk, names::CHECKPOINTS)?;
        for size in self.marker.checkpoints.by_size.keys() {
            holds(&lengths, &names::checkpoint(*size), *size, 1, false)?;
        }
        Ok(())
    }
}

/// Lengths of the files of a directory, by path.
fn lengths<D: Disk>(disk: &D, dir: &str) -> Result<BTreeMap<String, u64>, StoreError> {
    let found = disk.list(dir)?.into_iter();
    Ok(found
        .map(|entry| (format!("{dir}/{}", entry.name), entry.len))
        .collect())
}

/// Whether a file has its bytes; a whole one, that nothing is appended to, has no more.
fn holds(
    lengths: &BTreeMap<String, u64>,
    file: &str,
    seq: u64,
    bytes: u64,
    whole: bool,
) -> Result<(), StoreError> {
    let found = match lengths.get(file) {
        Some(len) if *len == bytes || (*len > bytes && !whole) => return Ok(()),
        Some(len) => format!("`{len}`"),
        None => "no such file".to_owned(),
    };
    let expected = format!("`{bytes}` bytes");
    Err(StoreError::damaged(file, seq, expected, found))
}

/// Removes every file under `ledger/` and `values/` that the marker does not name, and shortens
/// the others to what it counts.
fn cut<D: Disk>(disk: &D, layout: Layout, marker: &Marker, end: u64) -> Result<(), StoreError> {
    let (size, per_file) = (marker.size.0, layout.entries_per_file);
    let mut entries = BTreeMap::new();
    for first in (0..size).step_by(usize::try_from(per_file).unwrap_or(usize::MAX)) {
        let whole = size - first >= per_file;
        let (lines, offsets) = if whole {
            (None, per_file)
        } else {
            (Some(end), size - first)
        };
        entries.insert(names::lines(first), lines);
        entries.insert(names::offsets(first), Some(offsets * 8));
    }
    cut_dir(disk, names::ENTRIES, &entries)?;
    let nodes = tree::files(size, per_file).map(|file| (file.name(), Some(file.bytes())));
    cut_dir(disk, names::TREE, &nodes.collect())?;
    let checkpoints = marker.checkpoints.by_size.keys();
    let kept = checkpoints.map(|size| (names::checkpoint(*size), None));
    cut_dir(disk, names::CHECKPOINTS, &kept.collect())?;
    cut_values(disk, &marker.packs)
}

fn cut_values<D: Disk>(disk: &D, tenants: &PackLengths) -> Result<(), StoreError> {
    let dirs: BTreeSet<String> = tenants.keys().map(|name| names::tenant_dir(name)).collect();
    for found in disk.list(names::VALUES)? {
        let path = format!("{}/{}", names::VALUES, found.name);
        if !dirs.contains(&path) {
            remove(disk, &path, found.is_dir)?;
        }
    }
    for (tenant, packs) in tenants {
        let dir = names::tenant_dir(tenant);
        if disk.stat(&dir)?.is_none() {
            continue;
        }
        let packs = packs.iter();
        let packs = packs.map(|(number, len)| (names::pack(tenant, *number), Some(*len)));
        cut_dir(disk, &dir, &packs.collect())?;
    }
    Ok(())
}

/// Keeps the files named, each at most as long as given.
fn cut_dir<D: Disk>(
    disk: &D,
    dir: &str,
    keep: &BTreeMap<String, Option<u64>>,
) -> Result<(), StoreError> {
    for found in disk.list(dir)? {
        let path = format!("{dir}/{}", found.name);
        match keep.get(&path) {
            None => remove(disk, &path, found.is_dir)?,
            Some(Some(len)) if found.len > *len => {
                disk.open(&path, OpenMode::ReadWrite)?.set_len(*len)?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn remove<D: Disk>(disk: &D, path: &str, is_dir: bool) -> Result<(), StoreError> {
    if is_dir {
        return Ok(disk.remove_dir_all(path)?);
    }
    Ok(disk.remove_file(path)?)
}
