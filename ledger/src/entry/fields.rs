//! Reading the members of an object until none is left.

use super::EntryError;
use super::subject::{Subject, name_problem};
use crate::canonical::{Object, Value};
use crate::decimal::Decimal;
use crate::digest::{DigestAlgorithm, TaggedDigest};
use crate::text;

/// The members of an entry, of its body, or of an object inside; each is taken out as it is read,
/// and [`Fields::finish`] refuses what nobody asked for.
pub(super) struct Fields {
    place: String,
    object: Object,
}

impl Fields {
    pub(super) fn of_entry(value: Value) -> Result<Self, EntryError> {
        match value {
            Value::Object(object) => Ok(Self {
                place: String::new(),
                object,
            }),
            other => Err(EntryError::Malformed {
                key: String::new(),
                problem: format!("is missing: the entry is {}, not an object", other.kind()),
            }),
        }
    }

    /// # Errors
    /// When a member is left that this version does not know.
    pub(super) fn finish(self) -> Result<(), EntryError> {
        match self.object.iter().next() {
            None => Ok(()),
            Some((key, _)) => Err(self.not_understood(key, key)),
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.object.get(key).is_some()
    }

    /// The object whose members have not been taken yet.
    pub(super) fn rest(&self) -> &Object {
        &self.object
    }

    pub(super) fn drop_member(&mut self, key: &str) {
        self.object.remove(key);
    }

    pub(super) fn object(&mut self, key: &str) -> Result<Self, EntryError> {
        match self.take(key)? {
            Value::Object(object) => {
                let place = self.path(key) + ".";
                Ok(Self { place, object })
            }
            other => Err(self.wrong_kind(key, &other, "an object")),
        }
    }

    pub(super) fn objects(&mut self, key: &str) -> Result<Vec<Self>, EntryError> {
        let items = self.array(key)?;
        let place = self.path(key) + ".";
        let each = items.into_iter().map(|item| match item {
            Value::Object(object) => Ok(Self {
                place: place.clone(),
                object,
            }),
            other => Err(self.wrong_kind(key, &other, "an object")),
        });
        each.collect()
    }

    pub(super) fn array(&mut self, key: &str) -> Result<Vec<Value>, EntryError> {
        match self.take(key)? {
            Value::Array(items) => Ok(items),
            other => Err(self.wrong_kind(key, &other, "a list")),
        }
    }

    pub(super) fn text(&mut self, key: &str) -> Result<String, EntryError> {
        match self.take(key)? {
            Value::Str(text) => Ok(text),
            other => Err(self.wrong_kind(key, &other, "a string")),
        }
    }

    /// A text of 1 to `len_max` bytes.
    pub(super) fn text_within(&mut self, key: &str, len_max: usize) -> Result<String, EntryError> {
        let text = self.text(key)?;
        match text_problem(&text, len_max) {
            None => Ok(text),
            Some(problem) => Err(self.malformed(key, problem)),
        }
    }

    pub(super) fn name(&mut self, key: &str) -> Result<String, EntryError> {
        let name = self.text(key)?;
        match name_problem(&name) {
            None => Ok(name),
            Some(problem) => Err(self.malformed(key, problem)),
        }
    }

    pub(super) fn name_or_empty(&mut self, key: &str) -> Result<String, EntryError> {
        if self.object.get(key).and_then(Value::as_str) == Some("") {
            return self.text(key);
        }
        self.name(key)
    }

    pub(super) fn int(&mut self, key: &str) -> Result<u64, EntryError> {
        let value = self.take(key)?;
        let number = value.as_u64();
        number.ok_or_else(|| self.wrong_kind(key, &value, "an integer from 0"))
    }

    pub(super) fn int_or_null(&mut self, key: &str) -> Result<Option<u64>, EntryError> {
        if self.takes_null(key) {
            return Ok(None);
        }
        self.int(key).map(Some)
    }

    /// A text in the one spelling that `parse` accepts.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, EntryError> {
        let text = self.text(key)?;
        parse(&text).ok_or_else(|| self.malformed(key, format!("cannot be {text:?}")))
    }

    pub(super) fn parsed_or_null<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, EntryError> {
        if self.takes_null(key) {
            return Ok(None);
        }
        self.parsed(key, parse).map(Some)
    }

    pub(super) fn subject(&mut self, key: &str) -> Result<Subject, EntryError> {
        self.parsed(key, |text| Subject::parse(text).ok())
    }

    /// A subject that can take another's place: a result or a model.
    pub(super) fn successor(&mut self, key: &str) -> Result<Subject, EntryError> {
        match self.subject(key)? {
            found @ (Subject::Fingerprint(_) | Subject::Model(_)) => Ok(found),
            other => Err(self.malformed(key, format!("cannot be `{other}`"))),
        }
    }

    /// A model, as a subject.
    pub(super) fn model_subject(&mut self, key: &str) -> Result<Subject, EntryError> {
        match self.subject(key)? {
            found @ Subject::Model(_) => Ok(found),
            other => Err(self.malformed(key, format!("cannot be `{other}`"))),
        }
    }

    pub(super) fn decimal(&mut self, key: &str) -> Result<Decimal, EntryError> {
        self.parsed(key, |text| Decimal::parse(text).ok())
    }

    /// A digest with its tag.
    pub(super) fn tagged(&mut self, key: &str) -> Result<TaggedDigest, EntryError> {
        self.parsed(key, |text| {
            let digest = TaggedDigest::parse(text).ok()?;
            (digest.to_string() == text).then_some(digest)
        })
    }

    /// A SHA3-256 digest with its tag.
    pub(super) fn sha3(&mut self, key: &str) -> Result<[u8; 32], EntryError> {
        let digest = self.tagged(key)?;
        if digest.algorithm == DigestAlgorithm::Sha3_256 {
            Ok(digest.bytes)
        } else {
            Err(self.malformed(key, "is not tagged sha3-256:".to_owned()))
        }
    }

    /// Canonical base64 of exactly `N` bytes.
    pub(super) fn base64<const N: usize>(&mut self, key: &str) -> Result<[u8; N], EntryError> {
        self.parsed(key, |text| text::parse_base64(text)?.try_into().ok())
    }

    /// Reads a key that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&mut Self, &str) -> Result<T, EntryError>,
    ) -> Result<Option<T>, EntryError> {
        if self.has(key) {
            read(self, key).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn malformed(&self, key: &str, problem: String) -> EntryError {
        let key = self.path(key);
        EntryError::Malformed { key, problem }
    }

    pub(super) fn not_understood(&self, key: &str, found: &str) -> EntryError {
        let found = found.chars().take(FOUND_CHARS_MAX).collect();
        let key = self.path(key).chars().take(FOUND_CHARS_MAX).collect();
        EntryError::NotUnderstood { key, found }
    }

    fn take(&mut self, key: &str) -> Result<Value, EntryError> {
        let value = self.object.remove(key);
        value.ok_or_else(|| self.malformed(key, "is missing".to_owned()))
    }

    fn takes_null(&mut self, key: &str) -> bool {
        let null = self.object.get(key) == Some(&Value::Null);
        if null {
            self.object.remove(key);
        }
        null
    }

    fn wrong_kind(&self, key: &str, found: &Value, wanted: &str) -> EntryError {
        let found = found.kind();
        self.malformed(key, format!("is {found}, not {wanted}"))
    }

    fn path(&self, key: &str) -> String {
        format!("{}{key}", self.place)
    }
}

/// How much of what was not understood is repeated.
const FOUND_CHARS_MAX: usize = 80;

/// What is wrong with a free text, if anything: continues "field `x` ...".
pub(crate) fn text_problem(text: &str, len_max: usize) -> Option<String> {
    match text.len() {
        0 => Some("is empty".to_owned()),
        len if len > len_max => Some(format!("has `{len}` bytes, more than {len_max}")),
        _ => None,
    }
}

/// A number of an entry.
///
/// # Panics
/// Above 2^53 - 1; no number gets there that was read from an entry or passed the fold's limits.
pub(super) fn int(number: u64) -> Value {
    Value::try_from(number).expect("invariant: numbers of entries are at most 2^53 - 1")
}

/// A SHA3-256 digest as it stands in entries.
pub(super) fn sha3(digest: &[u8; 32]) -> Value {
    TaggedDigest::sha3(*digest).to_string().into()
}

/// Bytes as canonical base64.
pub(super) fn base64(bytes: &[u8]) -> Value {
    text::base64(bytes).into()
}

/// Adds the members of `more`, which have other keys.
pub(super) fn join(object: &mut Object, more: &Object) {
    for (key, value) in more.iter() {
        object.insert(key.to_owned(), value.clone());
    }
}

/// An object of the members that are there.
pub(super) fn members<const N: usize>(members: [(&str, Option<Value>); N]) -> Object {
    let members = members.into_iter();
    members
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}
