//! A minimal client of Redis' protocol (RESP 2): commands, integer, line and string replies, and one
//! blocking connection. Separate from the server's, so that the drivers of the baselines use little
//! CPU.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::{Because, Result, fail};

const REPLY_DEADLINE: Duration = Duration::from_secs(10);

/// A reply of Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A status line or a string.
    Text(String),
    /// An integer.
    Integer(i64),
    /// No value.
    Nil,
}

/// One connection to Redis.
pub struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream =
            TcpStream::connect(address).because(|| format!("connecting to Redis at {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_DEADLINE))?;
        Ok(Self { stream, input: Vec::with_capacity(512) })
    }

    /// Sends one command and reads its reply. An error reply is an `Err`.
    pub fn ask(&mut self, command: &[&str]) -> Result<Reply> {
        let mut packed = Vec::new();
        pack(&mut packed, command);
        self.send(&packed)?;
        self.receive()
    }

    /// Sends a packed command.
    pub fn send(&mut self, packed: &[u8]) -> Result<()> {
        self.stream.write_all(packed).because(|| "sending to Redis".into())
    }

    /// Reads one reply.
    pub fn receive(&mut self) -> Result<Reply> {
        let mut chunk = [0; 1024];
        loop {
            if let Some((reply, len)) = parse(&self.input)? {
                self.input.drain(..len);
                return Ok(reply);
            }
            let read = self.stream.read(&mut chunk).because(|| "reading from Redis".into())?;
            if read == 0 {
                return fail("Redis closed the connection");
            }
            self.input.extend_from_slice(&chunk[..read]);
        }
    }
}

/// Appends a command in RESP.
pub fn pack(out: &mut Vec<u8>, command: &[&str]) {
    // Writing to a Vec can't fail.
    let _ = write!(out, "*{}\r\n", command.len());
    for part in command {
        let _ = write!(out, "${}\r\n{part}\r\n", part.len());
    }
}

/// The length of the first reply, of any kind. `None`: more bytes are needed.
pub fn complete(input: &[u8]) -> Result<Option<usize>> {
    // Replies left to skip: an array counts as one, then its elements.
    let (mut at, mut wanted) = (0, 1_u64);
    while wanted > 0 {
        let Some(line_len) = memchr::memmem::find(&input[at..], b"\r\n") else { return Ok(None) };
        let line = &input[at..at + line_len];
        at += line_len + 2;
        wanted -= 1;
        let Some((kind @ (b'$' | b'*'), length)) = line.split_first() else { continue };
        let length = std::str::from_utf8(length).ok().and_then(|text| text.parse::<i64>().ok());
        match (kind, length) {
            (_, None) => return fail("a reply from Redis without a length"),
            (_, Some(-1)) => {}
            (b'*', Some(length)) => wanted = wanted.saturating_add(length.unsigned_abs()),
            (_, Some(length)) => at = at.saturating_add(length.unsigned_abs() as usize + 2),
        }
        if at > input.len() {
            return Ok(None);
        }
    }
    Ok(Some(at))
}

/// The first reply and its length. `None`: more bytes are needed. Not for arrays.
pub fn parse(input: &[u8]) -> Result<Option<(Reply, usize)>> {
    let Some(line_len) = input.windows(2).position(|w| w == b"\r\n") else { return Ok(None) };
    let line = String::from_utf8_lossy(&input[..line_len]);
    let (Some(kind), rest) = (line.chars().next(), line.get(1..).unwrap_or_default()) else {
        return fail("an empty reply from Redis");
    };
    let next = line_len + 2;
    let number = || rest.parse::<i64>().because(|| format!("a reply from Redis: {line}"));
    match kind {
        '+' => Ok(Some((Reply::Text(rest.to_owned()), next))),
        ':' => Ok(Some((Reply::Integer(number()?), next))),
        '-' => fail(format!("error from Redis: {rest}")),
        '$' => match usize::try_from(number()?) {
            Err(_) => Ok(Some((Reply::Nil, next))),
            Ok(len) if input.len() < next + len + 2 => Ok(None),
            Ok(len) => {
                let text = String::from_utf8_lossy(&input[next..next + len]).into_owned();
                Ok(Some((Reply::Text(text), next + len + 2)))
            }
        },
        _ => fail(format!("an unexpected reply from Redis: {line}")),
    }
}

/// CPU time of Redis so far, in us, from `INFO cpu`.
pub fn cpu_us(info: &str) -> Option<f64> {
    let value = |name| info.lines().find_map(|line| line.strip_prefix(name)?.parse::<f64>().ok());
    Some((value("used_cpu_user:")? + value("used_cpu_sys:")?) * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_only_when_complete() {
        let cases: [(&[u8], Reply); 4] = [
            (b"+PONG\r\n", Reply::Text("PONG".into())),
            (b":-7\r\n", Reply::Integer(-7)),
            (b"$-1\r\n", Reply::Nil),
            (b"$4\r\na\r\nb\r\n", Reply::Text("a\r\nb".into())),
        ];
        for (bytes, reply) in cases {
            for cut in 0..bytes.len() {
                assert_eq!(parse(&bytes[..cut]).expect("a legal prefix"), None);
            }
            assert_eq!(parse(bytes).expect("legal"), Some((reply, bytes.len())));
        }
        assert!(parse(b"-ERR no\r\n").is_err());
    }

    #[test]
    fn the_end_of_every_reply_type_is_found() {
        let replies: [&[u8]; 5] = [
            b":12\r\n",
            b"-ERR no\r\n",
            b"$-1\r\n",
            b"*0\r\n",
            b"*3\r\n:1\r\n*2\r\n$3\r\n\r\nx\r\n+a\r\n$0\r\n\r\n",
        ];
        for reply in replies {
            for cut in 0..reply.len() {
                assert_eq!(complete(&reply[..cut]).expect("a legal prefix"), None);
            }
            let two = [reply, b":1\r\n"].concat();
            assert_eq!(complete(&two).expect("legal"), Some(reply.len()));
        }
        assert!(complete(b"$x\r\n").is_err());
    }

    #[test]
    fn commands_are_packed_with_lengths_in_bytes() {
        let mut out = Vec::new();
        pack(&mut out, &["GET", "é"]);
        assert_eq!(out, "*2\r\n$3\r\nGET\r\n$2\r\né\r\n".as_bytes());
    }
}
