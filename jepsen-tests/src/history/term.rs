//! The notation under both forms of a history: EDN, which Jepsen's tools read, and JSON.
//!
//! Only what a history needs of EDN: nil, booleans, integers, strings, keywords, vectors, and maps whose
//! keys are keywords. Anything else is an error, never skipped.

use std::fmt::Write as _;

/// A value in either notation. In JSON a word is a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(u64),
    /// A vector.
    List(Vec<Self>),
    /// A map from keywords, in the order in which it is written.
    Map(Vec<(String, Self)>),
    /// Nothing.
    Nil,
    /// A string.
    Text(String),
    /// A keyword, without its colon.
    Word(String),
}

/// Text that is no term.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: {problem}")]
pub struct TermError {
    /// Where reading ended.
    pub at: usize,
    /// What is wrong there.
    pub problem: String,
}

impl Term {
    /// A string.
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// A keyword.
    pub fn word(word: &str) -> Self {
        Self::Word(word.to_owned())
    }

    /// What a map holds under a key.
    pub fn find(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(members) => members.iter().find(|(name, _)| name == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// A whole number.
    pub fn as_int(&self) -> Option<u64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// A string or a keyword: JSON does not tell them apart.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Word(text) => Some(text),
            _ => None,
        }
    }

    /// The EDN form, on one line.
    pub fn to_edn(&self) -> String {
        let mut out = String::new();
        self.write_edn(&mut out);
        out
    }

    /// Reads the EDN form.
    ///
    /// # Errors
    /// [`TermError`] where the text is not one term.
    pub fn parse_edn(text: &str) -> Result<Self, TermError> {
        let mut reader = Reader { text, at: 0 };
        let term = reader.term(0)?;
        match reader.peek() {
            None => Ok(term),
            Some(other) => Err(reader.wrong(format!("`{other}` after the end"))),
        }
    }

    /// The JSON form.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Self::Bool(yes) => Value::from(*yes),
            Self::Int(number) => Value::from(*number),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(members) => members
                .iter()
                .map(|(key, value)| (key.clone(), value.to_json()))
                .collect(),
            Self::Nil => Value::Null,
            Self::Text(text) | Self::Word(text) => Value::from(text.as_str()),
        }
    }

    /// Reads the JSON form; every string becomes a text.
    ///
    /// # Errors
    /// [`TermError`] for a number that is negative, fractional or too large.
    pub fn from_json(value: &serde_json::Value) -> Result<Self, TermError> {
        use serde_json::Value;
        Ok(match value {
            Value::Null => Self::Nil,
            Value::Bool(yes) => Self::Bool(*yes),
            Value::Number(number) => Self::Int(number.as_u64().ok_or_else(|| TermError {
                at: 0,
                problem: format!("`{number}` is no whole number"),
            })?),
            Value::String(text) => Self::text(text),
            Value::Array(items) => Self::List(
                items
                    .iter()
                    .map(Self::from_json)
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(members) => {
                let member = |(key, value): (&String, &Value)| {
                    Ok::<_, TermError>((key.clone(), Self::from_json(value)?))
                };
                Self::Map(members.iter().map(member).collect::<Result<_, _>>()?)
            }
        })
    }

    fn write_edn(&self, out: &mut String) {
        match self {
            Self::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
            Self::Int(number) => {
                let _ = write!(out, "{number}");
            }
            Self::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at == 0 { "" } else { " " });
                    item.write_edn(out);
                }
                out.push(']');
            }
            Self::Map(members) => {
                out.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    let _ = write!(out, "{}:{key} ", if at == 0 { "" } else { ", " });
                    value.write_edn(out);
                }
                out.push('}');
            }
            Self::Nil => out.push_str("nil"),
            Self::Word(word) if is_keyword(word) => {
                let _ = write!(out, ":{word}");
            }
            // The escapes of JSON are escapes of EDN.
            Self::Text(text) | Self::Word(text) => {
                let _ = write!(out, "{}", serde_json::Value::from(text.as_str()));
            }
        }
    }
}

/// Whether EDN can spell it as a keyword and reads it back as the same. Others are written as strings:
/// [`Term::as_str`] does not tell them apart.
fn is_keyword(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.*+!?/<>=$%&|".contains(c);
    !word.is_empty() && word.chars().all(plain)
}

/// A history nests four deep; deeper text is no history, and must not exhaust the stack.
const DEPTH_MAX: usize = 16;

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next character that means something: commas are white space in EDN.
    fn peek(&mut self) -> Option<char> {
        let rest = self.rest();
        let skipped = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
        self.at += rest.len() - skipped.len();
        skipped.chars().next()
    }

    fn wrong(&self, problem: String) -> TermError {
        let at = self.at;
        TermError { at, problem }
    }

    fn term(&mut self, depth: usize) -> Result<Term, TermError> {
        if depth == DEPTH_MAX {
            return Err(self.wrong("nested too deep".to_owned()));
        }
        match self.peek() {
            Some('{') => self.map(depth),
            Some('[') => self.list(depth),
            Some('"') => self.string().map(Term::Text),
            Some(':') => self.keyword().map(Term::Word),
            Some(_) => self.symbol(),
            None => Err(self.wrong("the text ends".to_owned())),
        }
    }

    fn map(&mut self, depth: usize) -> Result<Term, TermError> {
        self.at += 1;
        let mut members: Vec<(String, Term)> = Vec::new();
        loop {
            match self.peek() {
                Some('}') => {
                    self.at += 1;
                    return Ok(Term::Map(members));
                }
                Some(':') => {
                    let key = self.keyword()?;
                    if members.iter().any(|(name, _)| *name == key) {
                        return Err(self.wrong(format!("`:{key}` a second time")));
                    }
                    members.push((key, self.term(depth + 1)?));
                }
                _ => return Err(self.wrong("a map wants a keyword or `}`".to_owned())),
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Term, TermError> {
        self.at += 1;
        let mut items = Vec::new();
        while self.peek() != Some(']') {
            items.push(self.term(depth + 1)?);
        }
        self.at += 1;
        Ok(Term::List(items))
    }

    fn keyword(&mut self) -> Result<String, TermError> {
        self.at += 1;
        match self.token() {
            "" => Err(self.wrong("a keyword without a name".to_owned())),
            name => Ok(name.to_owned()),
        }
    }

    fn symbol(&mut self) -> Result<Term, TermError> {
        match self.token() {
            "nil" => Ok(Term::Nil),
            "true" => Ok(Term::Bool(true)),
            "false" => Ok(Term::Bool(false)),
            token => match token.parse() {
                Ok(number) => Ok(Term::Int(number)),
                Err(_) => Err(self.wrong(format!("`{token}` is no term"))),
            },
        }
    }

    fn token(&mut self) -> &'a str {
        let rest = self.rest();
        let ends = |c: char| c.is_whitespace() || "{}[]\",:()".contains(c);
        let token = rest.get(..rest.find(ends).unwrap_or(rest.len()));
        let token = token.unwrap_or_default();
        self.at += token.len();
        token
    }

    fn string(&mut self) -> Result<String, TermError> {
        self.at += 1;
        let mut out = String::new();
        let mut chars = self.rest().chars();
        while let Some(char) = chars.next() {
            self.at += char.len_utf8();
            match char {
                '"' => return Ok(out),
                '\\' => out.push(self.escape(&mut chars)?),
                other => out.push(other),
            }
        }
        Err(self.wrong("a string without its end".to_owned()))
    }

    fn escape(&mut self, chars: &mut std::str::Chars<'_>) -> Result<char, TermError> {
        let escape = chars.next();
        self.at += escape.map_or(0, char::len_utf8);
        match escape {
            Some('b') => Ok('\u{8}'),
            Some('f') => Ok('\u{c}'),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some(plain @ ('"' | '\\')) => Ok(plain),
            Some('u') => {
                let digits: String = chars.take(4).collect();
                self.at += digits.len();
                let code = u32::from_str_radix(&digits, 16)
                    .ok()
                    .and_then(char::from_u32);
                code.ok_or_else(|| self.wrong(format!("`\\u{digits}` is no character")))
            }
            _ => Err(self.wrong("an unknown escape".to_owned())),
        }
    }
}
