//! From bytes to [`Evidence`], and the rules of its form.

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::{
    CLAIMS_MAX, Claim, ENTRIES_MAX, EVIDENCE_LEN_MAX, Evidence, EvidenceError, FORMAT, NOTES_MAX,
    PATH_LEN_MAX, SEPARATORS_MAX, ShownEntry, ShownValue, VALUES_MAX,
};
use crate::canonical::{self, Object, Value};
use crate::digest::TaggedDigest;
use crate::ids::{Seq, TreeSize};
use crate::tree::NodeHash;

pub(super) fn parse(bytes: &[u8]) -> Result<Evidence, EvidenceError> {
    check_size(bytes)?;
    let Value::Object(mut file) = canonical::parse(bytes)? else {
        return Err(field("the file", "want an object"));
    };
    // The format first: another version may have other keys.
    match file.get("format") {
        Some(Value::Str(format)) if format == FORMAT => file.remove("format"),
        Some(Value::Str(format)) => return Err(EvidenceError::Format(format.clone())),
        _ => return Err(EvidenceError::Format(String::new())),
    };
    let mut file = Part::of(file, "the file".to_owned());
    let evidence = Evidence {
        origin: file.text("origin")?,
        tenant: file.text("tenant")?,
        subject: file.text("subject")?,
        size: TreeSize(file.number("size")?),
        notes: file.list("notes", NOTES_MAX, |at, value| as_text(value, at))?,
        entries: file.list("entries", ENTRIES_MAX, entry)?,
        values: file.list("values", VALUES_MAX, value)?,
        claims: claims(file.take("claims")?)?,
    };
    file.end()?;
    check_form(&evidence)?;
    Ok(evidence)
}

/// The rules that tie the parts together.
pub(super) fn check_form(evidence: &Evidence) -> Result<(), EvidenceError> {
    let Evidence {
        notes,
        entries,
        values,
        claims,
        ..
    } = evidence;
    let lists = [
        ("notes", notes.len(), NOTES_MAX),
        ("entries", entries.len(), ENTRIES_MAX),
        ("values", values.len(), VALUES_MAX),
        ("claims", claims.len(), CLAIMS_MAX),
    ];
    for (name, len, len_max) in lists {
        check_len(name, len, len_max)?;
    }
    if notes.is_empty() {
        return Err(field("notes", "want at least one checkpoint"));
    }
    if claims.is_empty() {
        return Err(field("claims", "want at least one claim"));
    }
    check_once("notes", notes)?;
    check_once("claims", claims)?;
    let hashes: Vec<[u8; 32]> = values.iter().map(|value| value.output_hash).collect();
    check_once("values", &hashes)?;
    check_entries(entries, notes.len())
}

fn check_entries(entries: &[ShownEntry], notes: usize) -> Result<(), EvidenceError> {
    for (at, (entry, after)) in entries.iter().zip(entries.iter().skip(1)).enumerate() {
        if entry.index >= after.index {
            let problem = format!(
                "index `{}` does not ascend from `{}`",
                after.index, entry.index
            );
            return Err(field(&format!("entries[{}]", at + 1), &problem));
        }
    }
    for (at, entry) in entries.iter().enumerate() {
        let problem = if usize::try_from(entry.note).map_or(true, |note| note >= notes) {
            format!("note `{}` is not among the {notes} notes", entry.note)
        } else if entry.path.len() > PATH_LEN_MAX {
            format!(
                "a path of {} hashes, the limit is {PATH_LEN_MAX}",
                entry.path.len()
            )
        } else {
            continue;
        };
        return Err(field(&format!("entries[{at}]"), &problem));
    }
    Ok(())
}

fn check_once<T: Ord>(name: &str, items: &[T]) -> Result<(), EvidenceError> {
    let mut seen = std::collections::BTreeMap::new();
    for (at, item) in items.iter().enumerate() {
        if let Some(first) = seen.insert(item, at) {
            let problem = format!("the same as {name}[{first}]");
            return Err(field(&format!("{name}[{at}]"), &problem));
        }
    }
    Ok(())
}

fn check_size(bytes: &[u8]) -> Result<(), EvidenceError> {
    if bytes.len() > EVIDENCE_LEN_MAX {
        let found = format!("{} bytes, the limit is {EVIDENCE_LEN_MAX}", bytes.len());
        return Err(EvidenceError::TooLarge(found));
    }
    let separators = bytes
        .iter()
        .filter(|byte| matches!(byte, b',' | b'[' | b'{'))
        .count();
    if separators > SEPARATORS_MAX {
        let found = format!("{separators} commas and brackets, the limit is {SEPARATORS_MAX}");
        return Err(EvidenceError::TooLarge(found));
    }
    Ok(())
}

fn check_len(at: &str, len: usize, len_max: usize) -> Result<(), EvidenceError> {
    if len > len_max {
        return Err(field(at, &format!("{len} items, the limit is {len_max}")));
    }
    Ok(())
}

fn entry(at: &str, item: Value) -> Result<ShownEntry, EvidenceError> {
    let mut part = Part::object(item, at)?;
    let entry = ShownEntry {
        line: part.text("line")?,
        index: Seq(part.number("index")?),
        path: part.list("path", PATH_LEN_MAX, hash)?,
        note: part.number("note")?,
    };
    part.end()?;
    Ok(entry)
}

fn value(at: &str, item: Value) -> Result<ShownValue, EvidenceError> {
    let mut part = Part::object(item, at)?;
    let hash = part.text("output_hash")?;
    let digest = TaggedDigest::parse(&hash).ok();
    let output_hash = digest
        .filter(|digest| TaggedDigest::sha3(digest.bytes).to_string() == hash)
        .ok_or_else(|| {
            field(
                &format!("{at}.output_hash"),
                "want sha3-256: and 64 hex digits",
            )
        })?
        .bytes;
    let encoded = part.text("base64")?;
    let bytes = base64(&encoded).ok_or_else(|| field(&format!("{at}.base64"), NOT_BASE64))?;
    part.end()?;
    Ok(ShownValue { output_hash, bytes })
}

fn hash(at: &str, item: Value) -> Result<NodeHash, EvidenceError> {
    let bytes = base64(&as_text(item, at)?).ok_or_else(|| field(at, NOT_BASE64))?;
    let hash = bytes.try_into().map_err(|_| field(at, "want 32 bytes"))?;
    Ok(NodeHash(hash))
}

fn claims(items: Value) -> Result<Vec<Claim>, EvidenceError> {
    let Value::Array(items) = items else {
        return Err(field("claims", "want a list"));
    };
    check_len("claims", items.len(), CLAIMS_MAX)?;
    items
        .into_iter()
        .enumerate()
        .map(|(at, item)| claim(at, item))
        .collect()
}

fn claim(position: usize, item: Value) -> Result<Claim, EvidenceError> {
    let at = format!("claims[{position}]");
    let mut part = Part::object(item, &at)?;
    let kind = part.text("type")?;
    let mut args = Part::object(part.take("args")?, &format!("{at}.args"))?;
    let claim = match kind.as_str() {
        "entry" => Claim::Entry {
            seq: Seq(args.number("seq")?),
        },
        "range" => Claim::Range {
            from: Seq(args.number("from")?),
            to: Seq(args.number("to")?),
        },
        "subject-absent" => Claim::SubjectAbsent,
        "subject-complete" => Claim::SubjectComplete,
        "subject-lifecycle" => Claim::SubjectLifecycle {
            from_n: args.number("from_n")?,
            to_n: args.number("to_n")?,
        },
        "value" => Claim::Value {
            seq: Seq(args.number("seq")?),
        },
        _ => return Err(EvidenceError::UnknownClaim { at: position, kind }),
    };
    args.end()?;
    part.end()?;
    match claim {
        Claim::Range { from, to } if from > to => Err(field(&at, "`from` is after `to`")),
        Claim::SubjectLifecycle { from_n, to_n } if from_n == 0 || from_n > to_n => {
            Err(field(&at, "want 1 <= `from_n` <= `to_n`"))
        }
        claim => Ok(claim),
    }
}

/// An object whose keys are taken out one by one; what is left over is an error.
struct Part {
    at: String,
    members: Object,
}

impl Part {
    fn of(members: Object, at: String) -> Self {
        Self { at, members }
    }

    fn object(item: Value, at: &str) -> Result<Self, EvidenceError> {
        match item {
            Value::Object(members) => Ok(Self::of(members, at.to_owned())),
            other => Err(wrong_kind(at, "an object", &other)),
        }
    }

    fn take(&mut self, key: &str) -> Result<Value, EvidenceError> {
        let missing = || field(&self.at, &format!("the key `{key}` is missing"));
        self.members.remove(key).ok_or_else(missing)
    }

    fn text(&mut self, key: &str) -> Result<String, EvidenceError> {
        let at = self.path(key);
        as_text(self.take(key)?, &at)
    }

    fn number(&mut self, key: &str) -> Result<u64, EvidenceError> {
        let value = self.take(key)?;
        let want = "an integer from 0";
        value
            .as_u64()
            .ok_or_else(|| wrong_kind(&self.path(key), want, &value))
    }

    fn list<T>(
        &mut self,
        key: &str,
        len_max: usize,
        read: impl Fn(&str, Value) -> Result<T, EvidenceError>,
    ) -> Result<Vec<T>, EvidenceError> {
        let at = self.path(key);
        let items = match self.take(key)? {
            Value::Array(items) => items,
            other => return Err(wrong_kind(&at, "a list", &other)),
        };
        check_len(&at, items.len(), len_max)?;
        let numbered = items.into_iter().enumerate();
        numbered
            .map(|(position, item)| read(&format!("{at}[{position}]"), item))
            .collect()
    }

    fn end(self) -> Result<(), EvidenceError> {
        match self.members.iter().next() {
            None => Ok(()),
            Some((key, _)) => Err(field(&self.at, &format!("the key `{key}` is unknown"))),
        }
    }

    fn path(&self, key: &str) -> String {
        match self.at.as_str() {
            "the file" => key.to_owned(),
            at => format!("{at}.{key}"),
        }
    }
}

const NOT_BASE64: &str = "want canonical base64 (RFC 4648 section 4, padded)";

/// Refuses set trailing bits and missing padding, so that bytes have one spelling.
fn base64(text: &str) -> Option<Vec<u8>> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    (BASE64_STANDARD.encode(&bytes) == text).then_some(bytes)
}

fn as_text(item: Value, at: &str) -> Result<String, EvidenceError> {
    match item {
        Value::Str(text) => Ok(text),
        other => Err(wrong_kind(at, "a string", &other)),
    }
}

fn wrong_kind(at: &str, want: &str, found: &Value) -> EvidenceError {
    field(at, &format!("want {want}, found {}", found.kind()))
}

fn field(at: &str, problem: &str) -> EvidenceError {
    EvidenceError::Field {
        at: at.to_owned(),
        problem: problem.to_owned(),
    }
}
