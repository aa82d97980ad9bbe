//! Files of numbered, checksummed records: the common form of journals and snapshots.
//!
//! A file is a header and then records, each `salt, number, length, checksum, payload`. The salt is
//! drawn at random per file and is secret, so no user or key that a client sends can look like a
//! record to a search through damaged bytes for the next good one. Numbers follow each other
//! without a gap.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memchr::memmem;

use super::marker::{FORMAT_VERSION, FORMAT_VERSION_MIN};
use super::open_error::OpenError;
use crate::random;

/// Bytes before a record's payload.
pub(super) const RECORD_HEADER_BYTES: usize = 8 + 8 + 4 + 4;
/// The maximum payload of a record. Longer ones are neither written nor accepted.
pub(super) const RECORD_BYTES_MAX: usize = 64 << 20;
/// Bytes before a file's first record.
pub(super) const FILE_HEADER_BYTES: usize = 16 + 4 + 4 + 8 + 8 + 8 + 4;

/// Highest number that a file's header may have: half of the range, so that additions stay within it.
const NUMBER_MAX: u64 = i64::MAX as u64;
const MAGIC: &[u8; 16] = b"stampede records";
const READ_BYTES: usize = 1 << 20;

/// Tells a long read or write to stop.
#[derive(Debug, Clone, Default)]
pub(super) struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Stops it.
    pub(super) fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns an error once it is raised.
    pub(super) fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(io::Error::new(ErrorKind::Interrupted, "given up: the ledger stops")),
            false => Ok(()),
        }
    }
}

/// The kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    Journal = 1,
    Snapshot = 2,
}

/// The header of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub kind: Kind,
    /// Counts from 1.
    pub generation: u64,
    /// Journal: the number of its first record, from 1. Snapshot: of the first record after it.
    pub first_number: u64,
    pub salt: u64,
}

impl FileHeader {
    /// A header with a new random salt.
    pub(super) fn new(kind: Kind, generation: u64, first_number: u64) -> io::Result<Self> {
        let salt = random::u64().map_err(io::Error::other)?;
        Ok(Self { kind, generation, first_number, salt })
    }

    /// The header as bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FILE_HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(self.kind as u32).to_le_bytes());
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        for number in [self.generation, self.first_number, self.salt] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; FILE_HEADER_BYTES], kind: Kind) -> Option<Self> {
        let (body, checksum) = bytes.split_last_chunk::<4>()?;
        let whole = crc32fast::hash(body) == u32::from_le_bytes(*checksum)
            && body.starts_with(MAGIC)
            && u32_at(body, 16) == kind as u32
            && (FORMAT_VERSION_MIN..=FORMAT_VERSION).contains(&u32_at(body, 20));
        let [generation, first_number, salt] = [24, 32, 40].map(|at| u64_at(body, at));
        let counted = [generation, first_number].iter().all(|n| (1..=NUMBER_MAX).contains(n));
        (whole && counted).then_some(Self { kind, generation, first_number, salt })
    }
}

/// Fills in the header of a record: `bytes` is space for it ([`RECORD_HEADER_BYTES`]) and then the
/// payload.
pub(super) fn seal(bytes: &mut [u8], salt: u64, number: u64) {
    let length = bytes.len() - RECORD_HEADER_BYTES;
    assert!(length <= RECORD_BYTES_MAX, "record of {length} bytes");
    bytes[..8].copy_from_slice(&salt.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    bytes[16..20].copy_from_slice(&(length as u32).to_le_bytes());
    let checksum = checksum(&bytes[..20], &bytes[RECORD_HEADER_BYTES..]);
    bytes[20..24].copy_from_slice(&checksum.to_le_bytes());
}

/// Reads a file from its start, record by record.
pub(super) struct Records {
    path: PathBuf,
    input: BufReader<File>,
    header: FileHeader,
    file_bytes: u64,
    offset: u64,
    /// Where the last record that was read begins.
    record_at: u64,
    /// Its bytes, after space for its header.
    record: Vec<u8>,
    /// Bytes that may not be a record.
    candidate: Vec<u8>,
    stop: StopFlag,
}

impl Records {
    /// Opens a file and reads its header.
    pub(super) fn open(
        path: &Path,
        kind: Kind,
        generation: u64,
        stop: &StopFlag,
    ) -> Result<Self, OpenError> {
        let fail = |error| OpenError::from_io(path, error);
        let file = File::open(path).map_err(fail)?;
        let file_bytes = file.metadata().map_err(fail)?.len();
        let mut input = BufReader::with_capacity(READ_BYTES, file);
        let mut bytes = [0; FILE_HEADER_BYTES];
        let whole = read_whole(&mut input, &mut bytes).map_err(fail)?;
        let header = FileHeader::decode(&bytes, kind)
            .filter(|header| whole && header.generation == generation)
            .ok_or_else(|| OpenError::corrupt(path, 0, "file header"))?;
        Ok(Self {
            path: path.to_owned(),
            input,
            header,
            file_bytes,
            offset: bytes.len() as u64,
            record_at: 0,
            record: vec![0; RECORD_HEADER_BYTES],
            candidate: Vec::new(),
            stop: stop.clone(),
        })
    }

    /// The file's header.
    pub(super) fn header(&self) -> &FileHeader {
        &self.header
    }

    /// The end of the last record that was read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes in the whole file.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// The payload of the record with this number, which must be the next. `None`: the next bytes
    /// are not that record.
    pub(super) fn next(&mut self, number: u64) -> Result<Option<&[u8]>, OpenError> {
        let fail = |error| OpenError::from_io(&self.path, error);
        self.stop.check().map_err(fail)?;
        let mut header = [0; RECORD_HEADER_BYTES];
        if !read_whole(&mut self.input, &mut header).map_err(fail)? {
            return Ok(None);
        }
        let payload_at = self.offset + RECORD_HEADER_BYTES as u64;
        let Some(length) = self.payload_bytes(&header, payload_at, |found| found == number) else {
            return Ok(None);
        };
        self.candidate.resize(RECORD_HEADER_BYTES + length, 0);
        let payload = &mut self.candidate[RECORD_HEADER_BYTES..];
        if !read_whole(&mut self.input, payload).map_err(fail)?
            || checksum(&header[..20], payload) != u32_at(&header, 20)
        {
            return Ok(None);
        }
        std::mem::swap(&mut self.record, &mut self.candidate);
        (self.record_at, self.offset) = (self.offset, payload_at + length as u64);
        Ok(Some(&self.record[RECORD_HEADER_BYTES..]))
    }

    /// Drops what was read ahead of [`offset`](Self::offset): more may have been written.
    pub(super) fn look_again(&mut self) -> Result<(), OpenError> {
        let fail = |error| OpenError::from_io(&self.path, error);
        self.input.seek(SeekFrom::Start(self.offset)).map_err(fail)?;
        self.file_bytes = self.input.get_ref().metadata().map_err(fail)?.len();
        Ok(())
    }

    /// Starts again at the first record.
    pub(super) fn rewind(&mut self) -> Result<(), OpenError> {
        self.offset = FILE_HEADER_BYTES as u64;
        self.look_again()
    }

    /// The payload of the last record that was read.
    pub(super) fn current(&self) -> &[u8] {
        &self.record[RECORD_HEADER_BYTES..]
    }

    /// The start of the last record that was read, and its bytes, after space for its header.
    /// `None`: none was read.
    pub(super) fn into_last(self) -> Option<(u64, Vec<u8>)> {
        (self.record_at > 0).then_some((self.record_at, self.record))
    }

    /// Bytes after [`offset`](Self::offset) that are not unused space: up to the last one that is
    /// not zero.
    pub(super) fn rest_bytes(&self) -> Result<u64, OpenError> {
        let fail = |error| OpenError::from_io(&self.path, error);
        let mut window = vec![0; READ_BYTES];
        let (mut start, mut end) = (self.offset, self.offset);
        loop {
            let read = read_at(self.input.get_ref(), &mut window, start).map_err(fail)?;
            if let Some(last) = window[..read].iter().rposition(|&byte| byte != 0) {
                end = start + last as u64 + 1;
            }
            if read < window.len() {
                return Ok(end - self.offset);
            }
            start += read as u64;
        }
    }

    /// The error for a fault of the last record that was read, or at the place of the next.
    pub(super) fn corrupt(&self, what: impl Into<String>) -> OpenError {
        OpenError::corrupt(&self.path, self.offset, what)
    }

    /// Searches for a good record numbered `number` or later anywhere after
    /// [`offset`](Self::offset), to distinguish damage from an end. Returns the place of the first.
    pub(super) fn find_later(&mut self, number: u64) -> Result<Option<u64>, OpenError> {
        self.search(number).map_err(|error| OpenError::from_io(&self.path, error))
    }

    fn search(&mut self, number: u64) -> io::Result<Option<u64>> {
        let salt = self.header.salt.to_le_bytes();
        let finder = memmem::Finder::new(&salt);
        let mut window = vec![0; READ_BYTES];
        let mut start = self.offset;
        while start < self.file_bytes {
            let read = read_at(self.input.get_ref(), &mut window, start)?;
            for found in finder.find_iter(&window[..read]) {
                let at = start + found as u64;
                if self.is_record(at, number)? {
                    return Ok(Some(at));
                }
            }
            if read < window.len() {
                break;
            }
            // A salt may span two windows.
            start += (read - (salt.len() - 1)) as u64;
        }
        Ok(None)
    }

    fn is_record(&mut self, at: u64, number: u64) -> io::Result<bool> {
        let mut header = [0; RECORD_HEADER_BYTES];
        if read_at(self.input.get_ref(), &mut header, at)? < header.len() {
            return Ok(false);
        }
        let payload_at = at + RECORD_HEADER_BYTES as u64;
        let Some(length) = self.payload_bytes(&header, payload_at, |found| found >= number) else {
            return Ok(false);
        };
        self.candidate.resize(length, 0);
        let read = read_at(self.input.get_ref(), &mut self.candidate, payload_at)?;
        Ok(read == length && checksum(&header[..20], &self.candidate) == u32_at(&header, 20))
    }

    /// The length of the payload, if the header can belong to a record of this file.
    fn payload_bytes(
        &self,
        header: &[u8; RECORD_HEADER_BYTES],
        payload_at: u64,
        is_wanted: impl Fn(u64) -> bool,
    ) -> Option<usize> {
        let length = u32_at(header, 16) as usize;
        let legal = u64_at(header, 0) == self.header.salt
            && is_wanted(u64_at(header, 8))
            && length <= RECORD_BYTES_MAX
            && payload_at + length as u64 <= self.file_bytes;
        legal.then_some(length)
    }
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

/// Fills the buffer; returns `false` if the file ends before.
fn read_whole(input: &mut impl Read, bytes: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Fills the buffer from a position of the file, up to the end of the file.
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |&bytes| u32::from_le_bytes(bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |&bytes| u64::from_le_bytes(bytes))
}
