//! Every step of a simulated disk, to crash it at each.

use super::disk::SimDisk;
use super::image::{Image, Op, ROOT};
use super::state::Step;

/// All that was done to a disk since [`SimDisk::record`]: the disk as of every step can be had back.
#[derive(Clone, Debug)]
pub struct History {
    pub(super) durable: Image,
    pub(super) live: Image,
    pub(super) pending: Vec<Op>,
    pub(super) steps: Vec<Step>,
}

impl History {
    /// How many steps there were.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether nothing was done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The disk as it was after the first so many steps, unsynced operations included.
    pub fn disk_after(&self, steps: usize) -> SimDisk {
        let disk = SimDisk::with(
            self.durable.clone(),
            self.live.clone(),
            self.pending.clone(),
        );
        let mut state = disk.state();
        for step in self.steps.iter().take(steps) {
            match step {
                Step::Forgot(inode) => state.forget(|op| op.touches(*inode)),
                Step::Op(op) => state.does(op.clone()),
                Step::SyncedDir(dir) => state.settle(|op| op.touches_dir(*dir)),
                Step::SyncedFile(file) => state.settle(|op| op.touches_file(*file)),
            }
        }
        let used = state
            .live
            .files
            .keys()
            .chain(state.live.dirs.keys())
            .max()
            .copied();
        state.inode_next = used.unwrap_or(ROOT) + 1;
        drop(state);
        disk
    }
}
