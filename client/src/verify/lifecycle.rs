//! The entries about one subject, newest first, page by page.

use std::sync::Arc;

use candor_ledger::entry::{Entry, Subject};
use candor_proto::audit_v1::{ListLifecycleResponse, Proof};

use super::own::same;
use super::proof::{Shown, shown_entry, unsealed_entry};
use crate::audit::TrailEntry;
use crate::checkpoint::VerifiedCheckpoint;
use crate::error::{Doubt, Unproven};

/// A lifecycle as far as it has been read.
#[derive(Clone, Debug)]
pub(crate) struct Walk {
    tenant: String,
    subject: Subject,
    /// Newest first.
    entries: Vec<TrailEntry>,
    /// The checkpoint of all proofs, from the first page.
    under: Option<Arc<VerifiedCheckpoint>>,
}

impl Walk {
    pub(crate) fn new(tenant: &str, subject: Subject) -> Self {
        Self {
            tenant: tenant.to_owned(),
            subject,
            entries: Vec::new(),
            under: None,
        }
    }

    /// The checkpoint of the pages read so far.
    pub(crate) fn under(&self) -> Option<&Arc<VerifiedCheckpoint>> {
        self.under.as_ref()
    }

    /// Takes a page in; `under` is its checkpoint, verified.
    pub(crate) fn page(
        mut self,
        page: &ListLifecycleResponse,
        under: Option<Arc<VerifiedCheckpoint>>,
    ) -> Result<Self, Doubt> {
        same("the subject", &self.subject, &page.subject)?;
        if !self.entries.is_empty() && under.as_ref().map(|u| u.size()) != self.size() {
            return Err(Unproven::Missing("one checkpoint for all pages").into());
        }
        self.under = under;
        for proof in &page.entries {
            let entry = self.entry(proof)?;
            self.entries.push(entry);
        }
        Ok(self)
    }

    /// All entries, oldest first, and the checkpoint they are proved under.
    ///
    /// # Errors
    /// When the first event is not there.
    pub(crate) fn finish(
        self,
    ) -> Result<(Vec<TrailEntry>, Option<Arc<VerifiedCheckpoint>>), Unproven> {
        if let Some(oldest) = self.entries.last()
            && (oldest.entry.n != 1 || oldest.entry.subject_prev.is_some())
        {
            let n = oldest.entry.n;
            return Err(Unproven::differs("the number of the first event", 1, n));
        }
        let mut entries = self.entries;
        entries.reverse();
        Ok((entries, self.under))
    }

    fn size(&self) -> Option<candor_ledger::ids::TreeSize> {
        self.under.as_ref().map(|under| under.size())
    }

    fn entry(&self, proof: &Proof) -> Result<TrailEntry, Doubt> {
        let shown = Shown::of(proof)?;
        let entry = match (&self.under, shown.is_unsealed()) {
            (Some(under), false) => shown_entry(&shown, under)?,
            (None, false) => return Err(Unproven::Missing("the checkpoint of the entries").into()),
            (under, true) => {
                if under
                    .as_ref()
                    .is_some_and(|under| under.size().covers(shown.index))
                {
                    return Err(Unproven::Missing("the path of a sealed entry").into());
                }
                unsealed_entry(&shown)?
            }
        };
        same("the entry's tenant", &self.tenant, &entry.tenant)?;
        same("the entry's subject", &self.subject, &entry.subject)?;
        if let Some(newer) = self.entries.last() {
            follows(&newer.entry, &entry)?;
        }
        Ok(TrailEntry {
            path: (!shown.is_unsealed()).then_some(shown.path),
            line: shown.line.to_vec(),
            entry,
        })
    }
}

/// `older` is the event directly before `newer`.
fn follows(newer: &Entry, older: &Entry) -> Result<(), Unproven> {
    let named = newer
        .subject_prev
        .map(|seq| seq.to_string())
        .unwrap_or_default();
    same("the event before", named, older.seq)?;
    same(
        "the number of the event before",
        newer.n.saturating_sub(1),
        older.n,
    )?;
    if older.seq < newer.seq && older.time <= newer.time {
        Ok(())
    } else {
        Err(Unproven::differs(
            "the order of events",
            "ascending",
            older.seq,
        ))
    }
}
