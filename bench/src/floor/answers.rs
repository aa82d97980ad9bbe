//! Answers that are the same for everyone, encoded once a second.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::answer::Content;

/// Answers that lie one behind the other, so that a batch of them needs no copying.
pub const BLOCK_ANSWERS: usize = 64;

/// A block of answers, all alike.
pub struct Answers {
    content: Content,
    second: u64,
    /// What is being sent from it outlives the second.
    block: Rc<[u8]>,
}

impl Answers {
    /// Encodes them.
    pub fn new(content: Content) -> Self {
        let mut answers = Self { content, second: 0, block: Rc::new([]) };
        answers.refresh();
        answers
    }

    /// Encodes them again if the second in their Date has changed.
    pub fn refresh(&mut self) {
        let second = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let second = second.map_or(self.second, |since| since.as_secs());
        if second == self.second {
            return;
        }
        self.second = second;
        let date = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        let (content_type, body) = (self.content.content_type(), self.content.body());
        let answer = format!(
            "HTTP/1.1 200 OK\r\nServer: stampede\r\nDate: {date}\r\n\
             Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.block = answer.repeat(BLOCK_ANSWERS).into_bytes().into();
    }

    /// The block, and the length of so many of its answers (at most [`BLOCK_ANSWERS`]).
    pub fn first(&self, answers: usize) -> (&Rc<[u8]>, usize) {
        (&self.block, self.block.len() / BLOCK_ANSWERS * answers.min(BLOCK_ANSWERS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_whole_answers() {
        let answers = Answers::new(Content::Plaintext);
        let (block, len) = answers.first(2);
        let text = String::from_utf8_lossy(&block[..len]).into_owned();
        assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 2);
        assert!(text.ends_with("\r\nContent-Length: 13\r\n\r\nHello, World!"), "{text}");
        assert_eq!(answers.first(BLOCK_ANSWERS + 1).1, block.len());
    }
}
