//! The header of the PROXY protocol, with which a connection begins.

use stampede::engine::fuzzing::proxy_header;
use stampede::limits::PROXY_HEADER_BYTES_MAX;

use crate::bounds::bounded;

/// A port is formatted, to compare it.
const MEMORY: usize = 1024;

/// The start of a connection.
pub fn header(input: &[u8]) {
    let whole = bounded(MEMORY, || proxy_header(input));
    // The answer does not depend on how the bytes were cut into pieces on their way.
    for end in 0..input.len().min(PROXY_HEADER_BYTES_MAX + 1) {
        let part = proxy_header(&input[..end]);
        assert!(part == Ok(None) || part == whole, "after {end} bytes: {part:?}");
    }
    match whole {
        Ok(Some((_, bytes))) => assert!((1..=PROXY_HEADER_BYTES_MAX).contains(&bytes)),
        Ok(None) => assert!(input.len() < PROXY_HEADER_BYTES_MAX, "it would wait for ever"),
        Err(_) => {}
    }
}
