//! The bytes of keys and records: big-endian numbers, lengths before what varies, and a leading 0
//! or 1 before what may be missing. Reading is strict, so that equal records have equal bytes and
//! the other way round: the digest of a state rests on it.

use crate::time::Micros;

/// Bytes that are no key or record of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no {what}: {problem} at byte `{at}`")]
pub struct CodecError {
    /// What they were read as.
    pub what: &'static str,
    /// What is wrong.
    pub problem: &'static str,
    /// Where, counted from 0.
    pub at: usize,
}

/// Appends values to bytes.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn u8(&mut self, number: u8) -> &mut Self {
        self.raw(&[number])
    }

    pub(super) fn u32(&mut self, number: u32) -> &mut Self {
        self.raw(&number.to_be_bytes())
    }

    pub(super) fn u64(&mut self, number: u64) -> &mut Self {
        self.raw(&number.to_be_bytes())
    }

    pub(super) fn flag(&mut self, flag: bool) -> &mut Self {
        self.u8(u8::from(flag))
    }

    /// Bytes whose length the reader knows.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn count(&mut self, count: usize) -> &mut Self {
        self.u32(u32::try_from(count).expect("invariant: parts of records are short"))
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.count(text.len()).raw(text.as_bytes())
    }

    /// A name in a key: ended by a zero byte, which no name holds, so that order is kept.
    pub(super) fn name(&mut self, name: &str) -> &mut Self {
        self.raw(name.as_bytes()).u8(0)
    }

    pub(super) fn option<T>(
        &mut self,
        value: Option<&T>,
        write: impl FnOnce(&mut Self, &T),
    ) -> &mut Self {
        self.flag(value.is_some());
        if let Some(value) = value {
            write(self, value);
        }
        self
    }
}

/// Takes values off bytes.
pub(super) struct Reader<'a> {
    what: &'static str,
    whole: usize,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        let (whole, rest) = (bytes.len(), bytes);
        Self { what, whole, rest }
    }

    pub(super) fn finish(self) -> Result<(), CodecError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.refused("there is more than fits"))
        }
    }

    pub(super) fn refused(&self, problem: &'static str) -> CodecError {
        CodecError {
            what: self.what,
            problem,
            at: self.whole.saturating_sub(self.rest.len()),
        }
    }

    pub(super) fn raw(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        let split = self.rest.split_at_checked(len);
        let (taken, rest) = split.ok_or_else(|| self.refused("the end is missing"))?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let bytes = self.raw(N)?;
        Ok(bytes
            .try_into()
            .expect("invariant: exactly N bytes were taken"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, CodecError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, CodecError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, CodecError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn micros(&mut self) -> Result<Micros, CodecError> {
        self.u64().map(Micros)
    }

    pub(super) fn flag(&mut self) -> Result<bool, CodecError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.refused("a flag is neither 0 nor 1")),
        }
    }

    pub(super) fn text(&mut self) -> Result<String, CodecError> {
        let len = self.count()?;
        let bytes = self.raw(len)?;
        self.utf8(bytes)
    }

    pub(super) fn name(&mut self) -> Result<String, CodecError> {
        let end = self.rest.iter().position(|byte| *byte == 0);
        let bytes = self.raw(end.ok_or_else(|| self.refused("a name has no end"))?)?;
        self.raw(1)?;
        self.utf8(bytes)
    }

    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, CodecError>,
    ) -> Result<Option<T>, CodecError> {
        if self.flag()? {
            read(self).map(Some)
        } else {
            Ok(None)
        }
    }

    /// A list; a count that lies costs no memory, for it ends where the bytes do.
    pub(super) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, CodecError>,
    ) -> Result<Vec<T>, CodecError> {
        let (count, mut items) = (self.count()?, Vec::new());
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    /// A text in the one spelling that `parse` accepts.
    pub(super) fn parsed<T>(
        &mut self,
        problem: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, CodecError> {
        let text = self.text()?;
        parse(&text).ok_or_else(|| self.refused(problem))
    }

    fn count(&mut self) -> Result<usize, CodecError> {
        let count = self.u32()?;
        usize::try_from(count).map_err(|_| self.refused("a length does not fit"))
    }

    fn utf8(&self, bytes: &[u8]) -> Result<String, CodecError> {
        let text = core::str::from_utf8(bytes);
        text.map(str::to_owned)
            .map_err(|_| self.refused("a text is not UTF-8"))
    }
}
