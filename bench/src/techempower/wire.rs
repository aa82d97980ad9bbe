//! HTTP/1.1 answers as bytes, parsed strictly enough to judge them: an answer that a lenient client
//! accepts can be an error here. Blocking, over a raw socket, only for the verifier.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
const BUFFER_BYTES_MAX: usize = 256 * 1024;

/// A result whose error describes the problem.
pub type Found<T> = Result<T, String>;

/// A raw answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status line.
    pub line: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header that may occur once. `Err`: it occurred more than once.
    pub fn header(&self, name: &str) -> Found<Option<&str>> {
        let mut values = self.headers.iter().filter(|(found, _)| found == name);
        let value = values.next().map(|(_, value)| &**value);
        match values.next() {
            None => Ok(value),
            Some(_) => Err(format!("{name} twice")),
        }
    }

    /// The value of a required header.
    pub fn required(&self, name: &str) -> Found<&str> {
        self.header(name)?.ok_or_else(|| format!("no {name}"))
    }

    /// Length of the body. `None`: chunked.
    fn length(&self) -> Found<Option<usize>> {
        match (self.header("content-length")?, self.header("transfer-encoding")?) {
            (Some(length), None) => match length.parse() {
                Ok(length) => Ok(Some(length)),
                Err(_) => Err(format!("Content-Length: {length}")),
            },
            (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => Ok(None),
            (None, None) => Err("neither Content-Length nor Transfer-Encoding".into()),
            (length, coding) => Err(format!("Content-Length {length:?}, coding {coding:?}")),
        }
    }
}

/// A connection.
pub struct Wire {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Wire {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Found<Self> {
        let connect = || {
            let stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
            stream.set_write_timeout(Some(ANSWER_DEADLINE))?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let stream = connect().map_err(|e: std::io::Error| format!("connecting: {e}"))?;
        Ok(Self { stream, input: Vec::new() })
    }

    /// Sends bytes in one write.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Found<()> {
        self.stream.write_all(bytes.as_ref()).map_err(|e| format!("sending: {e}"))
    }

    /// Sends a request other than HEAD and reads its answer.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> Found<Answer> {
        self.send(request)?;
        self.answer()
    }

    /// Reads the next answer to anything but HEAD.
    pub fn answer(&mut self) -> Found<Answer> {
        let mut answer = self.head()?;
        match answer.length()? {
            Some(length) => answer.body = self.take(length)?,
            None => loop {
                let size = self.until(b"\r\n")?;
                let size = usize::from_str_radix(size.trim(), 16);
                let size = size.map_err(|_| "a chunk without a size".to_owned())?;
                answer.body.extend(self.take(size)?);
                if self.take(2)? != b"\r\n" {
                    return Err("a chunk without an end".into());
                }
                if size == 0 {
                    break;
                }
            },
        }
        Ok(answer)
    }

    /// Reads the next answer's head.
    pub fn head(&mut self) -> Found<Answer> {
        let text = self.until(b"\r\n\r\n")?;
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let headers = lines.map(|line| {
            let parts = line.split_once(':');
            let (name, value) = parts.ok_or_else(|| format!("a header line {line:?}"))?;
            Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
        });
        Ok(Answer { line, headers: headers.collect::<Found<_>>()?, body: Vec::new() })
    }

    /// `Err` unless the server closes the connection now, without another byte.
    pub fn end(&mut self) -> Found<()> {
        match (self.input.is_empty(), self.stream.read(&mut [0; 64])) {
            (true, Ok(0)) => Ok(()),
            (true, Err(error)) => Err(format!("the server does not close: {error}")),
            _ => Err("more bytes than the answer has".into()),
        }
    }

    fn until(&mut self, end: &[u8]) -> Found<String> {
        loop {
            if let Some(at) = self.input.windows(end.len()).position(|bytes| bytes == end) {
                let text = String::from_utf8(self.input.drain(..at).collect());
                self.input.drain(..end.len());
                return text.map_err(|_| "a head that is not UTF-8".into());
            }
            self.fill()?;
        }
    }

    fn take(&mut self, count: usize) -> Found<Vec<u8>> {
        while self.input.len() < count {
            self.fill()?;
        }
        Ok(self.input.drain(..count).collect())
    }

    fn fill(&mut self) -> Found<()> {
        if self.input.len() > BUFFER_BYTES_MAX {
            return Err("an unfinished answer".into());
        }
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => Err("the server closed the connection instead of answering".into()),
            Ok(count) => {
                self.input.extend_from_slice(&piece[..count]);
                Ok(())
            }
            Err(error) => Err(format!("reading: {error}")),
        }
    }
}
