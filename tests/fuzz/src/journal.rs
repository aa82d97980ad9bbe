//! The records of journals and snapshots, and the small text files beside them.

use stampede::ledger::embedded::fuzzing::{
    journal_record_again, manifest_again, marker_again, rows_again,
};

use crate::bounds::bounded;

/// What is decoded is not larger than its bytes, but an entry or a row has its own size.
const MEMORY_PER_BYTE: usize = 64;
const MEMORY_MIN: usize = 16 * 1024;

/// The payload of a record. One that can be decoded is the same when it is encoded again.
pub fn record(payload: &[u8]) {
    let bytes_max = MEMORY_MIN + MEMORY_PER_BYTE * payload.len();
    if let Some(again) = bounded(bytes_max, || journal_record_again(payload)) {
        assert_eq!(journal_record_again(&again), Some(again.clone()));
    }
    if let Some(again) = bounded(bytes_max, || rows_again(payload)) {
        assert_eq!(again, payload, "a row has one form");
    }
}

/// The text of a marker or of a manifest. Its checksum is filled in.
pub fn text(input: &[u8]) {
    let bytes_max = MEMORY_MIN + MEMORY_PER_BYTE * input.len();
    for text in [input.to_vec(), with_checksum(input)] {
        if let Some(again) = bounded(bytes_max, || marker_again(&text)) {
            assert_eq!(marker_again(again.as_bytes()), Some(again.clone()));
        }
        if let Some(again) = bounded(bytes_max, || manifest_again(&text)) {
            assert_eq!(manifest_again(again.as_bytes()), Some(again.clone()));
        }
    }
}

/// Lines, and a last one with the checksum of all before it.
fn with_checksum(lines: &[u8]) -> Vec<u8> {
    let mut text = lines.to_vec();
    if text.last() != Some(&b'\n') {
        text.push(b'\n');
    }
    let checksum = crc32(&[&text]);
    text.extend_from_slice(format!("checksum {checksum:08x}\n").as_bytes());
    text
}

/// CRC-32 (IEEE 802.3) of these pieces one after the other.
pub fn crc32(pieces: &[&[u8]]) -> u32 {
    const TABLE: [u32; 256] = {
        let (mut table, mut byte) = ([0; 256], 0);
        while byte < 256 {
            let (mut crc, mut bit) = (byte as u32, 0);
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
                bit += 1;
            }
            table[byte] = crc;
            byte += 1;
        }
        table
    };
    let step = |crc: u32, byte: &u8| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)];
    !pieces.iter().copied().flatten().fold(u32::MAX, step)
}

#[test]
fn the_checksum_is_that_of_the_files() {
    assert_eq!(crc32(&[b"1234", b"56789"]), 0xcbf4_3926);
    let id = "000000000000000000000000000000ff";
    let marker = format!("stampede ledger, format 4\nid {id}\njournal 0\nrecord 0\n");
    let text = String::from_utf8(with_checksum(marker.as_bytes())).expect("a text");
    assert_eq!(marker_again(text.as_bytes()), Some(text));
}
