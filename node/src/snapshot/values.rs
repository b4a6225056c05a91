//! The values of a ledger that came as entries: fetched by hash, behind everything else.
//!
//! Until one is here, a lookup on this node withholds it and is answered elsewhere, as it is with a
//! value that was lost.

use std::time::Duration;

use candor_ledger::fold::{Key, Prefix, Record, Standing, StateView, ViewError};

use crate::apply::Applier;
use crate::consensus::Consensus;
use crate::env::{Disk, Env};
use crate::fold::Fold;
use crate::peers::{Peers, ValueKey};
use crate::store::{LedgerReader, Repairer, StoreError};

/// Written by an install; removed by a start that finds every value.
pub(super) const WANTED: &str = "values-wanted";

/// Results looked at under one lock of the state.
const PAGE: usize = 256;
/// Pause between two rounds over what no peer had.
const PAUSE: Duration = Duration::from_secs(2);

/// Fetches what ACTIVE results need.
pub struct ValueFetcher<E: Env> {
    /// The node's seams.
    pub env: E,
    /// Names the members.
    pub consensus: Consensus<Applier<E>>,
    /// The members.
    pub peers: Peers<E>,
    /// What is here.
    pub reader: LedgerReader<E::Disk>,
    /// Where it goes.
    pub repairer: Repairer<E::Disk>,
    /// Which results are ACTIVE.
    pub state: Fold,
}

impl<E: Env> ValueFetcher<E> {
    /// Runs until every value is here, if an install asked for it.
    pub async fn run(self) {
        if !matches!(self.env.disk().stat(WANTED), Ok(Some(_))) {
            return;
        }
        let mut fetched = 0_u64;
        loop {
            match self.round(&mut fetched).await {
                // Those of this start are durable with some later marker: the next one looks again.
                Ok(0) if fetched > 0 => {
                    tracing::info!(fetched, "the values of ACTIVE results are here");
                    return;
                }
                Ok(0) => {
                    if let Err(problem) = self.env.disk().remove_file(WANTED) {
                        tracing::warn!(%problem, "`{WANTED}` stays");
                    }
                    return;
                }
                Ok(missing) => tracing::warn!(missing, "values are missing here and at every peer"),
                Err(problem) => tracing::error!(%problem, "values cannot be fetched"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One look at all ACTIVE results; returns how many values are still missing.
    async fn round(&self, fetched: &mut u64) -> Result<usize, StoreError> {
        let (mut after, mut missing) = (None, 0);
        loop {
            let page = self.page(after.as_ref());
            let (names, last) = page.map_err(|e| std::io::Error::other(e.to_string()))?;
            missing += self.fetch(names, fetched).await?;
            let Some(last) = last else {
                return Ok(missing);
            };
            after = Some(last);
            tokio::task::yield_now().await;
        }
    }

    /// The values that some ACTIVE results behind `after` need and that are not here, and the last one
    /// looked at; `None` after the last of all.
    fn page(&self, after: Option<&Key>) -> Result<(Vec<ValueKey>, Option<Key>), ViewError> {
        let view = self.state.read();
        let (mut names, mut last) = (Vec::new(), after.cloned());
        for _ in 0..PAGE {
            let Some((key, _)) = view.next(&Prefix::deadlines(), last.as_ref())? else {
                return Ok((names, None));
            };
            if let Key::Deadline {
                tenant,
                fingerprint,
                ..
            } = &key
                && let (tenant, fingerprint) = (tenant.clone(), *fingerprint)
                && let Some(Record::Result(result)) = view.get(&Key::Result {
                    tenant: tenant.clone(),
                    fingerprint,
                })?
                && let Standing::Active(held) = &result.standing
                && !self.reader.has_value(&tenant, &held.output_hash)
            {
                names.push((tenant, held.output_hash));
            }
            last = Some(key);
        }
        Ok((names, last))
    }

    /// Asks the other members; returns how many values none of them had.
    async fn fetch(&self, names: Vec<ValueKey>, fetched: &mut u64) -> Result<usize, StoreError> {
        let status = self.consensus.status();
        let members = status.peers.keys().copied();
        let others: Vec<u64> = members.filter(|node| *node != status.node).collect();
        let wanted = names.len();
        let missing = self.peers.gather(&others, names, &self.repairer).await?;
        *fetched += u64::try_from(wanted - missing.len()).unwrap_or(0);
        Ok(missing.len())
    }
}
