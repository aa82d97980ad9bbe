//! Answers that are the same for every request, encoded once per second.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::answer::Content;

/// Consecutive answers in a block, so sending several needs no copy.
pub const BLOCK_ANSWERS: usize = 64;

/// The second in an answer's Date.
#[derive(Default)]
pub struct Second(u64);

impl Second {
    /// The new Date, if the second has changed.
    pub fn changed(&mut self) -> Option<String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(self.0, |since| since.as_secs());
        if now == self.0 {
            return None;
        }
        self.0 = now;
        Some(httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(now)))
    }
}

/// Encodes an answer with this body.
pub fn encode(date: &str, content_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nServer: stampede\r\nDate: {date}\r\n\
         Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A block of equal answers.
pub struct Answers {
    content: Content,
    second: Second,
    /// A send in flight keeps the block alive beyond the second.
    block: Rc<[u8]>,
}

impl Answers {
    /// Encodes the block.
    pub fn new(content: Content) -> Self {
        let mut answers = Self { content, second: Second::default(), block: Rc::new([]) };
        answers.refresh();
        answers
    }

    /// Encodes the block again if the second in its Date has changed.
    pub fn refresh(&mut self) {
        let Some(date) = self.second.changed() else { return };
        let answer = encode(&date, self.content.content_type(), self.content.body());
        self.block = answer.repeat(BLOCK_ANSWERS).into_bytes().into();
    }

    /// The block, and the length of its first answers (at most [`BLOCK_ANSWERS`]).
    pub fn first(&self, answers: usize) -> (&Rc<[u8]>, usize) {
        (&self.block, self.block.len() / BLOCK_ANSWERS * answers.min(BLOCK_ANSWERS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_contains_only_whole_answers() {
        let answers = Answers::new(Content::Plaintext);
        let (block, len) = answers.first(2);
        let text = String::from_utf8_lossy(&block[..len]).into_owned();
        assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 2);
        assert!(text.ends_with("\r\nContent-Length: 13\r\n\r\nHello, World!"), "{text}");
        assert_eq!(answers.first(BLOCK_ANSWERS + 1).1, block.len());
    }
}
