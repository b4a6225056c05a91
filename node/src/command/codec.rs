//! The primitives of the command codec.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::CommandError;

#[derive(Default)]
pub(super) struct Writer(BytesMut);

impl Writer {
    pub(super) fn u8(&mut self, value: u8) {
        self.0.put_u8(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.put_u32(value);
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.put_u64(value);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.put_slice(bytes);
    }

    pub(super) fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("invariant: commands are bounded far below 4 GiB"));
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.raw(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(super) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.u8(0),
            Some(value) => {
                self.u8(1);
                write(self, value);
            }
        }
    }

    pub(super) fn finish(self) -> Bytes {
        self.0.freeze()
    }
}

pub(super) struct Reader(Bytes);

impl Reader {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, CommandError> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }

    pub(super) fn u32(&mut self) -> Result<u32, CommandError> {
        self.need(4)?;
        Ok(self.0.get_u32())
    }

    pub(super) fn u64(&mut self) -> Result<u64, CommandError> {
        self.need(8)?;
        Ok(self.0.get_u64())
    }

    pub(super) fn flag(&mut self) -> Result<bool, CommandError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CommandError::Malformed("a flag is 0 or 1")),
        }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], CommandError> {
        self.need(N)?;
        let mut array = [0; N];
        self.0.copy_to_slice(&mut array);
        Ok(array)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, CommandError> {
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        self.need(length)?;
        Ok(self.0.split_to(length))
    }

    pub(super) fn text(&mut self) -> Result<String, CommandError> {
        text(&self.bytes()?)
    }

    pub(super) fn rest_text(&mut self) -> Result<String, CommandError> {
        let rest = self.0.split_off(0);
        text(&rest)
    }

    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, CommandError>,
    ) -> Result<Option<T>, CommandError> {
        if self.flag()? {
            read(self).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn finish(&self) -> Result<(), CommandError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(CommandError::Malformed("bytes are left over"))
        }
    }

    fn need(&self, length: usize) -> Result<(), CommandError> {
        if self.0.len() >= length {
            Ok(())
        } else {
            Err(CommandError::Malformed("it ends early"))
        }
    }
}

fn text(bytes: &Bytes) -> Result<String, CommandError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| CommandError::Malformed("a text is not UTF-8"))
}
