//! Entries, offsets and tree: one walk, and a peer's word only where it joins.

use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::tree::{NodeHash, verify_consistency};

use super::{ASK, Pass, Verifier};
use crate::env::Env;
use crate::peers::{PAGE_BYTES, Source};
use crate::store::{StoreError, Walk};

impl<E: Env> Verifier<E> {
    /// Walks from the first entry to the size of the pass.
    ///
    /// While nothing differs the walk trusts these files, and the root at its end says whether it
    /// was right to. From the first difference on a stretch counts only if it leads to that root.
    pub(super) async fn verify_ledger(&self, pass: &mut Pass) -> Result<(), StoreError> {
        let reader = &self.cluster.reader;
        let mut walk = Walk::default();
        while walk.size() < pass.size {
            let until = reader.file_end(walk.size()).min(pass.size);
            let own = reader.unchecked(walk.size(), until, PAGE_BYTES)?;
            if let Some(entries) = &own {
                let stretch = reader.stretch(&walk, entries);
                pass.read(entries.iter().map(Vec::len).sum()).await;
                if reader.agrees(&stretch)? {
                    walk = stretch.to;
                    continue;
                }
            }
            let Some(next) = self.heal_ledger(pass, &walk, until).await? else {
                // Without the entries here nothing can be said of those behind.
                pass.left += 1;
                reader.note_differing(&walk, own.as_deref(), until);
                return Ok(());
            };
            walk = next;
        }
        if walk.root() != pass.root {
            // Every stretch agreed with itself, and together they are not what was signed.
            pass.left += 1;
            let (size, found) = (pass.size, walk.root());
            tracing::error!(%size, signed = %pass.root, %found, "the ledger is not the signed one");
        }
        Ok(())
    }

    /// Writes the next stretch back as a peer has it; `None` when no peer could show one that joins.
    async fn heal_ledger(
        &self,
        pass: &mut Pass,
        walk: &Walk,
        until: TreeSize,
    ) -> Result<Option<Walk>, StoreError> {
        if !self.config.heal {
            return Ok(None);
        }
        let reader = &self.cluster.reader;
        for node in self.sources() {
            let from = Source {
                node,
                address: None,
            };
            let range = Seq(walk.size().0)..Seq(until.0);
            let page = match self
                .cluster
                .peers
                .entries(from, range, pass.size, ASK)
                .await
            {
                Ok(page) => page,
                Err(status) => {
                    tracing::warn!(node, message = status.message(), "a peer sent no entries");
                    continue;
                }
            };
            let entries: Vec<Vec<u8>> = page.entries.iter().map(|entry| entry.to_vec()).collect();
            let stretch = reader.stretch(walk, &entries);
            if !joins(pass, &stretch.to, until, &page.path) || stretch.to.size() == walk.size() {
                tracing::error!(node, from = %walk.size(), "a peer sent entries that do not join");
                continue;
            }
            for repaired in reader.repair(&stretch)? {
                pass.found.extend(reader.note_repaired(walk, &repaired));
                let (file, offset) = (&repaired.file, repaired.offset);
                tracing::warn!(file, offset, node, "written anew as a peer has it");
                pass.repaired += 1;
                self.metrics.verifier_repairs.inc();
            }
            return Ok(Some(stretch.to));
        }
        Ok(None)
    }
}

/// Whether the tree behind a stretch grows into the signed one.
fn joins(pass: &Pass, to: &Walk, until: TreeSize, path: &[NodeHash]) -> bool {
    to.size() <= until
        && verify_consistency(to.size(), &to.root(), pass.size, &pass.root, path).is_ok()
}
