//! Values: every result's bytes are here and hash to their name, or are fetched.

use candor_ledger::fold::{Key, Prefix, Record, StateView as _, ViewError};

use super::{Pass, Verifier};
use crate::env::Env;
use crate::peers::ValueKey;
use crate::store::StoreError;

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

    /// Fetches what is missing, unless nothing is to be changed.
    async fn fetch_values(
        &self,
        pass: &mut Pass,
        missing: Vec<ValueKey>,
    ) -> Result<(), StoreError> {
        let wanted = missing.len();
        let missing = if self.config.heal && wanted > 0 {
            let sources = self.sources();
            let gathered = self.cluster.peers.gather(&sources, missing, &self.repairer);
            gathered.await?
        } else {
            missing
        };
        for _ in missing.len()..wanted {
            self.repaired(pass);
        }
        for (tenant, hash) in &missing {
            pass.left += 1;
            let hash = hex::encode(hash);
            tracing::error!(tenant, hash, "no peer has the value of a result");
        }
        Ok(())
    }
}
