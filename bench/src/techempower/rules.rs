//! The rules of TechEmpower's JSON and plaintext tests, each as a check of a running server.
//!
//! They come from its wiki ("Project Information Framework Tests Overview") and its verifier
//! (`toolset/test_types`), with HTTP's own rules in addition. A client can't see whether a response is
//! composed per request, so that rule reads the source.
//!
//! Knows only the server's address: `bench/run techempower` and a test of the server share it.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::wire::{Answer, Found, Wire};

/// Requests per write of the plaintext test.
const PIPELINED: usize = 16;
const KEPT_REQUESTS: usize = 100;
/// Time between TechEmpower's two requests.
const DATE_WATCH: Duration = Duration::from_secs(3);
const DATE_POLL: Duration = Duration::from_millis(50);
/// Largest age of a date when its request was sent, because the second may change meanwhile.
const DATE_AGE_MAX_S: u64 = 1;

const HANDLER: &str = include_str!("../../../src/handler.rs");
const ANSWER: &str = include_str!("../../../src/handler/answer.rs");
const RESPONSE: &str = include_str!("../../../src/engine/http/response.rs");

/// One of the two tests.
#[derive(Debug, Clone, Copy)]
pub struct Test {
    /// Its name in the tables.
    pub name: &'static str,
    /// Its path.
    pub path: &'static str,
    content_types: [&'static str; 3],
    accept: &'static str,
    body: &'static str,
    writer: &'static str,
}

/// The two tests.
pub const TESTS: [Test; 2] = [
    Test {
        name: "json",
        path: "/json",
        content_types: [
            "application/json",
            "application/json; charset=utf-8",
            "application/json;charset=utf-8",
        ],
        accept: "application/json,text/html;q=0.9,application/xhtml+xml;q=0.9,\
                 application/xml;q=0.8,*/*;q=0.7",
        body: r#"{"message":"Hello, World!"}"#,
        writer: "write_techempower_json",
    },
    Test {
        name: "plaintext",
        path: "/plaintext",
        content_types: ["text/plain", "text/plain; charset=utf-8", "text/plain;charset=utf-8"],
        accept: "text/plain,text/html;q=0.9,application/xhtml+xml;q=0.9,\
                 application/xml;q=0.8,*/*;q=0.7",
        body: "Hello, World!",
        writer: "write_plaintext",
    },
];

/// The finding of a rule.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The test's name.
    pub test: &'static str,
    /// The rule.
    pub rule: &'static str,
    /// The finding. `Err`: the rule does not hold.
    pub found: Found<String>,
}

type Rule = (&'static str, fn(&Test, SocketAddr) -> Found<String>);

const RULES: [Rule; 15] = [
    ("status 200", status),
    ("Content-Type", content_type),
    ("Content-Length or chunked", size),
    ("Server", server),
    ("Date is right", date),
    ("Date is renewed each second", date_renewed),
    ("body", body),
    ("no compression, though it is offered", no_compression),
    ("nothing says cacheable", not_cacheable),
    ("keep-alive, as wrk asks", keep_alive),
    ("16 pipelined, in order", pipelined),
    ("HEAD has no body", head),
    ("HTTP/1.0", http_1_0),
    ("query strings, unusual headers", unusual_requests),
    ("composed for each request (source)", composed),
];

/// Checks every rule of both tests. Takes some seconds, because dates must move.
pub fn check(address: SocketAddr) -> Vec<Finding> {
    let both = TESTS.iter().flat_map(|test| RULES.iter().map(move |rule| (test, rule)));
    let finding = |(test, &(rule, holds)): (&Test, &Rule)| Finding {
        test: test.name,
        rule,
        found: holds(test, address),
    };
    both.map(finding).collect()
}

impl Test {
    /// The request that TechEmpower's load generator sends: wrk with these three headers.
    fn request(&self) -> String {
        self.request_with(&format!("Accept: {}\r\nConnection: keep-alive\r\n", self.accept))
    }

    fn request_with(&self, headers: &str) -> String {
        format!("GET {} HTTP/1.1\r\nHost: tfb-server\r\n{headers}\r\n", self.path)
    }

    fn ask(&self, address: SocketAddr) -> Found<Answer> {
        Wire::connect(address)?.ask(self.request())
    }

    /// `Err` unless the answer is this test's.
    fn judge(&self, answer: &Answer) -> Found<()> {
        if answer.line != "HTTP/1.1 200 OK" {
            return Err(answer.line.clone());
        }
        let content_type = answer.required("content-type")?;
        if !self.content_types.iter().any(|known| known.eq_ignore_ascii_case(content_type)) {
            return Err(format!("Content-Type: {content_type}"));
        }
        if answer.body != self.body.as_bytes() {
            return Err(format!("a body of {:?}", String::from_utf8_lossy(&answer.body)));
        }
        answer.required("server").and(answer.required("date")).map(|_| ())
    }
}

fn status(test: &Test, address: SocketAddr) -> Found<String> {
    let answer = test.ask(address)?;
    if answer.line.starts_with("HTTP/1.1 200 ") { Ok(answer.line) } else { Err(answer.line) }
}

fn content_type(test: &Test, address: SocketAddr) -> Found<String> {
    let answer = test.ask(address)?;
    test.judge(&answer)?;
    answer.required("content-type").map(str::to_owned)
}

fn size(test: &Test, address: SocketAddr) -> Found<String> {
    // An answer without either, or with a length that isn't its body's, can't be read.
    let answer = test.ask(address)?;
    test.judge(&answer)?;
    let said = |name: &str| Ok::<_, String>(answer.header(name)?.map(str::to_owned));
    let length = said("content-length")?.map(|length| format!("Content-Length: {length}"));
    Ok(length.unwrap_or_else(|| "chunked".into()))
}

fn server(test: &Test, address: SocketAddr) -> Found<String> {
    let answer = test.ask(address)?;
    match answer.required("server")? {
        "" => Err("an empty name".into()),
        name => Ok(name.to_owned()),
    }
}

fn date(test: &Test, address: SocketAddr) -> Found<String> {
    let mut wire = Wire::connect(address)?;
    let second = dated(test, &mut wire)?;
    Ok(httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second)))
}

/// The date of an answer, in seconds since 1970: well-formed, neither old nor in the future.
fn dated(test: &Test, wire: &mut Wire) -> Found<u64> {
    let before = now_s();
    let answer = wire.ask(test.request())?;
    let after = now_s();
    let text = answer.required("date")?;
    let time = httpdate::parse_http_date(text).map_err(|_| format!("no date: {text}"))?;
    if httpdate::fmt_http_date(time) != text {
        return Err(format!("not in the form of RFC 9110: {text}"));
    }
    let second = seconds(time);
    match (before.saturating_sub(DATE_AGE_MAX_S)..=after).contains(&second) {
        true => Ok(second),
        false => Err(format!("{text}, but it was {before} to {after}, not {second}")),
    }
}

fn date_renewed(test: &Test, address: SocketAddr) -> Found<String> {
    let mut wire = Wire::connect(address)?;
    let first = dated(test, &mut wire)?;
    let (mut last, mut asked) = (first, 1);
    let until = SystemTime::now() + DATE_WATCH;
    while SystemTime::now() < until {
        sleep(DATE_POLL);
        let second = dated(test, &mut wire)?;
        if second < last {
            return Err(format!("{second} after {last}"));
        }
        (last, asked) = (second, asked + 1);
    }
    match last - first {
        0 | 1 => Err(format!("Date moved by {} s in {DATE_WATCH:?}", last - first)),
        moved => Ok(format!("{asked} answers, none stale, {moved} s on")),
    }
}

fn body(test: &Test, address: SocketAddr) -> Found<String> {
    let answer = test.ask(address)?;
    test.judge(&answer)?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    if test.name == "json" {
        let value = serde_json::from_str::<serde_json::Value>(&text).map_err(|e| e.to_string())?;
        if value != serde_json::json!({"message": "Hello, World!"}) {
            return Err(format!("an object of {value}"));
        }
    }
    Ok(text)
}

fn no_compression(test: &Test, address: SocketAddr) -> Found<String> {
    let request = test.request_with("Accept-Encoding: gzip, deflate, br, zstd\r\n");
    let answer = Wire::connect(address)?.ask(request)?;
    test.judge(&answer)?;
    match answer.header("content-encoding")? {
        None => Ok("no Content-Encoding".into()),
        Some(coding) => Err(format!("Content-Encoding: {coding}")),
    }
}

fn not_cacheable(test: &Test, address: SocketAddr) -> Found<String> {
    let answer = test.ask(address)?;
    for name in ["expires", "etag", "last-modified", "age", "via", "x-cache"] {
        if let Some(value) = answer.header(name)? {
            return Err(format!("{name}: {value}"));
        }
    }
    match answer.header("cache-control")? {
        Some(value) if !value.contains("no-store") => Err(format!("Cache-Control: {value}")),
        said => Ok(said.map_or_else(|| "no word about caches".into(), str::to_owned)),
    }
}

fn keep_alive(test: &Test, address: SocketAddr) -> Found<String> {
    let mut wire = Wire::connect(address)?;
    for _ in 0..KEPT_REQUESTS {
        let answer = wire.ask(test.request())?;
        test.judge(&answer)?;
        if answer.header("connection")?.is_some_and(|said| said.eq_ignore_ascii_case("close")) {
            return Err("Connection: close".into());
        }
    }
    Ok(format!("{KEPT_REQUESTS} requests on a connection"))
}

fn pipelined(test: &Test, address: SocketAddr) -> Found<String> {
    let mut wire = Wire::connect(address)?;
    // As wrk sends them; that alike answers have an order can't be seen.
    wire.send(test.request().repeat(PIPELINED))?;
    for _ in 0..PIPELINED {
        test.judge(&wire.answer()?)?;
    }
    // So once more with every third request the other test's, for an order that can.
    let other = TESTS.iter().find(|other| other.name != test.name).unwrap_or(test);
    let at = |index: usize| if index % 3 == 2 { other } else { test };
    wire.send((0..PIPELINED).map(|index| at(index).request()).collect::<String>())?;
    for index in 0..PIPELINED {
        at(index).judge(&wire.answer()?).map_err(|found| format!("answer {index}: {found}"))?;
    }
    test.judge(&wire.ask(test.request())?)?;
    Ok(format!("{PIPELINED} alike, {PIPELINED} mixed, one more"))
}

fn head(test: &Test, address: SocketAddr) -> Found<String> {
    let mut wire = Wire::connect(address)?;
    // A body after the head would be read as the next answer's first line.
    let asked = test.request();
    wire.send(asked.replacen("GET", "HEAD", 1))?;
    let head = wire.head()?;
    let get = wire.ask(&asked)?;
    test.judge(&get)?;
    let undated = |answer: &Answer| {
        let headers = answer.headers.iter().filter(|(name, _)| name != "date").cloned();
        (answer.line.clone(), headers.collect::<Vec<_>>())
    };
    match undated(&head) == undated(&get) {
        true => Ok("the headers of GET".into()),
        false => Err(format!("{:?} for HEAD, {:?} for GET", undated(&head), undated(&get))),
    }
}

fn http_1_0(test: &Test, address: SocketAddr) -> Found<String> {
    let mut wire = Wire::connect(address)?;
    let plain = format!("GET {} HTTP/1.0\r\n\r\n", test.path);
    test.judge(&wire.ask(&plain)?)?;
    wire.end()?;
    let mut wire = Wire::connect(address)?;
    let kept = format!("GET {} HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", test.path);
    for _ in 0..3 {
        let answer = wire.ask(&kept)?;
        test.judge(&answer)?;
        let said = answer.required("connection")?;
        if !said.eq_ignore_ascii_case("keep-alive") {
            return Err(format!("Connection: {said}"));
        }
    }
    Ok("closes; stays open if asked".into())
}

fn unusual_requests(test: &Test, address: SocketAddr) -> Found<String> {
    let browser = "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20130501 Firefox/30.0 \
                   AppleWebKit/600.00 Chrome/30.0.0000.0 Trident/10.0 Safari/600.00\r\n\
                   Cookie: uid=12345678901234567890; __utma=1.1234567890.1234567890.12; \
                   wd=2560x1600\r\nAccept: text/html,application/xhtml+xml,\
                   application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n\
                   Connection: keep-alive\r\n";
    let headers = [
        "",
        browser,
        "User-Agent: python-requests/2.32\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n",
        "aCCEPT:text/plain\r\nCONNECTION:   Keep-Alive  \r\n",
        "Accept: text/plain\r\nAccept: application/json\r\nX-Empty:\r\nX_1!#$: \"a\", b\r\n",
        "Cache-Control: no-cache\r\nIf-None-Match: \"x\"\r\nRange: bytes=0-1\r\n",
        "Content-Length: 0\r\nTE: trailers\r\nConnection: keep-alive, TE\r\n",
    ];
    let queries = ["", "?", "?queries=20", "?a=b&c=%20%2F&d", "?x=/plaintext?y"];
    let mut wire = Wire::connect(address)?;
    for headers in headers {
        for query in queries {
            let line = format!("{}{query} ", test.path);
            let request = test.request_with(headers).replacen(&format!("{} ", test.path), &line, 1);
            let judged = wire.ask(&request).and_then(|answer| test.judge(&answer));
            judged.map_err(|found| format!("{found}, to {request:?}"))?;
        }
    }
    Ok(format!("{} kinds answered alike", headers.len() * queries.len()))
}

/// Follows a request through the source: from its route straight to the function that writes its
/// answer, part by part, with nothing kept that an earlier request has made.
fn composed(test: &Test, _: SocketAddr) -> Found<String> {
    let Test { writer, .. } = test;
    let route = if test.name == "json" { "Json" } else { "Plaintext" };
    if !HANDLER.contains(&format!("Route::{route} => {writer}(context, out),")) {
        return Err(format!("src/handler.rs does not take it straight to {writer}"));
    }
    let function = function(ANSWER, writer).ok_or_else(|| format!("there is no {writer}"))?;
    let makes = ["serde_json::to_writer(&mut rest, &Message {", ".write(context, &["];
    let makes = if test.name == "json" { &makes[..] } else { &makes[1..] };
    if makes.iter().any(|call| !function.contains(call)) {
        return Err(format!("{writer} does not create it:\n{function}"));
    }
    if ["Preencoded", "static", "OnceLock", "thread_local"]
        .iter()
        .any(|kept| function.contains(kept))
    {
        return Err(format!("{writer} keeps something:\n{function}"));
    }
    // The status line, each header and the body are put together by what every response uses.
    let head = self::function(RESPONSE, "write_head").unwrap_or_default();
    for part in ["self.status.line()", "Server: ", "Date: ", "Content-Type: ", "Content-Length: "] {
        if !head.contains(part) {
            return Err(format!("write_head does not append {part}"));
        }
    }
    let line = ANSWER.lines().position(|line| line.contains(&format!("fn {writer}(")));
    Ok(format!("{writer}, src/handler/answer.rs:{}", line.unwrap_or_default() + 1))
}

/// A function's text, to the brace that ends it at the same indentation.
fn function<'a>(source: &'a str, name: &str) -> Option<&'a str> {
    let at = source.find(&format!("fn {name}("))?;
    let line = source[..at].rfind('\n')? + 1;
    let indentation = source[line..].len() - source[line..].trim_start_matches(' ').len();
    let end = source[at..].find(&format!("\n{}}}\n", " ".repeat(indentation)))?;
    Some(&source[at..at + end])
}

fn now_s() -> u64 {
    seconds(SystemTime::now())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
