//! What a simulated disk knows between two calls.

use std::collections::BTreeSet;
use std::io;

use super::history::History;
use super::image::{Image, Inode, Op};
use crate::env::SyncCounts;

#[derive(Clone, Debug)]
pub(super) struct State {
    /// What a running process sees.
    pub(super) live: Image,
    /// What surely survives a crash.
    pub(super) durable: Image,
    /// What may survive one, in order.
    pub(super) pending: Vec<Op>,
    /// Everything since the recording began, and the two images it began with.
    pub(super) history: Option<History>,
    pub(super) faults: Faults,
    /// Files and locks of an earlier incarnation are dead.
    pub(super) incarnation: u64,
    pub(super) inode_next: Inode,
    pub(super) locks: BTreeSet<String>,
    pub(super) syncs: SyncCounts,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// This many syncs succeed, then one fails.
    pub(super) sync_fails_after: Option<u64>,
    pub(super) syncs_held: bool,
    /// Growth in bytes until the disk is full.
    pub(super) space_left: Option<usize>,
    pub(super) unreadable: BTreeSet<(Inode, usize)>,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A sync failed, and what it should have written is forgotten.
    Forgot(Inode),
    Op(Op),
    SyncedDir(Inode),
    SyncedFile(Inode),
}

impl State {
    pub(super) fn inode(&mut self) -> Inode {
        let inode = self.inode_next;
        self.inode_next += 1;
        inode
    }

    pub(super) fn make_file(&mut self, path: &str, mode: u32) -> io::Result<Inode> {
        let (dir, name) = self.live.place(path)?;
        let inode = self.inode();
        self.does(Op::MakeFile {
            dir,
            name,
            inode,
            mode,
        });
        Ok(inode)
    }

    pub(super) fn does(&mut self, op: Op) {
        self.live.apply(&op);
        self.note(Step::Op(op.clone()));
        self.pending.push(op);
    }

    pub(super) fn note(&mut self, step: Step) {
        if let Some(history) = &mut self.history {
            history.steps.push(step);
        }
    }

    /// Makes the chosen operations durable, or fails; `lost` says that they are then forgotten.
    pub(super) fn sync(
        &mut self,
        done: Step,
        lost: Option<Step>,
        chosen: impl Fn(&Op) -> bool,
    ) -> io::Result<()> {
        match &mut self.faults.sync_fails_after {
            Some(0) => {
                self.faults.sync_fails_after = None;
                if let Some(lost) = lost {
                    self.forget(chosen);
                    self.note(lost);
                }
                return Err(io::Error::other("simulated sync error"));
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.settle(chosen);
        self.note(done);
        Ok(())
    }

    pub(super) fn settle(&mut self, chosen: impl Fn(&Op) -> bool) {
        let (settled, pending) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(chosen);
        self.pending = pending;
        let settled: Vec<Op> = settled;
        for op in &settled {
            self.durable.apply(op);
        }
    }

    pub(super) fn forget(&mut self, chosen: impl Fn(&Op) -> bool) {
        self.pending.retain(|op| !chosen(op));
    }

    /// How many of the bytes fit; takes their growth from what is left.
    pub(super) fn take_space(&mut self, offset: usize, len: usize, held: usize) -> usize {
        let Some(left) = &mut self.faults.space_left else {
            return len;
        };
        let fits = (held.max(offset) + *left).saturating_sub(offset).min(len);
        *left -= (offset + fits).saturating_sub(held.max(offset));
        fits
    }
}
