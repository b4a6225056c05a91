//! Bodies of the entries about the log itself.

use core::fmt;
use std::collections::BTreeSet;

use super::fields::{Fields, base64, int, members, sha3};
use super::{EntryError, REASON_LEN_MAX};
use crate::canonical::{Object, Value};
use crate::ids::{NodeId, Seq, TreeSize};
use crate::signature::{KeySet, KeySetError, ORIGIN_LEN_MAX, SUITE_1};
use crate::text;

/// The most members a log may have at a time: each is a cosignature line in every checkpoint.
pub const MEMBERS_MAX: usize = 31;

/// Random name of one cluster, which no other cluster answers to.
///
/// Text form: 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 16]);

/// `ledger.genesis`: everything that a ledger starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The log's name, first line of every checkpoint.
    pub origin: String,
    /// The cluster that starts it.
    pub cluster_id: ClusterId,
    /// What the log signs with.
    pub keys: LogKeys,
    /// The first members, by ascending id; 1 to [`MEMBERS_MAX`].
    pub members: Vec<Member>,
    /// The rules in force from the start.
    pub rules: u32,
    /// The numbers of the rules.
    pub params: Params,
    /// The origin that this one follows, where a sealed entry of that one may be lost.
    pub former: Option<Former>,
}

/// The log's public keys: raw as their standards encode them, in the order of the suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKeys {
    /// Which algorithms.
    pub suite: u16,
    /// The keys.
    pub raw: [Vec<u8>; 3],
}

/// A node that the ledger names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number, at least 1; never used twice within one origin.
    pub node: NodeId,
    /// Its Ed25519 key for cosignatures named `<origin>/node/<node>`.
    pub cosigner: [u8; 32],
}

/// The end of an origin, as its successor names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Former {
    /// The old origin.
    pub origin: String,
    /// Entries that the successor's operator still holds.
    pub size: TreeSize,
    /// Root of the tree of these entries.
    pub root: [u8; 32],
    /// Why it ended; 1 to [`REASON_LEN_MAX`] bytes.
    pub cause: String,
}

/// `ledger.seal`: the end of a group, and what its checkpoint is signed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// Id of the key set that signs.
    pub keyset: [u8; 32],
    /// The seal before this one.
    pub prev_seal: Option<Seq>,
}

/// `ledger.member`: before a member joins, after it left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// It becomes a member.
    Join(Member),
    /// It is none any more.
    Leave(NodeId),
}

/// `ledger.keys`: the keys of every seal after the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysChange {
    /// The new keys.
    pub keys: LogKeys,
    /// Why; 1 to [`REASON_LEN_MAX`] bytes.
    pub reason: String,
}

/// `ledger.params`: all numbers as they are from the next entry on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamsChange {
    /// The new numbers.
    pub params: Params,
}

/// `ledger.rules`: the version of the rules from the next entry on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RulesChange {
    /// The new version.
    pub rules: u32,
}

/// Every number that the fold, thinning, file layout or a verifier reads; in the ledger, so that
/// all of them read the same. Ranges are in [`Params::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    /// State-changing requests that are remembered per tenant, so that a retry takes no effect.
    pub dedup_window: u64,
    /// Entries per file of entries; never changes after genesis.
    pub entries_per_file: u64,
    /// The most entries that one operation or tick makes.
    pub entries_per_operation_max: u64,
    /// A seal is due after this long without one, so that an idle log differs from a withheld one.
    pub max_silence_ms: u64,
    /// How far clocks may differ: of nodes from each other, of request ids from the ledger.
    pub max_skew_ms: u64,
    /// Of checkpoints older than this, the last of each hour is kept.
    pub thin_hour_after_ms: u64,
    /// Of checkpoints older than this, the last of each minute is kept.
    pub thin_minute_after_ms: u64,
    /// The longest time that a result may be served without being set again.
    pub ttl_ms_max: u64,
    /// The longest value in bytes.
    pub value_len_max: u64,
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ClusterId {
    /// Reads the text form; `None` for any other spelling.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        (hex::encode(bytes) == text).then_some(Self(bytes))
    }
}

impl Genesis {
    /// The members of the body, as `genesis.json` and the entry hold them.
    pub fn to_object(&self) -> Object {
        members([
            ("cluster_id", Some(self.cluster_id.to_string().into())),
            ("former", self.former.as_ref().map(Former::to_value)),
            ("keys", Some(self.keys.keys_value())),
            ("members", Some(members_to_value(&self.members))),
            ("origin", Some(self.origin.as_str().into())),
            ("params", Some(self.params.to_object().into())),
            ("rules", Some(self.rules.into())),
            ("suite", Some(self.keys.suite_value())),
        ])
    }

    /// Reads the members of the body.
    ///
    /// # Errors
    /// As [`super::Entry::parse`].
    pub fn from_object(object: Object) -> Result<Self, EntryError> {
        let mut fields = Fields::of_entry(Value::Object(object))?;
        let genesis = Self::read(&mut fields)?;
        fields.finish()?;
        Ok(genesis)
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        Ok(Self {
            origin: read_origin(fields)?,
            cluster_id: fields.parsed("cluster_id", ClusterId::parse)?,
            keys: LogKeys::read(fields)?,
            members: read_members(fields)?,
            rules: read_u32(fields, "rules")?,
            params: Params::read(fields)?,
            former: fields.optional("former", Former::read)?,
        })
    }
}

impl LogKeys {
    /// The keys of a set.
    pub fn of(set: &KeySet) -> Self {
        let raw = set
            .keys()
            .each_ref()
            .map(|key| key.public_key().as_bytes().to_vec());
        Self {
            suite: set.suite(),
            raw,
        }
    }

    /// The keys as one key set, decoded.
    ///
    /// # Errors
    /// [`KeySetError`] for bytes that are no keys of the suite.
    pub fn key_set(&self, origin: &str) -> Result<KeySet, KeySetError> {
        let [a, b, c] = &self.raw;
        KeySet::from_raw(origin, self.suite, [a, b, c])
    }

    fn keys_value(&self) -> Value {
        self.raw
            .iter()
            .map(|key| base64(key))
            .collect::<Vec<_>>()
            .into()
    }

    fn suite_value(&self) -> Value {
        u32::from(self.suite).into()
    }

    /// The suite is looked at first: another one may have other keys.
    fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        let suite = fields.int("suite")?;
        if suite != u64::from(SUITE_1) {
            return Err(fields.not_understood("suite", &suite.to_string()));
        }
        let keys = fields.array("keys")?;
        let decode = |key: Value| text::parse_base64(key.as_str()?);
        let keys: Option<Vec<_>> = keys.into_iter().map(decode).collect();
        let raw = keys.and_then(|keys| keys.try_into().ok());
        Ok(Self {
            suite: SUITE_1,
            raw: raw.ok_or_else(|| {
                fields.malformed("keys", "is not three keys in canonical base64".to_owned())
            })?,
        })
    }
}

impl Member {
    fn to_object(&self) -> Object {
        members([
            ("cosigner", Some(base64(&self.cosigner))),
            ("node", Some(int(self.node.0))),
        ])
    }

    fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        Ok(Self {
            node: NodeId(fields.int("node")?),
            cosigner: fields.base64("cosigner")?,
        })
    }
}

impl Former {
    fn to_value(&self) -> Value {
        let object = members([
            ("cause", Some(self.cause.as_str().into())),
            ("origin", Some(self.origin.as_str().into())),
            ("root", Some(base64(&self.root))),
            ("size", Some(int(self.size.0))),
        ]);
        object.into()
    }

    fn read(fields: &mut Fields, key: &str) -> Result<Self, EntryError> {
        let mut fields = fields.object(key)?;
        let former = Self {
            origin: read_origin(&mut fields)?,
            size: TreeSize(fields.int("size")?),
            root: fields.base64("root")?,
            cause: fields.text_within("cause", REASON_LEN_MAX)?,
        };
        fields.finish()?;
        Ok(former)
    }
}

impl Seal {
    pub(super) fn to_object(&self) -> Object {
        let prev_seal = self.prev_seal.map_or(Value::Null, |seq| int(seq.0));
        members([
            ("keyset", Some(sha3(&self.keyset))),
            ("prev_seal", Some(prev_seal)),
        ])
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        Ok(Self {
            keyset: fields.sha3("keyset")?,
            prev_seal: fields.int_or_null("prev_seal")?.map(Seq),
        })
    }
}

impl MemberChange {
    pub(super) fn to_object(&self) -> Object {
        let (action, mut object) = match self {
            Self::Join(member) => ("join", member.to_object()),
            Self::Leave(node) => ("leave", members([("node", Some(int(node.0)))])),
        };
        object.insert("action".to_owned(), action.into());
        object
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        match fields.text("action")?.as_str() {
            "join" => Member::read(fields).map(Self::Join),
            "leave" => Ok(Self::Leave(NodeId(fields.int("node")?))),
            other => Err(fields.not_understood("action", other)),
        }
    }
}

impl KeysChange {
    pub(super) fn to_object(&self) -> Object {
        members([
            ("keys", Some(self.keys.keys_value())),
            ("reason", Some(self.reason.as_str().into())),
            ("suite", Some(self.keys.suite_value())),
        ])
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        Ok(Self {
            keys: LogKeys::read(fields)?,
            reason: fields.text_within("reason", REASON_LEN_MAX)?,
        })
    }
}

impl ParamsChange {
    pub(super) fn to_object(self) -> Object {
        members([("params", Some(self.params.to_object().into()))])
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        let params = Params::read(fields)?;
        Ok(Self { params })
    }
}

impl RulesChange {
    pub(super) fn to_object(self) -> Object {
        members([("rules", Some(self.rules.into()))])
    }

    pub(super) fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        let rules = read_u32(fields, "rules")?;
        Ok(Self { rules })
    }
}

impl Params {
    /// What a ledger gets that asks for nothing else.
    pub const DEFAULT: Self = Self {
        // Four minutes of a tenant that makes 1,000 state-changing requests a second, at about
        // 150 bytes of state each: 40 MB.
        dedup_window: 1 << 18,
        // 65,536 entries of about 1 KiB: files of 64 MiB.
        entries_per_file: 1 << 16,
        // 1,000 entries of at most 64 KiB bound what one operation adds to a command's work.
        entries_per_operation_max: 1_000,
        max_silence_ms: 60_000,
        max_skew_ms: 2_000,
        thin_hour_after_ms: 7 * 24 * 3_600_000,
        thin_minute_after_ms: 3_600_000,
        // Ten years of 365.25 days.
        ttl_ms_max: 315_576_000_000,
        value_len_max: 8 << 20,
    };

    /// What is wrong with the numbers, if anything: the name of one, the range that it must be in.
    pub fn check(&self) -> Result<(), ParamsError> {
        for (name, found, least, most) in self.ranges() {
            if !(least..=most).contains(&found) {
                return Err(ParamsError {
                    name,
                    found,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }

    /// Name, value, least and greatest of each.
    fn ranges(&self) -> [(&'static str, u64, u64, u64); 9] {
        let year_ms = 31_557_600_000;
        [
            // At least one request, so that its retry is known; at most 2.4 GB of state a tenant.
            ("dedup_window", self.dedup_window, 1, 1 << 24),
            ("entries_per_file", self.entries_per_file, 1 << 8, 1 << 20),
            // Two: the entry of a model's supersession, and one of its results.
            (
                "entries_per_operation_max",
                self.entries_per_operation_max,
                2,
                10_000,
            ),
            ("max_silence_ms", self.max_silence_ms, 1_000, 86_400_000),
            ("max_skew_ms", self.max_skew_ms, 10, 3_600_000),
            (
                "thin_hour_after_ms",
                self.thin_hour_after_ms,
                60_000,
                100 * year_ms,
            ),
            (
                "thin_minute_after_ms",
                self.thin_minute_after_ms,
                60_000,
                100 * year_ms,
            ),
            ("ttl_ms_max", self.ttl_ms_max, 1, 100 * year_ms),
            ("value_len_max", self.value_len_max, 1, 1 << 30),
        ]
    }

    fn to_object(self) -> Object {
        let ranges = self.ranges().into_iter();
        ranges
            .map(|(name, value, ..)| (name.to_owned(), int(value)))
            .collect()
    }

    fn read(fields: &mut Fields) -> Result<Self, EntryError> {
        let mut fields = fields.object("params")?;
        let params = Self {
            dedup_window: fields.int("dedup_window")?,
            entries_per_file: fields.int("entries_per_file")?,
            entries_per_operation_max: fields.int("entries_per_operation_max")?,
            max_silence_ms: fields.int("max_silence_ms")?,
            max_skew_ms: fields.int("max_skew_ms")?,
            thin_hour_after_ms: fields.int("thin_hour_after_ms")?,
            thin_minute_after_ms: fields.int("thin_minute_after_ms")?,
            ttl_ms_max: fields.int("ttl_ms_max")?,
            value_len_max: fields.int("value_len_max")?,
        };
        fields.finish()?;
        Ok(params)
    }
}

/// A number of the rules that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parameter `{name}` is `{found}`, which is not within {least} to {most}")]
pub struct ParamsError {
    /// Which number.
    pub name: &'static str,
    /// What it is.
    pub found: u64,
    /// The least it may be.
    pub least: u64,
    /// The most it may be.
    pub most: u64,
}

/// What is wrong with a list of first members, if anything.
pub(crate) fn members_problem(members: &[Member]) -> Option<String> {
    let nodes = members.iter().map(|member| member.node);
    let keys = members.iter().map(|member| member.cosigner);
    let distinct: BTreeSet<_> = keys.collect();
    if members.is_empty() || members.len() > MEMBERS_MAX {
        let count = members.len();
        Some(format!("has `{count}` members, not 1 to {MEMBERS_MAX}"))
    } else if nodes.clone().any(|node| node.0 == 0) || !nodes.is_sorted_by(|a, b| a < b) {
        Some("does not name nodes from 1 in ascending order".to_owned())
    } else if distinct.len() < members.len() {
        Some("names one cosigner key twice".to_owned())
    } else {
        None
    }
}

/// What is wrong with an origin, if anything: continues "field `x` ...".
pub(crate) fn origin_problem(origin: &str) -> Option<String> {
    let printable = origin.bytes().all(|b| b.is_ascii_graphic() && b != b'+');
    if printable && (1..=ORIGIN_LEN_MAX).contains(&origin.len()) {
        return None;
    }
    let want = format!("1 to {ORIGIN_LEN_MAX} printable ASCII characters without space or `+`");
    Some(format!("is {origin:?}, not {want}"))
}

fn read_origin(fields: &mut Fields) -> Result<String, EntryError> {
    let origin = fields.text("origin")?;
    match origin_problem(&origin) {
        None => Ok(origin),
        Some(problem) => Err(fields.malformed("origin", problem)),
    }
}

fn read_members(fields: &mut Fields) -> Result<Vec<Member>, EntryError> {
    let mut members = Vec::new();
    for mut item in fields.objects("members")? {
        members.push(Member::read(&mut item)?);
        item.finish()?;
    }
    match members_problem(&members) {
        None => Ok(members),
        Some(problem) => Err(fields.malformed("members", problem)),
    }
}

fn members_to_value(members: &[Member]) -> Value {
    let members = members.iter().map(|member| member.to_object().into());
    members.collect::<Vec<Value>>().into()
}

fn read_u32(fields: &mut Fields, key: &str) -> Result<u32, EntryError> {
    let number = fields.int(key)?;
    u32::try_from(number).map_err(|_| fields.not_understood(key, &number.to_string()))
}
