//! Reads the bytes of a record from the front. It accepts any bytes: it never panics and allocates
//! no more than it was given. It does not interpret the values.

use crate::limits::TIME_MS_MAX;

/// Bytes that can't be decoded. Names the value that was being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed(pub &'static str);

/// The value, if it is legal.
pub(super) fn check<T>(legal: bool, value: T, what: &'static str) -> Result<T, Malformed> {
    if legal { Ok(value) } else { Err(Malformed(what)) }
}

/// Reads from the front of some bytes.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from these bytes.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether everything has been read.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As many bytes as fit.
    pub(super) fn take<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed(what))?;
        self.0 = rest;
        Ok(*bytes)
    }

    /// One byte.
    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.take::<1>(what).map(|[byte]| byte)
    }

    /// Four bytes.
    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.take(what).map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub(super) fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.take(what).map(u64::from_le_bytes)
    }

    /// A time that a machine can add a hold time to.
    pub(super) fn time(&mut self) -> Result<u64, Malformed> {
        self.u64("time").and_then(|now_ms| check(now_ms <= TIME_MS_MAX, now_ms, "time"))
    }

    /// A text that may be longer than 255 bytes.
    pub(super) fn long_text(&mut self, what: &'static str) -> Result<&'a str, Malformed> {
        let length = usize::from(self.take(what).map(u16::from_le_bytes)?);
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed(what))?;
        self.0 = rest;
        std::str::from_utf8(bytes).map_err(|_| Malformed(what))
    }

    /// A text.
    pub(super) fn text(&mut self, what: &'static str) -> Result<&'a str, Malformed> {
        let length = usize::from(self.byte(what)?);
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed(what))?;
        self.0 = rest;
        std::str::from_utf8(bytes).map_err(|_| Malformed(what))
    }
}
