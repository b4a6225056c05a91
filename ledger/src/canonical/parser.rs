//! The reader: recursive descent over text known to be UTF-8, at most [`DEPTH_MAX`] calls deep.

use super::{
    DEPTH_MAX, Found, INT_MAX, JsonError, NumberProblem, Object, QUOTED_CHARS_MAX, Value,
    utf16_order,
};

pub(super) fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    if bytes.starts_with("\u{feff}".as_bytes()) {
        return Err(JsonError::ByteOrderMark);
    }
    let text = core::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        let byte = *bytes.get(at).expect("invariant: an error has a place");
        JsonError::InvalidUtf8 { at, byte }
    })?;
    let mut parser = Parser { text, at: 0 };
    parser.skip_space();
    let value = parser.value(0)?;
    parser.skip_space();
    match parser.found() {
        Found::End => Ok(value),
        found @ Found::Char(_) => Err(JsonError::Trailing {
            at: parser.at,
            found,
        }),
    }
}

/// `at` is always the boundary of a character: it moves over whole ASCII characters, and over
/// runs that end before one.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

/// A member as it stands in the text, before the object is put in order.
struct Member {
    at: usize,
    key: String,
    value: Value,
}

impl<'a> Parser<'a> {
    /// Reads a value that `depth` arrays and objects enclose.
    fn value(&mut self, depth: usize) -> Result<Value, JsonError> {
        match self.peek() {
            Some(b'{') => self.object(depth).map(Value::Object),
            Some(b'[') => self.array(depth).map(Value::Array),
            Some(b'"') => self.string().map(Value::Str),
            Some(b'-' | b'0'..=b'9') => self.integer().map(Value::Int),
            Some(b't') => self.word("true", "`true`", Value::Bool(true)),
            Some(b'f') => self.word("false", "`false`", Value::Bool(false)),
            Some(b'n') => self.word("null", "`null`", Value::Null),
            _ => Err(self.unexpected("a value")),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Object, JsonError> {
        self.open('{', depth)?;
        let mut members = Vec::new();
        if self.take(b'}') {
            return Ok(Object::new());
        }
        loop {
            members.push(self.member(depth)?);
            if self.take(b'}') {
                return in_order(members);
            }
            if !self.take(b',') {
                return Err(self.unexpected("`,` or `}`"));
            }
            self.skip_space();
        }
    }

    fn member(&mut self, depth: usize) -> Result<Member, JsonError> {
        let at = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a key"));
        }
        let key = self.string()?;
        self.skip_space();
        if !self.take(b':') {
            return Err(self.unexpected("`:`"));
        }
        self.skip_space();
        let value = self.value(depth + 1)?;
        self.skip_space();
        Ok(Member { at, key, value })
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Value>, JsonError> {
        self.open('[', depth)?;
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(items);
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_space();
            if self.take(b']') {
                return Ok(items);
            }
            if !self.take(b',') {
                return Err(self.unexpected("`,` or `]`"));
            }
            self.skip_space();
        }
    }

    /// Steps over an opening bracket and the space behind it.
    fn open(&mut self, found: char, depth: usize) -> Result<(), JsonError> {
        if depth >= DEPTH_MAX {
            return Err(JsonError::TooDeep { at: self.at, found });
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn word(
        &mut self,
        word: &str,
        expected: &'static str,
        value: Value,
    ) -> Result<Value, JsonError> {
        for byte in word.bytes() {
            if !self.take(byte) {
                return Err(self.unexpected(expected));
            }
        }
        Ok(value)
    }

    fn integer(&mut self) -> Result<i64, JsonError> {
        let start = self.at;
        let negative = self.take(b'-');
        let digits_at = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        let digits = self.since(digits_at);
        let problem = match (digits, self.peek()) {
            ("", _) => return Err(self.unexpected("a digit")),
            (_, Some(b'.')) => NumberProblem::Fraction,
            (_, Some(b'e' | b'E')) => NumberProblem::Exponent,
            ("0", _) if negative => NumberProblem::NegativeZero,
            ("0", _) => return Ok(0),
            (zero, _) if zero.starts_with('0') => NumberProblem::LeadingZero,
            (plain, _) => match plain.parse::<i64>() {
                Ok(number) if number <= INT_MAX => {
                    return Ok(if negative { -number } else { number });
                }
                _ => NumberProblem::OutOfRange,
            },
        };
        Err(JsonError::Number {
            at: start,
            found: excerpt(self.since(start)),
            problem,
        })
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.at += 1;
        let mut string = String::new();
        loop {
            let start = self.at;
            while self
                .peek()
                .is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f))
            {
                self.at += 1;
            }
            string.push_str(self.since(start));
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(b'\\') => string.push(self.escape()?),
                Some(byte) => return Err(JsonError::ControlCharacter { at: self.at, byte }),
                None => return Err(self.unexpected("the end of the string")),
            }
        }
    }

    /// Reads an escape, both halves of a surrogate pair included.
    fn escape(&mut self) -> Result<char, JsonError> {
        let at = self.at;
        self.at += 1;
        let plain = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            _ => {
                self.at = at;
                return self.escaped_char();
            }
        };
        self.at += 1;
        Ok(plain)
    }

    fn escaped_char(&mut self) -> Result<char, JsonError> {
        let at = self.at;
        let unit = self.code_unit()?;
        let mut units = vec![unit];
        if (0xd800..0xdc00).contains(&unit) && self.rest().starts_with("\\u") {
            units.push(self.code_unit()?);
        }
        let mut chars = char::decode_utf16(units);
        match (chars.next(), chars.next()) {
            (Some(Ok(char)), None) => Ok(char),
            _ => Err(JsonError::LoneSurrogate { at, unit }),
        }
    }

    /// Reads `\uXXXX`.
    fn code_unit(&mut self) -> Result<u16, JsonError> {
        let at = self.at;
        let digits = self.rest().strip_prefix("\\u").and_then(|t| t.get(..4));
        let unit = digits
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let Some(unit) = unit else {
            let found = self.rest().chars().skip(1).take(5).collect();
            return Err(JsonError::Escape { at, found });
        };
        self.at += 6;
        Ok(unit)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let taken = self.peek() == Some(byte);
        self.at += usize::from(taken);
        taken
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text
            .get(self.at..)
            .expect("invariant: `at` is a boundary of a character")
    }

    fn since(&self, start: usize) -> &'a str {
        self.text
            .get(start..self.at)
            .expect("invariant: `start` and `at` are boundaries of characters")
    }

    fn found(&self) -> Found {
        self.rest().chars().next().map_or(Found::End, Found::Char)
    }

    fn unexpected(&self, expected: &'static str) -> JsonError {
        JsonError::Unexpected {
            at: self.at,
            expected,
            found: self.found(),
        }
    }
}

/// Errors travel in replies: what they quote is cut.
fn excerpt(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}

/// Sorts members by key; the sort keeps equal keys as they stood, so a duplicate is the later one.
fn in_order(mut members: Vec<Member>) -> Result<Object, JsonError> {
    members.sort_by(|left, right| utf16_order(&left.key, &right.key));
    if let Some([_, again]) = members
        .array_windows()
        .find(|[left, right]| left.key == right.key)
    {
        return Err(JsonError::DuplicateKey {
            at: again.at,
            key: excerpt(&again.key),
        });
    }
    let pairs = members.into_iter().map(|member| (member.key, member.value));
    Ok(Object(pairs.collect()))
}
