//! Canonical JSON (RFC 8785, JCS) over a subset of JSON in which every text has one meaning.
//!
//! Ordinary JSON libraries round integers above 2^53, let the last of two equal keys win and
//! replace lone surrogates, all silently: two parties could then hash the same bytes and read
//! different facts. So the tokens are checked as they are read, before any value exists:
//!
//! - UTF-8 without a byte order mark, nothing after the value;
//! - no two equal keys in an object, compared after unescaping;
//! - integers only, without fraction, exponent or `-0`, at most [`INT_MAX`] in magnitude;
//! - no lone surrogate, neither escaped nor as raw bytes;
//! - at most [`DEPTH_MAX`] arrays and objects inside each other.
//!
//! Strings are compared and kept as they are: there is no Unicode normalisation.

use core::cmp::Ordering;
use core::fmt;

mod parser;

/// How many arrays and objects may enclose each other: more than any format here needs, and few
/// enough that a reader may recurse.
pub const DEPTH_MAX: usize = 8;

/// The greatest magnitude of an integer: 2^53 - 1, the last one that every JSON reader holds
/// exactly (RFC 8785 section 3.2.2.3, RFC 7493 section 2.2).
pub const INT_MAX: i64 = (1 << 53) - 1;

/// How much of a key or number a [`JsonError`] repeats, in characters.
pub const QUOTED_CHARS_MAX: usize = 80;

/// A JSON value without fractions.
///
/// [`parse`] makes only values within [`INT_MAX`] and [`DEPTH_MAX`]; whoever builds one by hand
/// answers for both, and gets `NotCanonical` or a range error when the bytes are read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer of at most [`INT_MAX`] in magnitude.
    Int(i64),
    /// A string of Unicode scalar values.
    Str(String),
    /// A list.
    Array(Vec<Value>),
    /// An object without duplicate keys.
    Object(Object),
}

/// A JSON object, kept in the order JCS writes it: keys ascending by UTF-16 code units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object(Vec<(String, Value)>);

/// Reads one JSON value; whitespace, key order and escapes may be any that JSON allows.
///
/// Cost: linear in the input, but for sorting the keys of each object. Memory is at most about
/// 40 times the input (a list of digits), whose size is the caller's to limit.
///
/// # Errors
/// The first rule of this module that the bytes break, and where.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    parser::parse(bytes)
}

/// Reads one JSON value and requires the bytes to be its canonical form.
///
/// # Errors
/// As [`parse`]; [`JsonError::NotCanonical`] when the value is good and its spelling is not.
pub fn parse_canonical(bytes: &[u8]) -> Result<Value, JsonError> {
    let value = parse(bytes)?;
    let canonical = value.to_bytes();
    if canonical == bytes {
        return Ok(value);
    }
    let same = canonical.iter().zip(bytes).take_while(|(a, b)| a == b);
    Err(JsonError::NotCanonical { at: same.count() })
}

impl Value {
    /// The canonical form (RFC 8785), as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_text().into_bytes()
    }

    /// The canonical form (RFC 8785), as text.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    /// The string, if this is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, if this is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The integer, if this is one and not negative.
    pub fn as_u64(&self) -> Option<u64> {
        self.as_int().and_then(|number| u64::try_from(number).ok())
    }

    /// The truth value, if this is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// The list, if this is one.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The object, if this is one.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// What this is, for messages: `null`, `a boolean`, `an integer` ...
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Str(_) => "a string",
            Self::Array(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
            Self::Int(number) => out.push_str(&number.to_string()),
            Self::Str(text) => write_string(text, out),
            Self::Array(items) => write_list(items, ('[', ']'), out, Value::write),
            Self::Object(Object(members)) => {
                write_list(members, ('{', '}'), out, |(key, value), out| {
                    write_string(key, out);
                    out.push(':');
                    value.write(out);
                });
            }
        }
    }
}

impl Object {
    /// An object without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let at = self.position(key).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Sets a key, and returns the value it had.
    pub fn insert(&mut self, key: String, value: Value) -> Option<Value> {
        match self.position(&key) {
            Ok(at) => self
                .0
                .get_mut(at)
                .map(|(_, held)| core::mem::replace(held, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// Takes a key out, and returns the value it had.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.position(key).ok()?;
        Some(self.0.remove(at).1)
    }

    /// The members in canonical order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where a key is, or where it would have to be inserted.
    fn position(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(held, _)| utf16_order(held, key))
    }
}

/// The order of keys in RFC 8785 section 3.2.3; differs from the order of UTF-8 bytes where a
/// character beyond U+FFFF meets one from U+E000 up.
fn utf16_order(left: &str, right: &str) -> Ordering {
    left.encode_utf16().cmp(right.encode_utf16())
}

fn write_list<T>(
    items: &[T],
    (open, close): (char, char),
    out: &mut String,
    write: impl Fn(&T, &mut String),
) {
    out.push(open);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(close);
}

/// RFC 8785 section 3.2.2.2: the shortest escape where JSON demands one, all else as it is.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            control if control < ' ' => {
                let code = u32::from(control);
                out.push_str("\\u00");
                out.extend(char::from_digit(code >> 4, 16));
                out.extend(char::from_digit(code & 0xf, 16));
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
}

impl FromIterator<(String, Value)> for Object {
    /// Of equal keys the last one stays, as with [`Object::insert`].
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(members: I) -> Self {
        let mut object = Self::new();
        for (key, value) in members {
            object.insert(key, value);
        }
        object
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(i64::from(number))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::Array(items)
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl TryFrom<u64> for Value {
    type Error = IntTooLarge;

    fn try_from(number: u64) -> Result<Self, IntTooLarge> {
        match i64::try_from(number) {
            Ok(int) if int <= INT_MAX => Ok(Self::Int(int)),
            _ => Err(IntTooLarge(number)),
        }
    }
}

/// A number that canonical JSON cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is above 2^53 - 1, the greatest integer of canonical JSON")]
pub struct IntTooLarge(pub u64);

/// Why bytes were refused. `at` counts bytes from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The input starts with U+FEFF.
    #[error("byte 0: a byte order mark stands before the value")]
    ByteOrderMark,
    /// A control character stands in a string without its escape.
    #[error("byte {at}: control character 0x{byte:02x} is not escaped")]
    ControlCharacter {
        /// Where it stands.
        at: usize,
        /// Which one, 0x00 to 0x1f.
        byte: u8,
    },
    /// A key occurs twice in one object, perhaps in different spellings.
    #[error("byte {at}: key {key:?} occurs a second time in its object")]
    DuplicateKey {
        /// Where a later one stands.
        at: usize,
        /// The key, unescaped, as far as [`QUOTED_CHARS_MAX`] goes.
        key: String,
    },
    /// A backslash is followed by nothing that JSON knows.
    #[error("byte {at}: `\\{found}` is not an escape")]
    Escape {
        /// Where the backslash stands.
        at: usize,
        /// The characters after it, up to 5.
        found: String,
    },
    /// The bytes are not UTF-8; raw surrogates are found this way too.
    #[error("byte {at}: 0x{byte:02x} is not part of UTF-8 text")]
    InvalidUtf8 {
        /// The first byte that does not fit.
        at: usize,
        /// Its value.
        byte: u8,
    },
    /// An escape names half of a surrogate pair.
    #[error("byte {at}: `\\u{unit:04x}` is a surrogate without its other half")]
    LoneSurrogate {
        /// Where the backslash stands.
        at: usize,
        /// The code unit.
        unit: u16,
    },
    /// The value is good, but written in another way than RFC 8785 says.
    #[error("byte {at}: the JSON is not in canonical form (RFC 8785)")]
    NotCanonical {
        /// The first byte that differs from the canonical form.
        at: usize,
    },
    /// A number that this format does not have.
    #[error("byte {at}: number `{found}` {problem}")]
    Number {
        /// Where it starts.
        at: usize,
        /// Its characters, as far as they were read and [`QUOTED_CHARS_MAX`] goes.
        found: String,
        /// What is wrong with it.
        problem: NumberProblem,
    },
    /// More than [`DEPTH_MAX`] arrays and objects inside each other.
    #[error("byte {at}: `{found}` opens more than {DEPTH_MAX} levels")]
    TooDeep {
        /// Where the bracket stands.
        at: usize,
        /// The bracket.
        found: char,
    },
    /// Something stands after the value.
    #[error("byte {at}: {found} after the end of the value")]
    Trailing {
        /// Where it starts.
        at: usize,
        /// What stands there.
        found: Found,
    },
    /// The grammar of JSON is broken.
    #[error("byte {at}: expected {expected}, found {found}")]
    Unexpected {
        /// Where.
        at: usize,
        /// What could have stood there.
        expected: &'static str,
        /// What stands there.
        found: Found,
    },
}

/// Why a number was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberProblem {
    /// An `e` or `E` follows the digits.
    Exponent,
    /// A `.` follows the digits.
    Fraction,
    /// A digit follows a leading 0.
    LeadingZero,
    /// The number is `-0`.
    NegativeZero,
    /// Its magnitude is above [`INT_MAX`].
    OutOfRange,
}

impl fmt::Display for NumberProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exponent => "has an exponent: write fractions and large numbers as strings",
            Self::Fraction => "has a fraction: write it as a string",
            Self::LeadingZero => "starts with 0",
            Self::NegativeZero => "must be written 0",
            Self::OutOfRange => "is beyond 2^53 - 1: write it as a string",
        })
    }
}

/// What stands at a place where it must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A character, printed escaped.
    Char(char),
    /// The end of the input.
    End,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Char(char) => write!(f, "`{}`", char.escape_debug()),
            Self::End => f.write_str("the end of the input"),
        }
    }
}

#[cfg(test)]
mod tests;
