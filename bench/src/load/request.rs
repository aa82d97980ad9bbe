//! The bytes of a request, encoded once. Only its [`fields`](super::fields) change.

use super::fields::{Fields, KEY_BYTES, Keys, Numbers, SALE_DIGITS, SALES_MAX, Sales, USER_DIGITS};
use crate::error::{Result, fail};

/// Longest user name of the API.
const USER_BYTES_MAX: usize = 128;

/// Encoded requests, as many as one write needs.
#[derive(Debug, Clone)]
pub struct Request {
    /// Consecutive requests, as many as a pipeline holds.
    bytes: Vec<u8>,
    len: usize,
    fields: Fields,
    also: Option<Also>,
    turns: Option<Box<Turns>>,
}

/// Requests that take turns with the first one.
#[derive(Debug, Clone)]
struct Turns {
    others: Vec<Request>,
    next: usize,
}

/// A request that replaces one in this number.
#[derive(Debug, Clone)]
struct Also {
    request: Box<Request>,
    every: u64,
    until: u64,
}

/// Prefix of a target to post to.
const POST: &str = "POST ";
/// Placeholder of a sale's number in a target.
pub const SALE: &str = "{sale}";
/// The user of an order without numbered users.
const USER: &str = "load";
/// The posted order, around its user.
const ORDER: (&str, &str) = (r#"{"user":""#, r#"","quantity":1}"#);

/// The content of a request.
#[derive(Debug, Clone, Copy)]
pub struct Wording<'a> {
    /// The value of `Host`.
    pub host: &'a str,
    /// The target: `/buy/ticket`, or `POST /v1/sales/ticket/reservations` for an order. The number of
    /// a sale replaces [`SALE`].
    pub target: &'a str,
    /// Whether to use HTTP/1.0, as `ab` does.
    pub http10: bool,
    /// Whether to ask for the connection's close.
    pub close: bool,
    /// Number of users that take turns, and the prefix of their names. An order names the user in its
    /// body, another request in `X-User-Id`.
    pub users: Option<(u64, &'a str)>,
    /// Whether each user has an `Idempotency-Key`.
    pub keys: bool,
    /// Number of sales to choose from at random.
    pub sales: Option<u64>,
}

impl Request {
    /// `pipeline`: most requests per write.
    pub fn new(wording: &Wording<'_>, pipeline: u32) -> Result<Self> {
        let Wording { host, target, http10, close, users, keys, sales } = *wording;
        let (method, target) = match target.strip_prefix(POST) {
            Some(target) => ("POST", target),
            None => ("GET", target),
        };
        check(wording, target)?;
        let mut text = Text { out: format!("{method} "), fields: Fields::default() };
        text.target(target, sales);
        let version = if http10 { "1.0" } else { "1.1" };
        text.out.push_str(&format!(" HTTP/{version}\r\nHost: {host}\r\n"));
        if close && !http10 {
            text.out.push_str("Connection: close\r\n");
        }
        if let (true, Some((count, prefix))) = (keys, users) {
            text.key(prefix, count);
        }
        match (method, users) {
            ("POST", users) => text.order(users),
            (_, Some((count, prefix))) => {
                text.out.push_str("X-User-Id: ");
                text.user(prefix, count);
                text.out.push_str("\r\n\r\n");
            }
            _ => text.out.push_str("\r\n"),
        }
        let Text { out, fields } = text;
        let (bytes, len) = (out.repeat(pipeline as usize).into_bytes(), out.len());
        Ok(Self { bytes, len, fields, also: None, turns: None })
    }

    /// Adds two requests that post this text to the same target, with its length and in a chunk. All
    /// three take turns, one at a time.
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
            Self { bytes, len, fields: Fields::default(), also: None, turns: None }
        };
        let turns = Turns { others: others.map(whole).into(), next: 0 };
        Self { turns: Some(Box::new(turns)), ..self }
    }

    /// Adds another request that replaces one in this number, one at a time.
    #[must_use]
    pub fn also(self, request: Self, every: u64) -> Self {
        Self { also: Some(Also { request: Box::new(request), every, until: every }), ..self }
    }

    /// The share of one of these threads: no two threads name the same user before all have been
    /// named.
    pub fn for_thread(&self, thread: usize, threads: usize) -> Self {
        let mut own = self.clone();
        own.fields.for_thread(thread, threads);
        if let Some(also) = &mut own.also {
            *also.request = also.request.for_thread(thread, threads);
        }
        own
    }

    /// Takes the next requests.
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
        if !self.fields.is_empty() {
            for one in self.bytes[..len].chunks_exact_mut(self.len) {
                self.fields.fill(one);
            }
        }
        &self.bytes[..len]
    }
}

/// Rejects settings that can't be sent or would change their meaning.
fn check(wording: &Wording<'_>, target: &str) -> Result<()> {
    if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return fail(format!(
            "--target {target:?}: must begin with / and have only visible ASCII characters"
        ));
    }
    if let Some((_, prefix)) = wording.users {
        // Only characters that neither JSON nor a header escapes.
        let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
        if !prefix.bytes().all(plain) || prefix.len() + USER_DIGITS > USER_BYTES_MAX {
            let max = USER_BYTES_MAX - USER_DIGITS;
            return fail(format!(
                "--user-prefix {prefix:?}: must have at most {max} visible ASCII characters, no quote and no \
                 backslash"
            ));
        }
    }
    match wording.sales {
        Some(count) if !(1..=SALES_MAX).contains(&count) => {
            fail(format!("--sales {count}: must be between 1 and {SALES_MAX}"))
        }
        Some(_) if target.matches(SALE).count() != 1 => {
            fail(format!("--sales: the target must have {SALE} in it exactly once"))
        }
        _ => Ok(()),
    }
}

/// A request during its encoding.
struct Text {
    out: String,
    fields: Fields,
}

impl Text {
    fn target(&mut self, target: &str, sales: Option<u64>) {
        match (sales, target.split_once(SALE)) {
            (Some(count), Some((before, behind))) => {
                self.out.push_str(before);
                self.fields.sale = Some((self.room("0", SALE_DIGITS), Sales::new(count)));
                self.out.push_str(behind);
            }
            _ => self.out.push_str(target),
        }
    }

    fn user(&mut self, prefix: &str, count: u64) {
        self.out.push_str(prefix);
        self.fields.user = Some((self.room("0", USER_DIGITS), Numbers::new(count)));
    }

    fn key(&mut self, prefix: &str, count: u64) {
        self.out.push_str("Idempotency-Key: ");
        self.fields.key = Some((self.room("-", KEY_BYTES), Keys::new(prefix, count)));
        self.out.push_str("\r\n");
    }

    /// Ends the head and adds the body.
    fn order(&mut self, users: Option<(u64, &str)>) {
        let user_bytes = users.map_or(USER.len(), |(_, prefix)| prefix.len() + USER_DIGITS);
        self.out.push_str(&format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
            ORDER.0.len() + user_bytes + ORDER.1.len(),
            ORDER.0
        ));
        match users {
            Some((count, prefix)) => self.user(prefix, count),
            None => self.out.push_str(USER),
        }
        self.out.push_str(ORDER.1);
    }

    /// Adds room for a field and returns its position.
    fn room(&mut self, filler: &str, bytes: usize) -> std::ops::Range<usize> {
        let from = self.out.len();
        self.out.push_str(&filler.repeat(bytes));
        from..self.out.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Wording<'_> = Wording {
        host: "a:1",
        target: "/buy/ticket",
        http10: false,
        close: false,
        users: None,
        keys: false,
        sales: None,
    };

    fn text(request: &mut Request, count: u32) -> String {
        String::from_utf8_lossy(request.take(count)).into_owned()
    }

    #[test]
    fn requests_have_the_expected_text() {
        let mut plain = Request::new(&PLAIN, 2).expect("legal");
        let one = "GET /buy/ticket HTTP/1.1\r\nHost: a:1\r\n\r\n";
        assert_eq!((text(&mut plain, 1), text(&mut plain, 2)), (one.into(), one.repeat(2)));
        let close = Wording { close: true, ..PLAIN };
        let close = text(&mut Request::new(&close, 1).expect("legal"), 1);
        assert_eq!(close, "GET /buy/ticket HTTP/1.1\r\nHost: a:1\r\nConnection: close\r\n\r\n");
        let post = Wording { target: "POST /v1/sales/a/reservations", ..PLAIN };
        let post = text(&mut Request::new(&post, 1).expect("legal"), 1);
        assert!(post.starts_with("POST /v1/sales/a/reservations HTTP/1.1\r\n"), "{post}");
        let order = r#"{"user":"load","quantity":1}"#;
        assert!(post.ends_with(&format!("Content-Length: {}\r\n\r\n{order}", order.len())));
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
    fn a_reservation_request_names_its_user_key_and_sale() {
        let target = "POST /v1/sales/hot-{sale}/reservations";
        let users = Some((1_000, "usr"));
        let order = Wording { target, users, keys: true, sales: Some(1), ..PLAIN };
        let mut order = Request::new(&order, 2).expect("legal").for_thread(1, 2);
        let (two, one) = (text(&mut order, 2), text(&mut order, 1));
        assert_eq!(two.len(), 2 * one.len());
        let (first, second) = two.split_at(one.len());
        let mut keys = Vec::new();
        for (request, user) in
            [(first, "usr0000000001"), (second, "usr0000000003"), (&one, "usr0000000005")]
        {
            let body = format!(r#"{{"user":"{user}","quantity":1}}"#);
            let head = "POST /v1/sales/hot-0000/reservations HTTP/1.1\r\nHost: a:1\r\n";
            let rest = request.strip_prefix(head).expect("a target and a host");
            let (key, rest) = rest.split_once("\r\n").expect("a line");
            let key = key.strip_prefix("Idempotency-Key: ").expect("a key");
            assert!(key.len() == KEY_BYTES && !keys.contains(&key), "{key}");
            keys.push(key);
            let length = body.len();
            assert_eq!(
                rest,
                format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
            );
        }
    }

    #[test]
    fn every_nth_request_asks_for_the_other_target() {
        let other = Wording { target: "/other", ..PLAIN };
        let other = Request::new(&other, 1).expect("legal");
        let mut mixed = Request::new(&PLAIN, 1).expect("legal").also(other, 3).for_thread(0, 1);
        let asked: Vec<_> = (0..7).map(|_| text(&mut mixed, 1).contains("/other")).collect();
        assert_eq!(asked, [false, false, true, false, false, true, false]);
    }

    #[test]
    fn get_and_two_kinds_of_post_alternate() {
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
    fn illegal_targets_and_users_are_refused() {
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
