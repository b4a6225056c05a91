//! Entries, offsets and tree: one walk, and a peer's word only where it joins.

use candor_ledger::ids::{Seq, TreeSize};
use candor_ledger::tree::{NodeHash, verify_consistency};

use super::{Pass, Verifier};
use crate::env::Env;
use crate::peers::{ASK_MAX, PAGE_BYTES, Source};
use crate::store::{Repaired, StoreError, Walk};

/// Names damage of which the file is not known.
const LEDGER: &str = "ledger";

/// Whose entries a walk goes by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// These files', until they differ from what they should be.
    Own,
    /// Peers', each page of which is shown to lead to the signed root.
    Peers,
}

impl<E: Env> Verifier<E> {
    /// Walks from the first entry to the size of the pass.
    ///
    /// While nothing differs the walk trusts these files, and the root at its end says whether it
    /// was right to. If not, or if no peer's entries join what was walked so far, an earlier entry is
    /// wrong in a way that all files agree on: nothing here is believed then.
    pub(super) async fn verify_ledger(&self, pass: &mut Pass) -> Result<(), StoreError> {
        let before = pass.repaired;
        let right = self.walk(pass, By::Own).await?
            || self.config.heal && self.walk(pass, By::Peers).await?;
        if !right {
            pass.left += 1;
        }
        if pass.repaired > before {
            self.marker_again().await;
        }
        Ok(())
    }

    /// Whether the walk led to the signed root.
    async fn walk(&self, pass: &mut Pass, by: By) -> Result<bool, StoreError> {
        let mut walk = Walk::default();
        while walk.size() < pass.size {
            let until = self.repairer.file_end(walk.size()).min(pass.size);
            let own = self.repairer.unchecked(walk.size(), until, PAGE_BYTES)?;
            if let Some(entries) = own.as_ref().filter(|_| by == By::Own) {
                let stretch = self.repairer.stretch(&walk, entries);
                pass.read(entries.iter().map(Vec::len).sum()).await;
                if self.repairer.agrees(&stretch)? {
                    walk = stretch.to;
                    continue;
                }
            }
            let Some(next) = self.heal_ledger(pass, &walk, until).await? else {
                self.repairer.note_differing(&walk, own.as_deref(), until);
                return Ok(false);
            };
            walk = next;
        }
        let signed = walk.root() == pass.root;
        if !signed {
            // Which entry it is shows only beside a peer's; until then all of them are suspect.
            let place = Repaired {
                file: LEDGER.to_owned(),
                offset: 0,
                seq: Seq(0),
            };
            pass.found.extend(self.repairer.note(&place));
        }
        Ok(signed)
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
        for node in self.sources() {
            let from = Source {
                node,
                address: None,
            };
            let range = Seq(walk.size().0)..Seq(until.0);
            let page = match self
                .cluster
                .peers
                .entries(from, range, pass.size, ASK_MAX)
                .await
            {
                Ok(page) => page,
                Err(status) => {
                    tracing::warn!(node, message = status.message(), "a peer sent no entries");
                    continue;
                }
            };
            let entries: Vec<Vec<u8>> = page.entries.iter().map(|entry| entry.to_vec()).collect();
            let stretch = self.repairer.stretch(walk, &entries);
            if !joins(pass, &stretch.to, until, &page.path) || stretch.to.size() == walk.size() {
                tracing::error!(node, from = %walk.size(), "a peer sent entries that do not join");
                continue;
            }
            for place in self.repairer.repair(&stretch)? {
                pass.found.extend(self.repairer.note(&place));
                let (file, offset, seq) = (&place.file, place.offset, place.seq);
                tracing::warn!(file, offset, %seq, node, "written anew as a peer has it");
                self.repaired(pass);
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
