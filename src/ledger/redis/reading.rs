//! Reads replies on a core's connections: RESP 2, which Redis speaks unless a client asks for
//! another version.
//!
//! The `redis` crate reads them too, and does so outside of the cores. It takes some 4,000
//! instructions per element of an array, which for a batch of 64 would be more than everything else
//! that the server does. This reader takes about a hundredth of that. It produces the crate's
//! `Value`.

use std::io::{self, Read};

use redis::Value;

/// The maximum that one read from a connection adds.
const READ_BYTES: usize = 16 * 1024;
/// The maximum depth of nested arrays: our scripts nest none deeper.
const DEPTH_MAX: usize = 8;
/// A missing text.
const NOTHING: &[u8] = b"$-1\r\n";
/// The number of digits that fit in an `i64` in any case.
const DIGITS_MAX: usize = 18;
/// The maximum number of elements of an array, and of bytes of a text: far beyond every reply to a
/// core.
const LENGTH_MAX: usize = 64 << 20;

/// The input of a connection, and how much of it was read.
#[derive(Default)]
pub(super) struct Reader {
    /// The input, followed by room that is not cleared again for each read.
    input: Vec<u8>,
    /// The end of the input.
    end: usize,
    /// The input before this position was read.
    at: usize,
}

impl Reader {
    /// Returns the next reply as soon as it is complete.
    pub(super) fn read(&mut self, stream: &mut impl Read) -> io::Result<Value> {
        loop {
            let mut cursor = Cursor { bytes: &self.input[..self.end], at: self.at };
            match cursor.value(0) {
                Ok(value) => {
                    self.at = cursor.at;
                    return Ok(value);
                }
                Err(Unread::Incomplete) => self.fill(stream)?,
                Err(Unread::Malformed) => {
                    return Err(io::Error::other("Redis sent what is no reply"));
                }
            }
        }
    }

    fn fill(&mut self, stream: &mut impl Read) -> io::Result<()> {
        self.input.copy_within(self.at..self.end, 0);
        self.end -= std::mem::take(&mut self.at);
        // The room doubles, so a long reply is not parsed again for every few bytes that arrive.
        let room_end = self.end + READ_BYTES.max(self.end);
        if self.input.len() < room_end {
            self.input.resize(room_end, 0);
        }
        match stream.read(&mut self.input[self.end..room_end]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.end += count;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }
}

enum Unread {
    /// The rest has not arrived.
    Incomplete,
    /// It is no reply.
    Malformed,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, Unread> {
        // Most replies to claim queries.
        if self.bytes[self.at..].starts_with(NOTHING) {
            self.at += NOTHING.len();
            return Ok(Value::Nil);
        }
        let kind = self.bytes.get(self.at).ok_or(Unread::Incomplete)?;
        self.at += 1;
        match kind {
            b'*' if depth < DEPTH_MAX => match self.length()? {
                None => Ok(Value::Nil),
                Some(count) => {
                    // No more room than for the elements that can be there by now.
                    let room = count.min((self.bytes.len() - self.at) / 3);
                    let mut list = Vec::with_capacity(room);
                    for _ in 0..count {
                        list.push(self.value(depth + 1)?);
                    }
                    Ok(Value::Array(list))
                }
            },
            b'$' => match self.length()? {
                None => Ok(Value::Nil),
                Some(count) => {
                    let text =
                        self.bytes.get(self.at..self.at + count).ok_or(Unread::Incomplete)?;
                    self.at += count;
                    match self.bytes.get(self.at..self.at + 2) {
                        None => return Err(Unread::Incomplete),
                        Some(b"\r\n") => self.at += 2,
                        Some(_) => return Err(Unread::Malformed),
                    }
                    Ok(Value::BulkString(text.to_vec()))
                }
            },
            b':' => Ok(Value::Int(self.number()?)),
            b'+' => Ok(match self.line()? {
                b"OK" => Value::Okay,
                line => Value::SimpleString(String::from_utf8_lossy(line).into_owned()),
            }),
            b'-' => {
                let line = self.line()?;
                self.error(line)
            }
            _ => Err(Unread::Malformed),
        }
    }

    /// An error reply, with its code first, as the crate represents it.
    #[cold]
    fn error(&self, line: &[u8]) -> Result<Value, Unread> {
        let reply = [b"-", line, b"\r\n"].concat();
        match redis::parse_redis_value(&reply) {
            Ok(Value::ServerError(error)) => Ok(Value::ServerError(error)),
            _ => Err(Unread::Malformed),
        }
    }

    /// A length; -1 for a missing value.
    fn length(&mut self) -> Result<Option<usize>, Unread> {
        match self.number()? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) if length <= LENGTH_MAX => Ok(Some(length)),
                _ => Err(Unread::Malformed),
            },
        }
    }

    /// A line with a number. Most have a few digits, which are read in one pass.
    fn number(&mut self) -> Result<i64, Unread> {
        let (rest, mut number) = (&self.bytes[self.at..], 0);
        for (count, byte) in rest.iter().enumerate() {
            match byte {
                b'0'..=b'9' if count < DIGITS_MAX => {
                    number = number * 10 + i64::from(byte - b'0');
                }
                b'\r' if count > 0 && rest.get(count + 1) == Some(&b'\n') => {
                    self.at += count + 2;
                    return Ok(number);
                }
                _ => break,
            }
        }
        let text = str::from_utf8(self.line()?).map_err(|_| Unread::Malformed)?;
        text.parse().map_err(|_| Unread::Malformed)
    }

    /// A line without its end. Continues after the end.
    fn line(&mut self) -> Result<&'a [u8], Unread> {
        let rest = &self.bytes[self.at..];
        let end = memchr::memchr(b'\r', rest).ok_or(Unread::Incomplete)?;
        match rest.get(end + 1) {
            None => return Err(Unread::Incomplete),
            Some(b'\n') => {}
            Some(_) => return Err(Unread::Malformed),
        }
        self.at += end + 2;
        Ok(&rest[..end])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns at most this many bytes per read.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn values() -> impl Strategy<Value = String> {
        let one = prop_oneof![
            any::<i64>().prop_map(|n| format!(":{n}\r\n")),
            "[ -~]{0,20}".prop_map(|text| format!("+{text}\r\n")),
            "[A-Z]{1,9} [ -~]{0,20}".prop_map(|text| format!("-{text}\r\n")),
            "\\PC{0,20}".prop_map(|text| format!("${}\r\n{text}\r\n", text.len())),
            Just("$-1\r\n".to_owned()),
            Just("*-1\r\n".to_owned()),
            Just("+OK\r\n".to_owned()),
        ];
        one.prop_recursive(3, 40, 8, |inner| {
            prop::collection::vec(inner, 0..8)
                .prop_map(|list| format!("*{}\r\n{}", list.len(), list.concat()))
        })
    }

    proptest! {
        #[test]
        fn replies_are_read_as_the_redis_crate_reads_them(
            replies in prop::collection::vec(values(), 1..5),
            piece in 1usize..100,
        ) {
            let bytes = replies.concat();
            let (mut stream, mut reader) = (Pieces(bytes.as_bytes(), piece), Reader::default());
            for reply in &replies {
                let wanted = redis::parse_redis_value(reply.as_bytes()).expect("a reply");
                prop_assert_eq!(reader.read(&mut stream).expect("a reply"), wanted);
            }
            let end = reader.read(&mut stream).expect_err("nothing more comes");
            prop_assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        }

        #[test]
        fn reading_any_bytes_always_ends(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let (mut stream, mut reader) = (Pieces(&bytes, 7), Reader::default());
            while reader.read(&mut stream).is_ok() {}
        }
    }

    #[test]
    fn a_malformed_reply_ends_the_connection() {
        for bytes in [
            "x\r\n",
            "\r\n",
            "$3\r\nabcde\r\n",
            "$-2\r\n",
            ":\r\n",
            ":1x\r\n",
            "*1\r\n:1\rx",
            "$99999999999\r\n",
            ":99999999999999999999\r\n",
        ] {
            let error = Reader::default().read(&mut bytes.as_bytes()).expect_err(bytes);
            assert_eq!(error.kind(), io::ErrorKind::Other, "{bytes:?}");
        }
        let deep = "*1\r\n".repeat(DEPTH_MAX + 1);
        assert!(Reader::default().read(&mut deep.as_bytes()).is_err());
    }
}
