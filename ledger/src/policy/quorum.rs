//! Groups and the quorum. Each name is a member of at most one group, so groups form trees and
//! every question about them is answered member by member.

use std::collections::BTreeSet;

use super::{Group, Policy, Role, Threshold};

impl Policy {
    /// The fewest distinct nodes whose cosignatures a note must carry to meet the quorum.
    ///
    /// Below two, one compromised machine is enough: it holds the log's keys and its own.
    pub fn required_nodes(&self) -> usize {
        self.quorum
            .as_ref()
            .map_or(0, |name| self.nodes_needed(name))
    }

    /// Whether a cosigner signed, or enough members of a group did.
    pub(super) fn is_met(&self, name: &str, signers: &BTreeSet<String>) -> bool {
        match self.group(name) {
            None => signers.contains(name),
            Some(group) => {
                let met = group.members.iter().filter(|m| self.is_met(m, signers));
                met.count() >= group.needed()
            }
        }
    }

    /// The cosigners below a name who did not sign and are not in a group that is met without them.
    pub(super) fn missing(&self, name: &str, signers: &BTreeSet<String>) -> Vec<String> {
        if self.is_met(name, signers) {
            return Vec::new();
        }
        match self.group(name) {
            None => vec![name.to_owned()],
            Some(group) => {
                let members = group.members.iter();
                members.flat_map(|m| self.missing(m, signers)).collect()
            }
        }
    }

    fn nodes_needed(&self, name: &str) -> usize {
        let Some(group) = self.group(name) else {
            let node = |c: &&super::Cosigner| c.name == name && matches!(c.role, Role::Node { .. });
            return usize::from(self.cosigners.iter().find(node).is_some());
        };
        let mut of_members: Vec<_> = group.members.iter().map(|m| self.nodes_needed(m)).collect();
        of_members.sort_unstable();
        of_members.iter().take(group.needed()).sum()
    }

    fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }
}

impl Group {
    /// How many members must be met.
    fn needed(&self) -> usize {
        match self.threshold {
            Threshold::All => self.members.len(),
            Threshold::Any => 1,
            Threshold::AtLeast(count) => count,
        }
    }
}
