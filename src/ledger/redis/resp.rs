//! Encodes RESP requests: an array of bulk strings (Redis serialization protocol, "Sending commands
//! to a Redis server"). Writes straight into the output buffer, without an allocation.

/// Begins a command of `count` arguments, its name included.
pub(super) fn command(out: &mut Vec<u8>, count: usize) {
    header(out, b'*', count);
}

/// An argument.
pub(super) fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    header(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// An argument, in pieces.
pub(super) fn bulk_pieces(out: &mut Vec<u8>, pieces: &[&str]) {
    header(out, b'$', pieces.iter().map(|piece| piece.len()).sum());
    for piece in pieces {
        out.extend_from_slice(piece.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// An argument that is a number.
pub(super) fn bulk_number(out: &mut Vec<u8>, number: u64) {
    bulk(out, itoa::Buffer::new().format(number).as_bytes());
}

/// A command of text arguments.
pub(super) fn text_command(out: &mut Vec<u8>, arguments: &[&str]) {
    command(out, arguments.len());
    for argument in arguments {
        bulk(out, argument.as_bytes());
    }
}

fn header(out: &mut Vec<u8>, kind: u8, number: usize) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_encoded_as_resp() {
        let mut out = Vec::new();
        text_command(&mut out, &["GET", ""]);
        bulk_pieces(&mut out, &["a", "", "bc"]);
        bulk_number(&mut out, 1234);
        assert_eq!(out, b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n$3\r\nabc\r\n$4\r\n1234\r\n");
    }
}
