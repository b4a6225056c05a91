//! Which faults last, as the history of the nemesis goes by.

use std::collections::BTreeSet;

use crate::history::{Fault, Step};

/// Faults by name and node: of one name, one may be over on one node and last on another. `None`: a fault
/// that names no node.
#[derive(Debug, Default)]
pub(super) struct Lasting<'a>(BTreeSet<(&'a str, Option<u64>)>);

impl<'a> Lasting<'a> {
    /// Takes what the nemesis did next; whether it is something that it could do.
    pub(super) fn take(&mut self, fault: &'a Fault) -> bool {
        let nodes: Vec<Option<u64>> = match fault.nodes.as_slice() {
            [] => vec![None],
            nodes => nodes.iter().copied().map(Some).collect(),
        };
        let all = nodes.into_iter().map(|node| (&*fault.name, node));
        match fault.step {
            Step::Start => {
                self.0.extend(all);
                true
            }
            Step::Stop => {
                let over: BTreeSet<_> = all.collect();
                let could = over.is_subset(&self.0);
                self.0 = &self.0 - &over;
                could
            }
        }
    }

    /// Names of what lasts, each once.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        let names: BTreeSet<&str> = self.0.iter().map(|(name, _)| *name).collect();
        names.into_iter()
    }
}
