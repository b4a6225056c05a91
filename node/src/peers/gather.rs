//! Values from whoever has them.

use super::files::ASK_MAX;
use super::{Peers, Source, ValueKey};
use crate::env::Env;
use crate::store::{HashedValue, Repairer, StoreError};

impl<E: Env> Peers<E> {
    /// Asks one node after another for values and keeps those that hash to their names; returns
    /// those that none of them had.
    ///
    /// # Errors
    /// The disk's.
    pub async fn gather(
        &self,
        nodes: &[u64],
        mut missing: Vec<ValueKey>,
        keep: &Repairer<E::Disk>,
    ) -> Result<Vec<ValueKey>, StoreError> {
        for node in nodes.iter().copied() {
            let mut elsewhere = Vec::new();
            while !missing.is_empty() {
                let from = Source {
                    node,
                    address: None,
                };
                let Ok(found) = self.values(from, &missing, ASK_MAX).await else {
                    break;
                };
                if found.is_empty() {
                    break;
                }
                let answered = found.len().min(missing.len());
                for (name, value) in missing.drain(..answered).zip(found) {
                    let value = value.as_deref().map(HashedValue::of);
                    match value {
                        Some(value) if value.hash() == name.1 => {
                            keep.put_value(&name.0, value)?;
                        }
                        Some(_) => {
                            tracing::error!(node, "a peer sent another value than was asked for");
                            elsewhere.push(name);
                        }
                        None => elsewhere.push(name),
                    }
                }
            }
            missing.append(&mut elsewhere);
        }
        Ok(missing)
    }
}
