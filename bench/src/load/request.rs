//! The bytes of a request, made once. Only the number of the user changes from one to the next.

use std::ops::Range;

use crate::error::{Result, fail};

/// Digits of a user's number.
const DIGITS: usize = 10;
/// Longest user that the API takes.
const USER_BYTES_MAX: usize = 128;
/// The most users that their digits can name.
pub const USERS_MAX: u64 = 10_u64.pow(DIGITS as u32);

/// Requests, as many at a time as are to be sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// One after the other, as many as a pipeline holds.
    bytes: Vec<u8>,
    len: usize,
    user: Option<Users>,
    also: Option<Also>,
    turns: Option<Box<Turns>>,
}

/// Requests that take turns with the one that has them.
#[derive(Debug, Clone)]
struct Turns {
    others: Vec<Request>,
    next: usize,
}

/// Another request that takes the place of one in so many.
#[derive(Debug, Clone)]
struct Also {
    request: Box<Request>,
    every: u64,
    until: u64,
}

#[derive(Debug, Clone)]
struct Users {
    digits: Range<usize>,
    count: u64,
    next: u64,
    step: u64,
}

/// What a target begins with that is posted to.
const POST: &str = "POST ";
/// The order that is posted.
const ORDER: &str = r#"{"user":"load","quantity":1}"#;

/// What a request says.
#[derive(Debug, Clone, Copy)]
pub struct Wording<'a> {
    /// The value of `Host`.
    pub host: &'a str,
    /// What is asked for: `/buy/ticket`; or `POST /v1/sales/ticket/reservations`, with an order.
    pub target: &'a str,
    /// HTTP/1.0, as `ab` speaks it.
    pub http10: bool,
    /// Asks for the connection to be closed.
    pub close: bool,
    /// So many users take turns; their names begin with this.
    pub users: Option<(u64, &'a str)>,
}

impl Request {
    /// `pipeline`: the most that are sent at a time.
    pub fn new(wording: &Wording<'_>, pipeline: u32) -> Result<Self> {
        let Wording { host, target, http10, close, users } = *wording;
        let (method, target) = match target.strip_prefix(POST) {
            Some(target) => ("POST", target),
            None => ("GET", target),
        };
        if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
            return fail(format!(
                "--target {target:?}: it begins with / and has only visible ASCII characters"
            ));
        }
        let version = if http10 { "1.0" } else { "1.1" };
        let mut one = format!("{method} {target} HTTP/{version}\r\nHost: {host}\r\n");
        if close && !http10 {
            one.push_str("Connection: close\r\n");
        }
        let user = match users {
            Some((count, prefix)) => {
                let visible = prefix.bytes().all(|byte| byte.is_ascii_graphic());
                if !visible || prefix.len() + DIGITS > USER_BYTES_MAX {
                    let max = USER_BYTES_MAX - DIGITS;
                    return fail(format!(
                        "--user-prefix {prefix:?}: at most {max} visible ASCII characters"
                    ));
                }
                one.push_str("X-User-Id: ");
                one.push_str(prefix);
                let digits = one.len()..one.len() + DIGITS;
                one.push_str(&"0".repeat(DIGITS));
                one.push_str("\r\n");
                Some(Users { digits, count, next: 0, step: 1 })
            }
            None => None,
        };
        match method {
            "POST" => one.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{ORDER}",
                ORDER.len()
            )),
            _ => one.push_str("\r\n"),
        }
        let (bytes, len) = (one.repeat(pipeline as usize).into_bytes(), one.len());
        Ok(Self { bytes, len, user, also: None, turns: None })
    }

    /// In turn with two that post this text to the same target, with its length and in a chunk, where
    /// they are sent one at a time.
    #[must_use]
    pub fn and_post(self, host: &str, target: &str, text: &str) -> Self {
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\n");
        let len = text.len();
        let others = [
            format!("{head}Content-Length: {len}\r\n\r\n{text}"),
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{len:x}\r\n{text}\r\n0\r\n\r\n"),
        ];
        let whole = |text: String| {
            let (len, bytes) = (text.len(), text.into_bytes());
            Self { bytes, len, user: None, also: None, turns: None }
        };
        let turns = Turns { others: others.map(whole).into(), next: 0 };
        Self { turns: Some(Box::new(turns)), ..self }
    }

    /// With another request in the place of one in so many, where they are sent one at a time.
    #[must_use]
    pub fn also(self, request: Self, every: u64) -> Self {
        Self { also: Some(Also { request: Box::new(request), every, until: every }), ..self }
    }

    /// The part of one of so many threads: each names other users, until all have been named.
    pub fn for_thread(&self, thread: usize, threads: usize) -> Self {
        let mut own = self.clone();
        if let Some(user) = &mut own.user {
            (user.next, user.step) = (thread as u64, threads as u64);
        }
        if let Some(also) = &mut own.also {
            *also.request = also.request.for_thread(thread, threads);
        }
        own
    }

    /// The next requests.
    pub fn take(&mut self, count: u32) -> &[u8] {
        if let Some(also) = &mut self.also {
            also.until -= 1;
            if also.until == 0 {
                also.until = also.every;
                return also.request.take(count);
            }
        }
        if let Some(turns) = &mut self.turns {
            let turn = turns.next;
            turns.next = (turn + 1) % (turns.others.len() + 1);
            if turn > 0 {
                return turns.others[turn - 1].take(count);
            }
        }
        let len = self.len * count as usize;
        if let Some(user) = &mut self.user {
            for one in self.bytes[..len].chunks_exact_mut(self.len) {
                let mut rest = user.next % user.count;
                for digit in one[user.digits.clone()].iter_mut().rev() {
                    *digit = b'0' + (rest % 10) as u8;
                    rest /= 10;
                }
                user.next += user.step;
            }
        }
        &self.bytes[..len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Wording<'_> =
        Wording { host: "a:1", target: "/buy/ticket", http10: false, close: false, users: None };

    fn text(request: &mut Request, count: u32) -> String {
        String::from_utf8_lossy(request.take(count)).into_owned()
    }

    #[test]
    fn requests_say_what_they_should() {
        let mut plain = Request::new(&PLAIN, 2).expect("legal");
        let one = "GET /buy/ticket HTTP/1.1\r\nHost: a:1\r\n\r\n";
        assert_eq!((text(&mut plain, 1), text(&mut plain, 2)), (one.into(), one.repeat(2)));
        let close = Wording { close: true, ..PLAIN };
        let close = text(&mut Request::new(&close, 1).expect("legal"), 1);
        assert_eq!(close, "GET /buy/ticket HTTP/1.1\r\nHost: a:1\r\nConnection: close\r\n\r\n");
        let post = Wording { target: "POST /v1/sales/a/reservations", ..PLAIN };
        let post = text(&mut Request::new(&post, 1).expect("legal"), 1);
        assert!(post.starts_with("POST /v1/sales/a/reservations HTTP/1.1\r\n"), "{post}");
        assert!(post.ends_with(&format!("Content-Length: {}\r\n\r\n{ORDER}", ORDER.len())));
        let old = Wording { close: true, http10: true, ..PLAIN };
        let old = text(&mut Request::new(&old, 1).expect("legal"), 1);
        assert_eq!(old, "GET /buy/ticket HTTP/1.0\r\nHost: a:1\r\n\r\n");
    }

    #[test]
    fn users_take_turns_across_threads() {
        let users = Wording { users: Some((3, "u-")), ..PLAIN };
        let request = Request::new(&users, 2).expect("legal");
        let named = |text: &str| -> Vec<String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix("X-User-Id: "));
            lines.map(str::to_owned).collect()
        };
        let mut one = request.for_thread(0, 2);
        assert_eq!(named(&text(&mut one, 2)), ["u-0000000000", "u-0000000002"]);
        assert_eq!(named(&text(&mut one, 1)), ["u-0000000001"]);
        let mut other = request.for_thread(1, 2);
        assert_eq!(named(&text(&mut other, 2)), ["u-0000000001", "u-0000000000"]);
    }

    #[test]
    fn one_in_so_many_asks_for_something_else() {
        let other = Wording { target: "/other", ..PLAIN };
        let other = Request::new(&other, 1).expect("legal");
        let mut mixed = Request::new(&PLAIN, 1).expect("legal").also(other, 3).for_thread(0, 1);
        let asked: Vec<_> = (0..7).map(|_| text(&mut mixed, 1).contains("/other")).collect();
        assert_eq!(asked, [false, false, true, false, false, true, false]);
    }

    #[test]
    fn get_and_two_ways_to_post_take_turns() {
        let target = "/sum?a=1";
        let get = Wording { target, ..PLAIN };
        let get = Request::new(&get, 1).expect("legal").and_post("a:1", target, "20");
        let mut mixed = get.for_thread(0, 1);
        let asked: Vec<_> = (0..6).map(|_| text(&mut mixed, 1)).collect();
        assert_eq!(asked[..3], asked[3..]);
        assert_eq!(asked[0], "GET /sum?a=1 HTTP/1.1\r\nHost: a:1\r\n\r\n");
        let post = "POST /sum?a=1 HTTP/1.1\r\nHost: a:1\r\nContent-Type: text/plain\r\n";
        assert_eq!(asked[1], format!("{post}Content-Length: 2\r\n\r\n20"));
        let chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n2\r\n20\r\n0\r\n\r\n");
        assert_eq!(asked[2], chunked);
    }

    #[test]
    fn what_can_not_be_sent_is_refused() {
        for target in ["", "buy", "/a b", "/a\r\nb", "/票"] {
            assert!(Request::new(&Wording { target, ..PLAIN }, 1).is_err(), "{target:?}");
        }
        let long = "u".repeat(USER_BYTES_MAX);
        for prefix in ["a b", "a\r\n", &long] {
            let users = Wording { users: Some((1, prefix)), ..PLAIN };
            assert!(Request::new(&users, 1).is_err(), "{prefix:?}");
        }
    }
}
