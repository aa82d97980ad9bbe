//! Parsers of the Redis ledger that are otherwise private, for tests/fuzz.

use std::io::{self, Read};

use redis::Value;

use super::reading::Reader;

/// Returns at most this many bytes per read.
struct Pieces<'a> {
    bytes: &'a [u8],
    piece_bytes: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.piece_bytes.min(self.bytes.len()).min(buffer.len());
        let (piece, rest) = self.bytes.split_at(count);
        buffer[..count].copy_from_slice(piece);
        self.bytes = rest;
        Ok(count)
    }
}

/// The replies at the start of these bytes, as a core's connection reads them when they arrive in
/// pieces of this size.
pub fn replies(bytes: &[u8], piece_bytes: usize) -> Vec<Value> {
    let mut stream = Pieces { bytes, piece_bytes: piece_bytes.max(1) };
    let mut reader = Reader::default();
    std::iter::from_fn(|| reader.read(&mut stream).ok()).collect()
}
