//! Values: every result's bytes are here and hash to their name, or are fetched.

use bytes::Bytes;
use candor_ledger::fold::{Key, Prefix, Record, StateView as _, ViewError};

use super::{ASK, Pass, Verifier};
use crate::env::Env;
use crate::peers::{Source, ValueKey};
use crate::store::{HashedValue, StoreError};

/// Results looked at under one lock of the state.
const RESULTS: usize = 256;

impl<E: Env> Verifier<E> {
    pub(super) async fn verify_values(&self, pass: &mut Pass) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let (names, last) = match self.some_values(after.as_ref()) {
                Ok(found) => found,
                Err(problem) => {
                    pass.left += 1;
                    tracing::error!(%problem, "the state cannot be read");
                    return Ok(());
                }
            };
            let mut missing = Vec::new();
            for name in names {
                match self.cluster.reader.value(&name.0, &name.1) {
                    Ok(Some(value)) => pass.read(value.len()).await,
                    Ok(None) | Err(StoreError::ValueDamaged { .. }) => missing.push(name),
                    Err(problem) => return Err(problem),
                }
            }
            self.fetch_values(pass, missing).await?;
            match last {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// The values of the next results, and the last of these; `None` behind the end.
    fn some_values(&self, after: Option<&Key>) -> Result<(Vec<ValueKey>, Option<Key>), ViewError> {
        let within = Prefix::all_results();
        let state = self.cluster.state.read();
        let (mut names, mut last) = (Vec::new(), None::<Key>);
        for _ in 0..RESULTS {
            let Some((key, record)) = state.next(&within, last.as_ref().or(after))? else {
                return Ok((names, None));
            };
            if let (Key::Result { tenant, .. }, Record::Result(result)) = (&key, &record) {
                let held = result.results();
                names.extend(held.map(|held| (tenant.clone(), held.output_hash)));
            }
            last = Some(key);
        }
        Ok((names, last))
    }

    /// Asks one peer after another for what is missing; a value is what its name says, or none.
    async fn fetch_values(
        &self,
        pass: &mut Pass,
        mut missing: Vec<ValueKey>,
    ) -> Result<(), StoreError> {
        let sources = if self.config.heal {
            self.sources()
        } else {
            Vec::new()
        };
        for node in sources {
            let mut elsewhere = Vec::new();
            while !missing.is_empty() {
                let from = Source {
                    node,
                    address: None,
                };
                let Ok(found) = self.cluster.peers.values(from, &missing, ASK).await else {
                    break;
                };
                if found.is_empty() {
                    break;
                }
                for (name, value) in missing.drain(..found.len().min(missing.len())).zip(found) {
                    if !self.take_value(pass, &name, value)? {
                        elsewhere.push(name);
                    }
                }
            }
            missing.append(&mut elsewhere);
            if missing.is_empty() {
                break;
            }
        }
        for (tenant, hash) in &missing {
            pass.left += 1;
            let hash = hex::encode(hash);
            tracing::error!(tenant, hash, "no peer has the value of a result");
        }
        Ok(())
    }

    fn take_value(
        &self,
        pass: &mut Pass,
        (tenant, hash): &ValueKey,
        value: Option<Bytes>,
    ) -> Result<bool, StoreError> {
        let Some(value) = value else {
            return Ok(false);
        };
        let value = HashedValue::of(&value);
        if value.hash() != *hash {
            return Ok(false);
        }
        self.cluster.reader.repair_value(tenant, value)?;
        pass.repaired += 1;
        self.metrics.verifier_repairs.inc();
        Ok(true)
    }
}
