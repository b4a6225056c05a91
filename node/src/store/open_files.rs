//! Files held open for readers, few at a time: a ledger has many more than a process may open.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::locked;

/// Open files by where they stand; the one used longest ago gives way.
pub(super) struct OpenFiles<K, F> {
    most: usize,
    open: Mutex<Open<K, F>>,
}

struct Open<K, F> {
    /// Each with the tick of its last use.
    files: BTreeMap<K, (u64, Arc<F>)>,
    tick: u64,
}

impl<K: Ord + Copy, F> OpenFiles<K, F> {
    /// At most `most` are held; readers that still use others keep those open.
    pub(super) fn new(most: usize) -> Self {
        let open = Mutex::new(Open {
            files: BTreeMap::new(),
            tick: 0,
        });
        Self { most, open }
    }

    /// The file at `key`, opened by `open` when it is not held.
    pub(super) fn file(&self, key: K, open: impl FnOnce() -> io::Result<F>) -> io::Result<Arc<F>> {
        if let Some(file) = locked(&self.open).used(key) {
            return Ok(file);
        }
        // Opened outside the lock: two readers may both do it, and one handle is dropped.
        let file = Arc::new(open()?);
        locked(&self.open).keep(self.most, key, &file);
        Ok(file)
    }
}

impl<K: Ord + Copy, F> Open<K, F> {
    fn used(&mut self, key: K) -> Option<Arc<F>> {
        self.tick += 1;
        let (used, file) = self.files.get_mut(&key)?;
        *used = self.tick;
        Some(Arc::clone(file))
    }

    fn keep(&mut self, most: usize, key: K, file: &Arc<F>) {
        if self.files.len() >= most {
            let oldest = self.files.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.files.remove(&oldest);
            }
        }
        self.files.insert(key, (self.tick, Arc::clone(file)));
    }
}
