//! Reading replies on a core's connections: RESP 2, which is all that Redis speaks to whom did not ask
//! for another.
//!
//! The `redis` crate reads them as well, and does so for everything that is no core. It takes some 4,000
//! instructions for each element of an array, which for a batch of 64 would be more than all else
//! that the server does; here it is about a hundredth of that. What is read is its `Value`.

use std::io::{self, Read};

use redis::Value;

/// What one read of a connection may bring in.
const READ_BYTES: usize = 16 * 1024;
/// Arrays within arrays, at most: our scripts nest none deeper.
const DEPTH_MAX: usize = 8;
/// A text that is not there.
const NOTHING: &[u8] = b"$-1\r\n";
/// Digits of a number that fits in any case.
const DIGITS_MAX: usize = 18;
/// Most elements of an array, and bytes of a text: far beyond every reply that a core gets.
const LENGTH_MAX: usize = 64 << 20;

/// What has come of a connection's replies.
#[derive(Default)]
pub(super) struct Reader {
    /// What has come, and room behind it that is not cleared again for each read.
    input: Vec<u8>,
    /// So much of it has come.
    end: usize,
    /// So much of that has been read.
    at: usize,
}

impl Reader {
    /// The next reply, as soon as it is there.
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
        // A long reply is not looked at again for every few bytes that come of it.
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
    /// More has to come.
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
        // Nearly all of what is replied to those who look for claims.
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
                    // No more room than there can be elements for by now.
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

    /// An error, with its code first, as the crate has it.
    #[cold]
    fn error(&self, line: &[u8]) -> Result<Value, Unread> {
        let reply = [b"-", line, b"\r\n"].concat();
        match redis::parse_redis_value(&reply) {
            Ok(Value::ServerError(error)) => Ok(Value::ServerError(error)),
            _ => Err(Unread::Malformed),
        }
    }

    /// A length; -1 for what is not there.
    fn length(&mut self) -> Result<Option<usize>, Unread> {
        match self.number()? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) if length <= LENGTH_MAX => Ok(Some(length)),
                _ => Err(Unread::Malformed),
            },
        }
    }

    /// A line that is a number. Nearly all are a few digits, which are read in one pass.
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

    /// A line without its end, which is passed over.
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

    /// Gives so many bytes at a time.
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
        fn what_is_read_is_what_the_crate_reads(
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
        fn whatever_comes_there_is_an_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let (mut stream, mut reader) = (Pieces(&bytes, 7), Reader::default());
            while reader.read(&mut stream).is_ok() {}
        }
    }

    #[test]
    fn what_is_no_reply_ends_the_connection() {
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
