//! Moves a connection's bytes between the core's buffers and the connection.

use std::mem;

use crate::limits::READ_BUFFER_BYTES;

/// Removes handled bytes from the start of a buffer: nearly always all of it.
pub(super) fn take_front(buffer: &mut Vec<u8>, bytes: usize) {
    if bytes == buffer.len() {
        buffer.clear();
    } else {
        buffer.drain(..bytes);
    }
}

/// A buffer of the core that begins with the bytes kept with a connection: mostly none.
#[inline]
pub(super) fn buffer_with(kept: &mut Vec<u8>, take: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    if kept.is_empty() { take() } else { refill(mem::take(kept), take) }
}

#[cold]
fn refill(mut kept: Vec<u8>, take: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    if kept.capacity() >= READ_BUFFER_BYTES {
        return kept;
    }
    let mut buffer = take();
    buffer.append(&mut kept);
    buffer
}

/// Takes the bytes to be kept with a connection out of a buffer of the core: the buffer itself, if
/// it is full enough.
pub(super) fn take_kept(buffer: &mut Vec<u8>) -> Vec<u8> {
    if buffer.len() > buffer.capacity() / 2 {
        mem::take(buffer)
    } else {
        buffer.as_slice().to_vec()
    }
}
