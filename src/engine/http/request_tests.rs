//! Which requests are accepted, which are rejected, and with which status.

use proptest::prelude::*;

use super::fast_path::parse_fast;
use super::head::*;
use super::problem::{Kind, ParseError};
use super::request::*;
use crate::limits::*;

fn head(input: &str) -> Head<'_> {
    match parse_head(input.as_bytes()) {
        Ok(Some(head)) => head,
        other => panic!("{input:?}: {other:?}"),
    }
}

fn code(input: impl AsRef<[u8]>) -> &'static Kind {
    let input = input.as_ref();
    match parse_head(input) {
        Err(reject) => reject.kind,
        Ok(head) => panic!("{:?}: {head:?}", String::from_utf8_lossy(input)),
    }
}

/// A request with these header lines after the Host.
fn with(headers: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n")
}

#[test]
fn a_head_is_parsed() {
    let input = "POST /v1/sales/ticket/reservations?x=%20&y HTTP/1.1\r\nHost: shop.example:8080\r\nX-USER-ID: \t u 1 \t\r\n\
        idempotency-key: \"k\"\r\nContent-Type: application/json\r\ncontent-length: 17\r\nAccept:\r\n\r\n{\"user\":\"u\"}";
    assert_eq!(
        head(input),
        Head {
            method: Method::Post,
            path: "/v1/sales/ticket/reservations",
            query: Some("x=%20&y"),
            version: Version::Http11,
            keep_alive: true,
            framing: Framing::Length(17),
            expect_continue: false,
            user: Some(b"u 1"),
            idempotency_key: Some(b"\"k\""),
            content_type: Some(b"application/json"),
            rare: RareFlags::default(),
            bytes: &input.as_bytes()[..input.find("\r\n\r\n").unwrap() + 4],
        }
    );
}

#[test]
fn methods_are_parsed() {
    for (name, method) in [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("DELETE", Method::Delete),
        ("OPTIONS", Method::Options),
        ("PATCH", Method::Patch),
        ("QUERY", Method::Query),
        ("TRACE", Method::Trace),
    ] {
        assert_eq!(head(&format!("{name} / HTTP/1.0\r\n\r\n")).method, method);
    }
    for unknown in ["get", "BREW", "GETX", "G", "M-SEARCH", "PROPFIND"] {
        let input = format!("{unknown} /a?b HTTP/1.0\r\nContent-Length: 5\r\n\r\n");
        let head = head(&input);
        assert_eq!(
            (head.method, head.problem_before_routing(false)),
            (Method::Other, Some(Kind::NOT_IMPLEMENTED))
        );
        assert_eq!((head.path, head.framing), ("/a", Framing::Length(5)), "{unknown}");
    }
    // The bytes after these are not HTTP/1.1.
    for other in ["PRI", "CONNECT"] {
        assert_eq!(code(format!("{other} / HTTP/1.0\r\n\r\n")), Kind::NOT_IMPLEMENTED);
    }
    assert_eq!(code("BREW * HTTP/1.0\r\n\r\n"), Kind::BAD_REQUEST);
    assert_eq!(code("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"), Kind::NOT_IMPLEMENTED);
    for bad in ["", "G\tT", "G(T", "GÈT", "\"GET\"", "GET:", "G\0T"] {
        assert_eq!(code(format!("{bad} / HTTP/1.0\r\n\r\n")), Kind::BAD_REQUEST, "{bad:?}");
    }
}

#[test]
fn versions_are_parsed() {
    let line = |version: &str| format!("GET / {version}\r\nHost: a\r\n\r\n");
    assert_eq!(head(&line("HTTP/1.1")).version, Version::Http11);
    assert_eq!(head(&line("HTTP/1.0")).version, Version::Http10);
    for higher in ["HTTP/1.2", "HTTP/1.5", "HTTP/1.9"] {
        let input = "\r\n".to_owned() + &line(&format!("{higher}\r\nX-User-Id: u\r\nY:"));
        let head = head(&input);
        assert_eq!((head.version, head.user, head.path), (Version::Http11, Some(&b"u"[..]), "/"));
        assert_eq!(head.bytes, input.as_bytes());
        assert_eq!(code(format!("GET / {higher}\r\n\r\n")), Kind::BAD_REQUEST, "no Host");
        assert_eq!(code(format!("GET / {higher}\r\nHost: a\n\r\n")), Kind::BAD_REQUEST);
        assert_eq!(code(format!("GET / {higher}\nHost: a\r\n\r\n")), Kind::BAD_REQUEST);
        assert_eq!(code(format!("GET / {higher}\r\nHost : a\r\n\r\n")), Kind::BAD_REQUEST);
        let tabbed = format!("POST / {higher}\r\nHost: a\r\nTransfer-Encoding:\tchunked\r\n\r\n");
        assert_eq!(code(tabbed), Kind::BAD_REQUEST);
        let many = format!("GET / {higher}\r\n{}\r\n", "X: y\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(code(many), Kind::HEAD_TOO_LARGE);
    }
    for other in ["HTTP/0.9", "HTTP/2.0", "HTTP/2.1", "HTTP/3.0", "HTTP/9.9"] {
        assert_eq!(code(line(other)), Kind::VERSION_NOT_SUPPORTED, "{other}");
    }
    for bad in [
        "HTTP/1.10",
        "HTTP/1.20",
        "HTTP/1.2 ",
        "HTTP/1.2\r",
        "HTTP/11",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/2",
        "HTTP/x.y",
        "HTTP/1,1",
        "http/1.1",
        "HTTP /1.1",
        "HTTP/2.0 ",
        "HTTP/1.1 ",
        " HTTP/1.1",
        "HTTP/1.1 x",
        "HTTPS/1.1",
        "HTTP/-1.1",
        "HTTP/2.00",
        "ICY/1.1",
        "",
    ] {
        assert_eq!(code(line(bad)), Kind::BAD_REQUEST, "{bad}");
    }
    assert_eq!(code("GET /\r\n\r\n"), Kind::BAD_REQUEST, "HTTP/0.9");
    assert_eq!(code("GET / HTTP/2.0\n\n"), Kind::BAD_REQUEST);
    assert_eq!(code("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Kind::VERSION_NOT_SUPPORTED);
}

#[test]
fn targets_are_parsed() {
    for (line, path, query) in [
        ("GET /", "/", None),
        ("GET /a/b?c=d?e", "/a/b", Some("c=d?e")),
        ("GET /?", "/", Some("")),
        ("GET ?", "", None),
        ("GET //a", "//a", None),
        ("GET /张?三", "/张", Some("三")),
        ("GET http://a/b?c", "/b", Some("c")),
        ("GET HTTP://a:80/b", "/b", None),
        ("GET http://[::1]:80", "/", None),
        ("GET http://a:65535", "/", None),
        ("GET http://a?c", "/", Some("c")),
        ("OPTIONS *", "*", None),
        ("OPTIONS http://a", "*", None),
        ("OPTIONS http://a/", "/", None),
    ] {
        let input = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        if path.is_empty() {
            assert_eq!(code(input), Kind::BAD_REQUEST, "{line}");
        } else {
            assert_eq!((head(&input).path, head(&input).query), (path, query), "{line}");
        }
    }
    for bad in [
        "*",
        "a",
        "a:80",
        "/a b",
        "/a#b",
        "/a\u{7f}",
        "/a\0",
        "/a\t",
        "http://",
        "http:///a",
        "http://u@a/",
        "ftp://a/",
        "://a/",
        "http:/a",
        "http://a b/",
        "http://a#b",
        "http://a:65536",
        "https://u@a/",
        "https://a:99999/",
        "\\a",
        "%2f",
    ] {
        let input = format!("GET {bad} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(code(input), Kind::BAD_REQUEST, "{bad:?}");
    }
    for secure in ["https://a", "HTTPS://a:443/b?c", "https://[::1]:80/"] {
        let input = format!("GET {secure} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(
            head(&input).problem_before_routing(false),
            Some(Kind::MISDIRECTED_REQUEST),
            "{secure}"
        );
        assert_eq!(head(&input).problem_before_routing(true), None, "{secure}");
    }
    for (target, host) in [
        ("/", None),
        ("/?x=http://b/", None),
        ("http://b", Some("b")),
        ("http://b:80/c", Some("b:80")),
        ("HTTP://[::1]?c/d", Some("[::1]")),
    ] {
        let input = format!("\r\nGET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(head(&input).target_host(), host.map(str::as_bytes), "{target}");
    }
    assert_eq!(code(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n"), Kind::BAD_REQUEST);
    assert_eq!(code("OPTIONS ** HTTP/1.1\r\nHost: a\r\n\r\n"), Kind::BAD_REQUEST);
    assert_eq!(code("GET http://a/ HTTP/1.1\r\n\r\n"), Kind::BAD_REQUEST, "still needs a Host");
}

#[test]
fn hosts_are_checked() {
    let line = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for good in [
        "a",
        "a.example",
        "a:80",
        "a:",
        "a:65535",
        "a:00001",
        "[::1]:65535",
        "127.0.0.1:3005",
        "[::1]",
        "[::1]:80",
        "[v1.a:b]",
        "xn--a_b~c",
        "a%20b",
        "A",
    ] {
        head(&line(good));
    }
    for bad in [
        "",
        " ",
        "a b",
        "a/b",
        "a@b",
        "a:b",
        "a:80:80",
        "a:-1",
        "a:123456",
        "a:65536",
        "a:99999",
        "[::1]:65536",
        ":80",
        "[",
        "[]",
        "[]:80",
        "[::1",
        "[::1]a",
        "::1",
        "a?b",
        "a#b",
        "a\\b",
        "\"a\"",
        "张",
        "http://a",
        "a\tb",
        "a, b",
        "[::1] :80",
    ] {
        assert_eq!(code(line(bad)), Kind::BAD_REQUEST, "{bad:?}");
    }
    assert_eq!(code("GET / HTTP/1.1\r\n\r\n"), Kind::BAD_REQUEST);
    assert_eq!(code("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), Kind::BAD_REQUEST);
    assert_eq!(code("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n"), Kind::BAD_REQUEST);
    head("GET / HTTP/1.0\r\n\r\n");
}

#[test]
fn persistence_follows_version_and_connection_header() {
    for (version, headers, keep_alive) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "connection: CLOSE\r\n", false),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: keep-alive , Close\r\n", false),
        ("1.1", "Connection: close,,keep-alive\r\n", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("1.1", "Connection: close\r\nConnection: keep-alive\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: foo,\tkeep-alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Keep-Alive: timeout=5\r\n", false),
    ] {
        let input = format!("GET / HTTP/{version}\r\nHost: a\r\n{headers}\r\n");
        assert_eq!(head(&input).keep_alive, keep_alive, "{version} {headers:?}");
    }
}

#[test]
fn framings_are_parsed() {
    for (headers, framing) in [
        ("X: y", Framing::None),
        ("Content-Length: 0", Framing::None),
        ("Content-Length: 000", Framing::None),
        ("Content-Length: 1", Framing::Length(1)),
        ("Content-Length:00016384", Framing::Length(16384)),
        ("Transfer-Encoding: chunked", Framing::Chunked),
        ("transfer-encoding:CHUNKED", Framing::Chunked),
    ] {
        assert_eq!(head(&with(headers)).framing, framing, "{headers:?}");
    }
    for too_large in [
        "16385",
        "18446744073709551615",
        "18446744073709551616",
        "340282366920938463463374607431768211456",
    ] {
        assert_eq!(code(with(&format!("Content-Length: {too_large}"))), Kind::CONTENT_TOO_LARGE);
    }
    let digits = "9".repeat(4000);
    assert_eq!(code(with(&format!("Content-Length: {digits}"))), Kind::CONTENT_TOO_LARGE);
    for bad in [
        "", "-1", "+1", "1 1", "1,1", "1, 1", "0x1", "1.0", "1e1", "a", "１", "1;", "\"1\"",
        "1_000",
    ] {
        assert_eq!(code(with(&format!("Content-Length: {bad}"))), Kind::BAD_REQUEST, "{bad:?}");
    }
    for unknown in [
        "gzip",
        "identity",
        "gzip, chunked",
        "xchunked",
        "chunkedx",
        "'chunked",
        "cow",
        "deflate,gzip",
    ] {
        let input = with(&format!("Transfer-Encoding: {unknown}"));
        assert_eq!(code(input), Kind::NOT_IMPLEMENTED, "{unknown}");
    }
}

#[test]
fn smuggling_is_refused() {
    for headers in [
        // CL.TE, TE.CL
        "Content-Length: 6\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 6",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "Transfer-Encoding: gzip\r\nContent-Length: 6",
        "Transfer-Encoding: chunked\r\nContent-Length: 99999999999999999999",
        // CL.CL
        "Content-Length: 6\r\nContent-Length: 5",
        "Content-Length: 6\r\nContent-Length: 6",
        "Content-Length: 6\r\ncontent-length: 6",
        // TE.TE
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: chunked, gzip, chunked",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding: chunked;a=b",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: [chunked]",
        "Transfer-Encoding:",
        "Transfer-Encoding: ",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding:  chunked",
        "Transfer-Encoding: \tchunked",
        "Transfer-Encoding:\x0bchunked",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: \x0cchunked",
        "Transfer-Encoding: \u{a0}chunked",
        "Transfer-Encoding: chunked\u{a0}",
        "Transfer-Encoding: chunked\0",
        "Transfer-Encoding: chunked\x7f",
        "Transfer-Encoding: \rchunked",
        "Transfer-Encoding: chunked\r",
        "Transfer-Encoding: \nchunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding\r\n: chunked",
        "Transfer-Encoding",
        "Transfer-Encoding chunked",
        "Transfer\0-Encoding: chunked",
        "Transfer-Encoding\0: chunked",
        "Trânsfer-Encoding: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\n\rTransfer-Encoding: chunked",
        "X: y\r\r\nTransfer-Encoding: chunked",
        ": chunked",
        // Folded lines, and lines with other ends
        "X: y\r\n z",
        "X: y\r\n\tz",
        "X: y\r\n \r\nZ: z",
        "X: y\nZ: z",
        "X: y\n",
        "X: y\r\n\n",
        "X: a\0b",
        "X: a\x08b",
        "X@: y",
        "X(: y",
        "Content-Length : 5",
        "Content_Length: 5\r\n Content-Length: 6",
        // Headers that must not be repeated
        "X-User-Id: a\r\nx-user-id: a",
        "Idempotency-Key: a\r\nIdempotency-Key: b",
        "Content-Type: application/json\r\nContent-Type: text/plain",
    ] {
        assert_eq!(code(with(headers)), Kind::BAD_REQUEST, "{headers:?}");
    }
    for whole in [
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\n\n",
        "POST / HTTP/1.1\nHost: a\n\n",
        "POST / HTTP/1.0\n\r\n",
        "POST / HTTP/1.0\r\n\n",
        "POST / HTTP/1.1\rHost: a\r\r",
        "POST / HTTP/1.1\r\n Host: a\r\n\r\n",
        "POST  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /  HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /\tHTTP/1.1\r\nHost: a\r\n\r\n",
        " POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\0POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\u{feff}POST / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(code(whole), Kind::BAD_REQUEST, "{whole:?}");
    }
    // Harmless: no parser takes these for framing.
    for headers in ["Transfer_Encoding: chunked", "X-Transfer-Encoding: chunked", "TE: trailers"] {
        assert_eq!(head(&with(headers)).framing, Framing::None);
    }
    // Blanks after the value are legal.
    assert_eq!(head(&with("Transfer-Encoding: chunked \t")).framing, Framing::Chunked);
}

#[test]
fn expectations_are_parsed() {
    let input = with("Expect: 100-Continue\r\nContent-Length: 5");
    assert!(head(&input).expect_continue);
    assert!(head(&with("Expect: 100-continue\r\nTransfer-Encoding: chunked")).expect_continue);
    assert!(!head(&with("Expect: 100-continue")).expect_continue, "nothing is waited for");
    let old = "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    assert!(!head(old).expect_continue, "RFC 9110, section 10.1.1");
    // Empty elements of a list are ignored (RFC 9110, section 5.6.1.2).
    for list in ["100-continue,", ", ,100-CONTINUE\t,", "100-continue, 100-continue"] {
        let input = with(&format!("Expect: {list}\r\nContent-Length: 5"));
        assert!(head(&input).expect_continue, "{list}");
    }
    for none in ["", ",", " , "] {
        let input = with(&format!("Expect: {none}\r\nContent-Length: 5"));
        assert!(!head(&input).expect_continue, "{none}");
    }
    for other in ["200-ok", "100-continue, x", "x,", "100"] {
        assert_eq!(code(with(&format!("Expect: {other}"))), Kind::EXPECTATION_FAILED);
    }
}

#[test]
fn a_few_empty_lines_before_a_request_are_ignored() {
    let request = "GET / HTTP/1.0\r\n\r\n";
    for lines in 0..=EMPTY_LINES_MAX {
        let input = "\r\n".repeat(lines) + request;
        assert_eq!(head(&input).bytes.len(), input.len());
        assert_eq!(parse_head("\r\n".repeat(lines).as_bytes()), Ok(None));
        assert_eq!(parse_head(("\r\n".repeat(lines) + "\r").as_bytes()), Ok(None));
    }
    assert_eq!(code("\r\n".repeat(EMPTY_LINES_MAX + 1)), Kind::BAD_REQUEST);
    for bad in ["\n", "\r\r", "\r\n\n", "\rG", "\r\n\rG"] {
        assert_eq!(code(bad.to_owned() + request), Kind::BAD_REQUEST, "{bad:?}");
    }
}

#[test]
fn heads_are_bounded() {
    let line = |bytes: usize| {
        let rest = "GET / HTTP/1.1\r\n".len();
        format!("GET /{} HTTP/1.1\r\n", "a".repeat(bytes - rest))
    };
    let longest = line(REQUEST_LINE_BYTES_MAX);
    head(&(longest.clone() + "Host: a\r\n\r\n"));
    assert_eq!(parse_head(longest.as_bytes()), Ok(None));
    let longer = line(REQUEST_LINE_BYTES_MAX + 1);
    assert_eq!(code(longer.clone() + "Host: a\r\n\r\n"), Kind::URI_TOO_LONG);
    assert_eq!(code(longer.replace("HTTP/1.1\r\n", "HTTP/1.0\r\n\r\n")), Kind::URI_TOO_LONG);
    assert_eq!(code(&longer[..REQUEST_LINE_BYTES_MAX]), Kind::URI_TOO_LONG);
    assert_eq!(parse_head(&longer.as_bytes()[..REQUEST_LINE_BYTES_MAX - 1]), Ok(None));
    assert_eq!(code(line(READ_BUFFER_BYTES)), Kind::URI_TOO_LONG);
    assert_eq!(code(line(5000).replace("HTTP/1.1", "HTTP/2.0")), Kind::URI_TOO_LONG);
    assert_eq!(code("G".repeat(5000)), Kind::URI_TOO_LONG);
    assert_eq!(code("GET / HTTP/9.9".to_owned() + &"x".repeat(5000)), Kind::BAD_REQUEST);
    assert_eq!(code("\0".to_owned() + &"x".repeat(5000)), Kind::BAD_REQUEST);

    let sized = |bytes: usize| {
        let rest = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(bytes - rest))
    };
    assert_eq!(head(&sized(HEAD_BYTES_MAX)).bytes.len(), HEAD_BYTES_MAX);
    let over = sized(HEAD_BYTES_MAX + 1);
    assert_eq!(code(&over), Kind::HEAD_TOO_LARGE);
    assert_eq!(code(&over[..HEAD_BYTES_MAX]), Kind::HEAD_TOO_LARGE);
    assert_eq!(parse_head(&over.as_bytes()[..HEAD_BYTES_MAX - 1]), Ok(None));

    let many = |lines: usize| format!("GET / HTTP/1.0\r\n{}\r\n", "X: y\r\n".repeat(lines));
    head(&many(HEADERS_MAX));
    assert_eq!(code(many(HEADERS_MAX + 1)), Kind::HEAD_TOO_LARGE);
}

/// `httparse` has several implementations and chooses by processor: so each byte at several
/// positions.
#[test]
fn every_byte_is_judged_at_every_position() {
    for at in 0..70 {
        for byte in 0..=u8::MAX {
            let mut text = [b'a'; 70];
            text[at] = byte;
            let target = [b"GET /", &text[..], b" HTTP/1.0\r\n\r\n"].concat();
            let legal = (0x21..0x7f).contains(&byte) && byte != b'#';
            assert_eq!(parse_head(&target).is_ok(), legal, "target {byte:#x} {at}");
            let name = [b"GET / HTTP/1.0\r\n", &text[..], b": x\r\n\r\n"].concat();
            let legal = is_token_byte(byte) || byte == b':';
            let legal = legal && !(byte == b':' && at == 0);
            assert_eq!(parse_head(&name).is_ok(), legal, "name {byte:#x} {at}");
            let value = [b"GET / HTTP/1.0\r\nX: ", &text[..], b"\r\n\r\n"].concat();
            let legal = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
            assert_eq!(parse_head(&value).is_ok(), legal, "value {byte:#x} {at}");
        }
    }
}

/// `parse_head` asserts for every test here that both parsers agree on plain heads.
#[test]
fn the_fast_parser_reads_usual_heads_only() {
    let end = "Host: 127.0.0.1:3005\r\n\r\n";
    for (line, headers) in [
        ("GET /buy/ticket HTTP/1.1", ""),
        ("GET /buy/ticket HTTP/1.0", "User-Agent: ApacheBench/2.3\r\nAccept: */*\r\n"),
        (
            "GET /buy/ticket?user=u1&a=%20 HTTP/1.1",
            "X-User-Id: 张三\r\nX-Forwarded-For: 1.2.3.4, ::1\r\n",
        ),
        ("POST /v1/sales/ticket/reservations HTTP/1.1", "Content-Length: 5\r\nX:\r\nY:z\r\n"),
        ("POST / HTTP/1.1", "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n"),
        ("GET / HTTP/1.1", "X-Request-Id: a-1\r\ntraceparent: 00-1\r\ntracestate: a=b\r\n"),
    ] {
        let input = format!("{line}\r\n{headers}{end}");
        assert_eq!(parse_fast(input.as_bytes()), Some(head(&input)), "{input}");
        for end in 0..input.len() {
            assert_eq!(parse_fast(&input.as_bytes()[..end]), None, "{input} {end}");
        }
    }
    for odd in [
        "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /张 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:  a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a \r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\tb\r\n\r\n",
    ] {
        assert_eq!(parse_fast(odd.as_bytes()), None, "{odd}");
        assert!(parse_head(odd.as_bytes()).unwrap().is_some(), "{odd}");
    }
    for bad in ["GET / HTTP/1.1\r\nHost: a\n\r\n", "GET / HTTP/1.1\nHost: a\r\n\r\n"] {
        assert_eq!(parse_fast(bad.as_bytes()), None, "{bad}");
        assert_eq!(code(bad), Kind::BAD_REQUEST);
    }
}

/// The result when the input arrives byte by byte.
fn byte_by_byte(input: &[u8]) -> Result<Option<Head<'_>>, ParseError> {
    (0..=input.len())
        .map(|end| parse_head(&input[..end]))
        .find(|got| *got != Ok(None))
        .unwrap_or(Ok(None))
}

/// Texts that often have a meaning for the parser.
fn head_like() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "GET ",
        "POST ",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "Host: a\r\n",
        "Host: a\r\n\r\n",
        "/",
        "*",
        "?",
        "#",
        " ",
        "\t",
        "HTTP/1.1\r\n",
        "HTTP/2.0\r\n",
        "HTTP/1.2\r\n",
        "GET / HTTP/1.3\r\nHost: a\r\n",
        "BREW / HTTP/1.1\r\n",
        "HTTP/1.1",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        "\0",
        ":",
        "x",
        "X: y\r\n",
        "X: y\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: ",
        "99999",
        "Transfer-Encoding:",
        "chunked",
        ",",
        "Connection: close\r\n",
        "Expect: 100-continue\r\n",
        "X-User-Id: u\r\n",
        "http://a",
        "https://a",
        "If-Match: *\r\n",
        "If-None-Match: \"x\"\r\n",
        "Content-Encoding: gzip\r\n",
        "Expect: ,\r\n",
        "张",
        "CONNECT ",
        "OPTIONS * HTTP/1.1\r\n",
    ]);
    prop::collection::vec(pieces, 0..10).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_head_is_parsed_alike_however_it_arrives(
        input in prop_oneof![4 => head_like(), 1 => prop::collection::vec(any::<u8>(), 0..100)],
    ) {
        // A head is accepted only when it is complete, and a rejection is the same however the head
        // arrives.
        prop_assert_eq!(byte_by_byte(&input), parse_head(&input));
        if let Ok(Some(head)) = parse_head(&input) {
            prop_assert!(head.bytes.ends_with(b"\r\n\r\n"));
            let _ = (head.unmet_precondition(true), head.target_host());
        }
    }

    /// A higher minor version changes nothing but the version (RFC 9110, section 2.5).
    #[test]
    fn a_higher_minor_version_is_read_as_1_1(input in head_like(), minor in 2_u8..10) {
        if let Ok(Some(head)) = parse_head(&input) && head.version == Version::Http11 {
            let version = head.bytes.windows(8).position(|text| text == b" HTTP/1.");
            let mut input = head.bytes.to_vec();
            input[version.unwrap() + 8] = b'0' + minor;
            let got = parse_head(&input).unwrap().unwrap();
            prop_assert_eq!(Head { bytes: head.bytes, ..got }, head);
            prop_assert_eq!(got.bytes, &input[..]);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_panics_near_a_bound(
        bytes in REQUEST_LINE_BYTES_MAX - 40..REQUEST_LINE_BYTES_MAX + 40,
        rest in head_like(),
        half in any::<bool>(),
    ) {
        let fill = if half { bytes } else { bytes + HEAD_BYTES_MAX - REQUEST_LINE_BYTES_MAX };
        let start = if half { &b"GET /"[..] } else { b"GET / HTTP/1.1\r\nHost: a\r\nX: " };
        let input = [start, &vec![b'a'; fill - start.len()], &rest].concat();
        let whole = parse_head(&input);
        for end in fill - 60..=input.len() {
            let part = parse_head(&input[..end]);
            prop_assert!(part == Ok(None) || part == whole, "{part:?} {whole:?}");
        }
    }
}

#[test]
fn request_ids_and_traceparents_are_found() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let told = |headers: &str| {
        let input = format!("GET / HTTP/1.0\r\n{headers}\r\n");
        let head = head(&input);
        let trace = head.trace();
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let names = trace.map(|trace| (text(trace.request_id()), text(trace.parent())));
        (head.is_traced(), names)
    };
    let some = |id: &str, parent: &str| (true, Some((id.to_owned(), parent.to_owned())));
    assert_eq!(told("Content-Type: a\r\n"), (false, None));
    assert_eq!(told("X-REQUEST-ID:  a-1\t\r\n"), some("a-1", ""));
    assert_eq!(told(&format!("TraceParent: {parent}\r\nx-request-id:b\r\n")), some("b", parent));
    assert_eq!(told("traceparent: 00\r\nX-Request-Id: b\r\n"), some("b", ""));
    assert_eq!(told("traceparent: 00\r\n"), (true, None));
}
