//! Reading policies, line by line. People write them, so every refusal names line and cause.

use std::collections::BTreeSet;

use super::{Cosigner, Group, Pin, Policy, Role, Threshold};
use crate::checkpoint::parse_cosigner_name;
use crate::ids::{NodeId, TreeSize};
use crate::note::{KeyKind, VerifierKey, VkeyError};
use crate::signature::{KeySet, KeySetError};
use crate::text::{parse_base64_32, parse_decimal};
use crate::tree::NodeHash;

/// Most key sets, most nodes and witnesses together, most pins of a policy; C2SP asks for 32. A
/// note has room for 61 cosigners.
pub const POLICY_KEYS_MAX: usize = 64;

/// Most groups of a policy; C2SP asks for 32.
pub const POLICY_GROUPS_MAX: usize = 64;

/// Longest policy in bytes: 64 key sets of up to 4 KiB, and as much again for everything else.
pub const POLICY_LEN_MAX: usize = 512 * 1024;

/// The quorum that demands nothing, and no name for anything else.
pub(super) const NONE: &str = "none";

/// The first line.
pub(super) const HEADER: &str = "candor-policy v1";

/// A text that is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the policy: {problem}")]
pub struct PolicyError {
    /// From 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: PolicyProblem,
}

/// What is wrong with a line of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyProblem {
    /// The name is a member already; a second membership would count its cosigners twice.
    #[error("`{name}` is a member of a group already")]
    AlreadyMember {
        /// The member.
        name: String,
    },
    /// A control byte; CRLF line ends are the usual cause.
    #[error("control character U+{0:04X}: only LF and tab may stand in a policy")]
    Control(u32),
    /// The key stands in the policy already, perhaps under another name.
    #[error("the key of `{name}` stands in the policy already")]
    DuplicateKey {
        /// The second owner.
        name: String,
    },
    /// The name is taken.
    #[error("`{0}` is defined already")]
    DuplicateName(String),
    /// Not the items that the line needs.
    #[error("want `{0}`")]
    Form(&'static str),
    /// The three keys make no key set.
    #[error(transparent)]
    KeySet(#[from] KeySetError),
    /// A C2SP `log` line.
    #[error(
        "a `log` line lets any one key stand for the log; \
         use `keyset <origin> <suite> <vkey> <vkey> <vkey>`, of which all three must verify"
    )]
    LogLine,
    /// No key set: nothing could ever be accepted.
    #[error("the policy ends without a `keyset` line")]
    NoKeySet,
    /// No quorum line.
    #[error("the policy ends without a `quorum` line; `quorum none` demands no cosignature")]
    NoQuorum,
    /// A node's key is not named as a node of a log above.
    #[error(
        "the key is named `{0}`; want `<origin>/node/<id>` with the origin of a `keyset` above"
    )]
    NodeName(String),
    /// The operator's own node as a witness.
    #[error("`{0}` names a node of the log: nodes vouch, only outsiders witness; use `node`")]
    NodeAsWitness(String),
    /// A key that signs something else than cosignatures.
    #[error("want a cosignature key (type 0x04), not `{0}`")]
    NotACosigner(KeyKind),
    /// The first line is another.
    #[error("want `candor-policy v1` as the first line")]
    NotAPolicy,
    /// The name is the quorum that demands nothing.
    #[error("`none` is no name for a node, a witness, a group or a member")]
    Reserved,
    /// A second quorum line, or a second pin of one size.
    #[error("a second `{0}` line for the same thing")]
    Second(&'static str),
    /// The number of members wanted cannot be met, or demands nothing.
    #[error("`{got}` of {members} members: want `all`, `any` or a number from 1 to {members}")]
    Threshold {
        /// What stands there.
        got: String,
        /// How many members follow.
        members: usize,
    },
    /// More lines of a kind than the limit.
    #[error("more than {max} `{item}` lines")]
    TooMany {
        /// The kind.
        item: &'static str,
        /// The limit.
        max: usize,
    },
    /// Longer than [`POLICY_LEN_MAX`].
    #[error("the policy has {len} bytes, the limit is {POLICY_LEN_MAX}")]
    TooLong {
        /// The length found.
        len: usize,
    },
    /// The name is not defined above.
    #[error("`{0}` is not defined above")]
    Undefined(String),
    /// A line of no known kind.
    #[error("`{0}` starts no line: want keyset, node, witness, group, quorum or pin")]
    UnknownItem(String),
    /// A verifier key that is none.
    #[error(transparent)]
    Vkey(#[from] VkeyError),
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyError`] for the first line that breaks a rule; nothing is skipped.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let at = |line| move |problem| PolicyError { line, problem };
        let len = text.len();
        if len > POLICY_LEN_MAX {
            return Err(at(1)(PolicyProblem::TooLong { len }));
        }
        let mut reader = Reader::default();
        // Not `str::lines`, which forgives CRLF.
        let lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        let count = lines.clone().count();
        for (line, content) in (1..).zip(lines) {
            check_characters(content).map_err(at(line))?;
            if line == 1 {
                if content != HEADER {
                    return Err(at(line)(PolicyProblem::NotAPolicy));
                }
            } else {
                reader.line(content).map_err(at(line))?;
            }
        }
        reader.finish().map_err(at(count + 1))
    }
}

fn check_characters(line: &str) -> Result<(), PolicyProblem> {
    match line.chars().find(|c| c.is_control() && *c != '\t') {
        Some(control) => Err(PolicyProblem::Control(control.into())),
        None => Ok(()),
    }
}

/// A policy while it is read.
#[derive(Default)]
struct Reader {
    keysets: Vec<KeySet>,
    cosigners: Vec<Cosigner>,
    groups: Vec<Group>,
    /// As written; `None` until its line comes.
    quorum: Option<String>,
    pins: Vec<Pin>,
    members: BTreeSet<String>,
}

impl Reader {
    fn line(&mut self, content: &str) -> Result<(), PolicyProblem> {
        let items: Vec<_> = content
            .split([' ', '\t'])
            .filter(|i| !i.is_empty())
            .collect();
        match items.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with('#') => Ok(()),
            ["keyset", rest @ ..] => self.keyset(rest),
            ["node", rest @ ..] => self.node(rest),
            ["witness", rest @ ..] => self.witness(rest),
            ["group", rest @ ..] => self.group(rest),
            ["quorum", rest @ ..] => self.quorum(rest),
            ["pin", rest @ ..] => self.pin(rest),
            ["log", ..] => Err(PolicyProblem::LogLine),
            [other, ..] => Err(PolicyProblem::UnknownItem((*other).to_owned())),
        }
    }

    fn keyset(&mut self, items: &[&str]) -> Result<(), PolicyProblem> {
        let form = PolicyProblem::Form("keyset <origin> <suite> <vkey> <vkey> <vkey>");
        let &[origin, suite, first, second, third] = items else {
            return Err(form);
        };
        let suite = parse_decimal(suite)
            .and_then(|suite| u16::try_from(suite).ok())
            .ok_or(form)?;
        let keys = KeySet::from_vkeys(origin, suite, [first, second, third])?;
        check_room("keyset", self.keysets.len(), POLICY_KEYS_MAX)?;
        if self.keysets.iter().any(|other| other.id() == keys.id()) {
            return Err(PolicyProblem::Second("keyset"));
        }
        for key in keys.keys() {
            if self
                .cosigners
                .iter()
                .any(|c| c.key.public_key() == key.public_key())
            {
                let name = origin.to_owned();
                return Err(PolicyProblem::DuplicateKey { name });
            }
        }
        self.keysets.push(keys);
        Ok(())
    }

    fn node(&mut self, items: &[&str]) -> Result<(), PolicyProblem> {
        let &[name, vkey] = items else {
            return Err(PolicyProblem::Form("node <name> <vkey>"));
        };
        let key = cosigner_key(vkey)?;
        let Some((origin, node)) = self.as_node(&key) else {
            return Err(PolicyProblem::NodeName(key.name().to_owned()));
        };
        self.cosigner(name, Role::Node { origin, node }, key)
    }

    fn witness(&mut self, items: &[&str]) -> Result<(), PolicyProblem> {
        let (&[name, vkey] | &[name, vkey, _]) = items else {
            return Err(PolicyProblem::Form("witness <name> <vkey> [<url>]"));
        };
        let url = items.get(2).map(|url| (*url).to_owned());
        let key = cosigner_key(vkey)?;
        if self.as_node(&key).is_some() {
            return Err(PolicyProblem::NodeAsWitness(key.name().to_owned()));
        }
        self.cosigner(name, Role::Witness { url }, key)
    }

    fn cosigner(&mut self, name: &str, role: Role, key: VerifierKey) -> Result<(), PolicyProblem> {
        check_room("node and witness", self.cosigners.len(), POLICY_KEYS_MAX)?;
        self.check_new_name(name)?;
        let log_keys = self.keysets.iter().flat_map(KeySet::keys);
        let mut keys = log_keys.chain(self.cosigners.iter().map(|c| &c.key));
        // Cosignatures do not sign the name: one key under two names would count twice.
        if keys.any(|other| other.public_key() == key.public_key()) {
            let name = name.to_owned();
            return Err(PolicyProblem::DuplicateKey { name });
        }
        let name = name.to_owned();
        self.cosigners.push(Cosigner { name, role, key });
        Ok(())
    }

    fn group(&mut self, items: &[&str]) -> Result<(), PolicyProblem> {
        let [name, threshold, members @ ..] = items else {
            return Err(PolicyProblem::Form("group <name> all|any|<k> <members...>"));
        };
        check_room("group", self.groups.len(), POLICY_GROUPS_MAX)?;
        self.check_new_name(name)?;
        let threshold = parse_threshold(threshold, members.len())?;
        for member in members {
            self.check_defined(member)?;
            if !self.members.insert((*member).to_owned()) {
                let name = (*member).to_owned();
                return Err(PolicyProblem::AlreadyMember { name });
            }
        }
        self.groups.push(Group {
            name: (*name).to_owned(),
            threshold,
            members: members.iter().map(|m| (*m).to_owned()).collect(),
        });
        Ok(())
    }

    fn quorum(&mut self, items: &[&str]) -> Result<(), PolicyProblem> {
        let &[name] = items else {
            return Err(PolicyProblem::Form("quorum <name>|none"));
        };
        if self.quorum.is_some() {
            return Err(PolicyProblem::Second("quorum"));
        }
        if name != NONE {
            self.check_defined(name)?;
        }
        self.quorum = Some(name.to_owned());
        Ok(())
    }

    fn pin(&mut self, items: &[&str]) -> Result<(), PolicyProblem> {
        let form = || PolicyProblem::Form("pin <origin> <size> <base64 root>");
        let &[origin, size, root] = items else {
            return Err(form());
        };
        let pin = Pin {
            origin: origin.to_owned(),
            size: parse_decimal(size).map(TreeSize).ok_or_else(form)?,
            root: parse_base64_32(root).map(NodeHash).ok_or_else(form)?,
        };
        check_room("pin", self.pins.len(), POLICY_KEYS_MAX)?;
        if !self.keysets.iter().any(|keys| keys.origin() == origin) {
            return Err(PolicyProblem::Undefined(origin.to_owned()));
        }
        if self
            .pins
            .iter()
            .any(|p| p.origin == pin.origin && p.size == pin.size)
        {
            return Err(PolicyProblem::Second("pin"));
        }
        self.pins.push(pin);
        Ok(())
    }

    fn finish(self) -> Result<Policy, PolicyProblem> {
        if self.keysets.is_empty() {
            return Err(PolicyProblem::NoKeySet);
        }
        let quorum = self.quorum.ok_or(PolicyProblem::NoQuorum)?;
        Ok(Policy {
            keysets: self.keysets,
            cosigners: self.cosigners,
            groups: self.groups,
            quorum: Some(quorum).filter(|name| name != NONE),
            pins: self.pins,
            distrusted: BTreeSet::new(),
        })
    }

    /// The log above and the node that a key is named after.
    fn as_node(&self, key: &VerifierKey) -> Option<(String, NodeId)> {
        let (origin, node) = parse_cosigner_name(key.name())?;
        let known = self.keysets.iter().any(|keys| keys.origin() == origin);
        known.then(|| (origin.to_owned(), node))
    }

    fn is_defined(&self, name: &str) -> bool {
        let mut cosigners = self.cosigners.iter().map(|c| &c.name);
        cosigners.any(|n| n == name) || self.groups.iter().any(|g| g.name == name)
    }

    fn check_new_name(&self, name: &str) -> Result<(), PolicyProblem> {
        if name == NONE {
            Err(PolicyProblem::Reserved)
        } else if self.is_defined(name) {
            Err(PolicyProblem::DuplicateName(name.to_owned()))
        } else {
            Ok(())
        }
    }

    fn check_defined(&self, name: &str) -> Result<(), PolicyProblem> {
        if name == NONE {
            Err(PolicyProblem::Reserved)
        } else if self.is_defined(name) {
            Ok(())
        } else {
            Err(PolicyProblem::Undefined(name.to_owned()))
        }
    }
}

fn check_room(item: &'static str, len: usize, max: usize) -> Result<(), PolicyProblem> {
    if len < max {
        Ok(())
    } else {
        Err(PolicyProblem::TooMany { item, max })
    }
}

fn cosigner_key(vkey: &str) -> Result<VerifierKey, PolicyProblem> {
    let key = VerifierKey::parse(vkey)?;
    match key.kind() {
        KeyKind::Cosignature => Ok(key),
        other @ KeyKind::Log(_) => Err(PolicyProblem::NotACosigner(other)),
    }
}

fn parse_threshold(text: &str, members: usize) -> Result<Threshold, PolicyProblem> {
    let threshold = match text {
        "all" => Some(Threshold::All),
        "any" => Some(Threshold::Any),
        number => parse_decimal(number)
            .and_then(|count| usize::try_from(count).ok())
            .filter(|count| (1..=members).contains(count))
            .map(Threshold::AtLeast),
    };
    let got = text.to_owned();
    threshold
        .filter(|_| members > 0)
        .ok_or(PolicyProblem::Threshold { got, members })
}
