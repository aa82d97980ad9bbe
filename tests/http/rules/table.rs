//! The rules of HTTP that we keep, as data. Where the RFCs leave something open, or where we
//! decided differently, the rule says so.

/// A rule: bytes, and their result.
pub struct Rule {
    /// RFC and section.
    pub of: &'static str,
    /// Its content in short.
    pub says: &'static str,
    /// The bytes. `{…}` are replaced by `rules.rs`.
    pub sent: &'static str,
    /// The status of the answer. [`DONE`]: 200 or 201.
    pub status: u16,
    /// The code of the problem in the answer.
    pub code: Option<&'static str>,
    /// Headers that the answer must have.
    pub has: &'static [(&'static str, &'static str)],
    /// Headers that it must not have.
    pub lacks: &'static [&'static str],
    /// A text that its body must contain.
    pub contains: &'static str,
    /// The connection closes, and the request after it is not served.
    pub closes: bool,
    /// Where it holds.
    pub at: At,
}

/// Ports that a rule's paths exist on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum At {
    All,
    Buyers,
    Control,
}

/// The status of any request that was carried out.
pub const DONE: u16 = 0;

const fn rule(of: &'static str, says: &'static str, sent: &'static str, status: u16) -> Rule {
    Rule {
        of,
        says,
        sent,
        status,
        code: None,
        has: &[],
        lacks: &[],
        contains: "",
        closes: false,
        at: At::All,
    }
}

impl Rule {
    const fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    const fn has(self, has: &'static [(&'static str, &'static str)]) -> Self {
        Self { has, ..self }
    }

    const fn lacks(self, lacks: &'static [&'static str]) -> Self {
        Self { lacks, ..self }
    }

    const fn contains(self, contains: &'static str) -> Self {
        Self { contains, ..self }
    }

    const fn closes(self) -> Self {
        Self { closes: true, ..self }
    }

    const fn at(self, at: At) -> Self {
        Self { at, ..self }
    }
}

/// 400 and the end.
const fn bad(of: &'static str, says: &'static str, sent: &'static str) -> Rule {
    rule(of, says, sent, 400).code("bad_request").closes()
}

/// The request that changes something, with these header lines and body.
macro_rules! act {
    ($headers:literal, $body:literal) => {
        concat!(
            "POST {act} HTTP/1.1\r\n{H}Content-Type: application/json\r\n",
            $headers,
            "\r\n",
            $body
        )
    };
    ($headers:literal) => {
        act!($headers, "{json}")
    };
}

/// The same with a chunked body that begins with these bytes.
macro_rules! chunked {
    ($body:literal) => {
        act!("Transfer-Encoding: chunked\r\n", $body)
    };
}

/// A look at the sale with these header lines.
macro_rules! look {
    ($headers:literal) => {
        concat!("GET {read} HTTP/1.1\r\n{H}", $headers, "\r\n")
    };
}

const READ: &str = "GET, HEAD, OPTIONS";
const JSON: (&str, &str) = ("Content-Type", "application/json");

pub const VERSIONS: &[Rule] = &[
    rule("9110 2.5", "1.1 is answered", look!(""), 200).has(&[JSON]).lacks(&["Connection"]),
    rule("9110 2.5", "a higher minor version is 1.1", "GET {read} HTTP/1.2\r\n{H}\r\n", 200)
        .lacks(&["Connection"]),
    rule("9110 2.5", "so is 1.9", "GET {read} HTTP/1.9\r\n{H}\r\n", 200),
    rule(
        "9110 2.5",
        "so is one with a body",
        "POST {act} HTTP/1.3\r\n{H}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{json}",
        DONE,
    ),
    rule("9110 2.5", "so is one to HEAD", "HEAD {read} HTTP/1.7\r\n{H}\r\n", 200),
    bad("9112 3.2", "it needs a Host as 1.1 does", "GET {read} HTTP/1.2\r\n\r\n"),
    rule("9110 15.6.6", "2.0 is not spoken", "GET {read} HTTP/2.0\r\n{H}\r\n", 505)
        .code("version_not_supported")
        .closes(),
    rule("9110 15.6.6", "nor is 3.1", "GET {read} HTTP/3.1\r\n{H}\r\n", 505)
        .code("version_not_supported")
        .closes(),
    rule("9110 15.6.6", "nor is 0.9", "GET {read} HTTP/0.9\r\n{H}\r\n", 505)
        .code("version_not_supported")
        .closes(),
    rule("9113 3.4", "nor HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)
        .code("version_not_supported")
        .closes(),
    bad("9112 2.3", "a version has one digit after the point", "GET {read} HTTP/1.10\r\n{H}\r\n"),
    bad("9112 2.3", "its name has capitals", "GET {read} http/1.1\r\n{H}\r\n"),
    bad("9112 2.3", "a line without one is 0.9", "GET {read}\r\n"),
    rule("9112 9.3", "1.0 closes", "GET {read} HTTP/1.0\r\n{H}\r\n", 200).closes(),
    rule(
        "9112 9.3",
        "1.0 stays if it asks to",
        "GET {read} HTTP/1.0\r\n{H}Connection: Keep-Alive\r\n\r\n",
        200,
    )
    .has(&[("Connection", "keep-alive")]),
    bad(
        "9112 6.1",
        "1.0 has no Transfer-Encoding",
        "POST {act} HTTP/1.0\r\n{H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
];

pub const LINES: &[Rule] = &[
    rule(
        "9112 2.2",
        "empty lines before a request are none",
        "\r\n\r\nGET {read} HTTP/1.1\r\n{H}\r\n",
        200,
    ),
    // Five are no accident.
    bad("9112 2.2", "four of them", "\r\n\r\n\r\n\r\n\r\nGET {read} HTTP/1.1\r\n{H}\r\n"),
    // A recipient may take LF as a line end; two in a row that disagree about it can be played off
    // against each other.
    bad("9112 2.2", "a bare LF ends no request line", "GET {read} HTTP/1.1\n{H}\r\n"),
    bad("9112 2.2", "nor a header line", "GET {read} HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n"),
    bad("9112 2.2", "nor the head", "GET {read} HTTP/1.1\r\n{H}\n"),
    bad("9112 2.2", "a bare CR ends no line", "GET {read} HTTP/1.1\r\n{H}X: a\rY: b\r\n\r\n"),
    bad("9112 2.2", "no blanks before the first header line", "GET {read} HTTP/1.1\r\n {H}\r\n"),
    bad("9112 3", "one space between the parts of the line", "GET  {read} HTTP/1.1\r\n{H}\r\n"),
    bad("9112 3", "and no tab", "GET\t{read} HTTP/1.1\r\n{H}\r\n"),
    bad("9112 3", "nothing after the version", "GET {read} HTTP/1.1 \r\n{H}\r\n"),
    bad("9112 5.1", "no blank before a colon", "GET {read} HTTP/1.1\r\n{H}X : y\r\n\r\n"),
    bad("9112 5.1", "a line has a name", "GET {read} HTTP/1.1\r\n{H}: y\r\n\r\n"),
    bad("9112 5.1", "and a colon", "GET {read} HTTP/1.1\r\n{H}X\r\n\r\n"),
    bad("9112 5.2", "no line is folded", "GET {read} HTTP/1.1\r\n{H}X: y\r\n z\r\n\r\n"),
    bad("9110 5.1", "a name is a token", "GET {read} HTTP/1.1\r\n{H}X(: y\r\n\r\n"),
    bad("9110 5.5", "no NUL in a value", "GET {read} HTTP/1.1\r\n{H}X: a\0b\r\n\r\n"),
    bad("9110 5.5", "no other control character", "GET {read} HTTP/1.1\r\n{H}X: a\x08b\r\n\r\n"),
    rule("9110 5.5", "other bytes are let through", look!("X: \u{e9}\u{7968}\ta\r\n"), 200),
    rule(
        "9110 5.1",
        "names have no case",
        "GET {read} HTTP/1.1\r\nhOST: localhost\r\nCONNECTION: close\r\n\r\n",
        200,
    )
    .closes(),
    rule(
        "9110 5.1",
        "unknown headers are passed over",
        look!("Sec-Fetch-Mode: cors\r\nX_Y: z\r\n"),
        200,
    ),
    // 8,000 bytes are recommended, for targets with much to say. Ours are short.
    rule("9112 3", "the request line has a bound", "GET {read}?{long} HTTP/1.1\r\n{H}\r\n", 414)
        .code("uri_too_long")
        .closes(),
    rule("6585 5", "the head has a bound", look!("X: {long}\r\nY: {long}\r\n"), 431)
        .code("head_too_large")
        .closes(),
    rule("6585 5", "so has the number of its lines", look!("{many}"), 431)
        .code("head_too_large")
        .closes(),
];

pub const TARGETS: &[Rule] = &[
    bad("9112 3.2", "1.1 has a Host", "GET {read} HTTP/1.1\r\n\r\n"),
    bad("9112 3.2", "one Host", "GET {read} HTTP/1.1\r\n{H}{H}\r\n"),
    bad("9112 3.2", "a valid one", "GET {read} HTTP/1.1\r\nHost: a b\r\n\r\n"),
    bad("9110 7.2", "no list of them", "GET {read} HTTP/1.1\r\nHost: localhost, localhost\r\n\r\n"),
    bad("9110 4.2.1", "not an empty one", "GET {read} HTTP/1.1\r\nHost: \r\n\r\n"),
    bad("3986 3.2.3", "whose port is one", "GET {read} HTTP/1.1\r\nHost: localhost:65536\r\n\r\n"),
    rule("9110 7.2", "a Host has a port", "GET {read} HTTP/1.1\r\nHost: localhost:65535\r\n\r\n", 200),
    rule("9112 3.2", "1.0 needs no Host", "GET /json HTTP/1.0\r\n\r\n", 200).closes().at(At::Buyers),
    rule("9112 3.2.2", "absolute-form is taken", "GET http://localhost{read} HTTP/1.1\r\n{H}\r\n", 200),
    rule("9112 3.2.2", "its host counts, not the header's", "GET http://evil.example{read} HTTP/1.1\r\n{H}\r\n", 403)
        .code("forbidden")
        .at(At::Control),
    rule("9112 3.2.2", "whatever the header says", "GET http://localhost{read} HTTP/1.1\r\nHost: evil.example\r\n\r\n", 200),
    bad("9112 3.2.2", "with a Host beside it", "GET http://localhost{read} HTTP/1.1\r\n\r\n"),
    bad("9110 4.2.4", "without userinfo", "GET http://u@localhost{read} HTTP/1.1\r\n{H}\r\n"),
    bad("9110 4.2.1", "with a host", "GET http://{read} HTTP/1.1\r\n{H}\r\n"),
    bad("3986 3.2.3", "and a port", "GET http://localhost:99999{read} HTTP/1.1\r\n{H}\r\n"),
    bad("9110 4.2", "no other scheme", "GET ftp://localhost{read} HTTP/1.1\r\n{H}\r\n"),
    // The connection stays: the request's end is certain, and the next may be for us.
    rule("9110 7.4", "https is not for a connection in the clear", "GET https://localhost{read} HTTP/1.1\r\n{H}\r\n", 421)
        .code("misdirected_request"),
    rule("9110 7.4", "nor with a body", "POST https://localhost{act} HTTP/1.1\r\n{H}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{json}", 421)
        .code("misdirected_request"),
    rule("9110 7.4", "nor for HEAD", "HEAD https://localhost{read} HTTP/1.1\r\n{H}\r\n", 421),
    bad("9112 3.2.1", "a path starts with a slash", "GET v1/sales/ticket HTTP/1.1\r\n{H}\r\n"),
    bad("9112 3.2", "no fragment", "GET {read}#x HTTP/1.1\r\n{H}\r\n"),
    bad("9112 3.2", "no control character", "GET {read}\x7f HTTP/1.1\r\n{H}\r\n"),
    bad("9112 3.2.4", "`*` is for OPTIONS", "GET * HTTP/1.1\r\n{H}\r\n"),
    bad("9112 3.2.3", "an authority is for CONNECT", "GET localhost:80 HTTP/1.1\r\n{H}\r\n"),
    rule("3986 6.2.2.2", "an unreserved character may be encoded", "GET /v1/%73ale%73/%74icket HTTP/1.1\r\n{H}\r\n", 200),
    rule("3986 6.2.2.2", "also where something is done", "POST {encoded act} HTTP/1.1\r\n{H}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{json}", DONE),
    rule("3986 6.2.2.2", "and at a probe", "GET /live%7A HTTP/1.1\r\n{H}\r\n", 200).at(At::Control),
    rule("3986 6.2.2.2", "and where one buys", "GET /buy/%74icket HTTP/1.1\r\n{H}\r\n", 200)
        .contains("\"code\":1")
        .at(At::Buyers),
    rule("3986 2.2", "an encoded slash separates nothing", "GET /v1/sales%2Fticket HTTP/1.1\r\n{H}\r\n", 404).code("not_found"),
    rule("3986 2.2", "nor where one buys", "GET /buy%2fticket HTTP/1.1\r\n{H}\r\n", 404).code("not_found").at(At::Buyers),
    rule("3986 2.4", "nothing is decoded twice", "GET /v1/%2573ales/ticket HTTP/1.1\r\n{H}\r\n", 404).code("not_found"),
    rule("3986 2.1", "what is no encoding names nothing", "GET /v1/%zzales/ticket HTTP/1.1\r\n{H}\r\n", 404).code("not_found"),
    rule("3986 6.2.3", "an empty segment is one", "GET /{read} HTTP/1.1\r\n{H}\r\n", 404).code("not_found"),
];

/// RFC 3986 says how a name is written; which names exist is up to us.
pub const QUERIES: &[Rule] = &[
    rule("3986 3.4", "an empty query says nothing", "GET {read}? HTTP/1.1\r\n{H}\r\n", 200),
    rule("(ours)", "a name that is not known is not passed over", "GET {read}?colour=red HTTP/1.1\r\n{H}\r\n", 422).code("invalid"),
    rule("(ours)", "above all where something is done", "POST {act}?units=2 HTTP/1.1\r\n{H}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{json}", 422)
        .code("invalid"),
    rule("3986 6.2.2.2", "a name may be encoded", "GET /buy/ticket?us%65r= HTTP/1.1\r\n{H}\r\n", 422)
        .contains("\"data\":{\"field\":\"user\"}")
        .at(At::Buyers),
    rule("3986 6.2.2.2", "and buys", "GET /buy/ticket?us%65r=%61 HTTP/1.1\r\n{H}X-User-Id: a\r\n\r\n", 200)
        .contains("\"code\":1")
        .at(At::Buyers),
    rule("3986 2.2", "an encoded `=` is part of it", "GET /buy/ticket?user%3Da HTTP/1.1\r\n{H}\r\n", 422)
        .contains("\"code\":-9,")
        .contains("\"data\":{\"field\":\"user=a\"}")
        .at(At::Buyers),
    rule("(ours)", "nobody buys under a name that is misspelt", "GET /buy/ticket?usr=a HTTP/1.1\r\n{H}\r\n", 422)
        .contains("\"data\":{\"field\":\"usr\"}")
        .at(At::Buyers),
    rule("(ours)", "whatever it is made of", "GET /buy/ticket?%22%5C%00\"=a HTTP/1.1\r\n{H}\r\n", 422)
        .contains(r#""data":{"field":"\"\\\u0000\""}"#)
        .at(At::Buyers),
    rule("(ours)", "TechEmpower's paths take any", "GET /plaintext?colour=red HTTP/1.1\r\n{H}\r\n", 200).at(At::Buyers),
    rule("(ours)", "nor a name that is there twice", "GET /v1/sales?limit=1&l%69mit=2 HTTP/1.1\r\n{H}\r\n", 422)
        .code("invalid")
        .at(At::Control),
];

pub const METHODS: &[Rule] = &[
    rule(
        "9110 9.3.2",
        "HEAD is answered as GET, without the body",
        "HEAD {read} HTTP/1.1\r\n{H}\r\n",
        200,
    )
    .has(&[JSON]),
    rule("9110 9.3.2", "where nothing is", "HEAD /nothing HTTP/1.1\r\n{H}\r\n", 404),
    rule(
        "9110 9.3.2",
        "where it is not taken",
        "HEAD /v1/reservations/a/cancel HTTP/1.1\r\n{H}\r\n",
        405,
    )
    .has(&[("Allow", "POST, OPTIONS")]),
    rule("9110 9.3.2", "at a probe", "HEAD /livez HTTP/1.1\r\n{H}\r\n", 200).at(At::Control),
    rule("9110 9.3.2", "refused with 400", "HEAD {read} HTTP/1.1\r\n\r\n", 400).closes(),
    rule("9110 9.3.2", "after an empty line", "\r\nHEAD {read} HTTP/1.1\r\n{H}X : y\r\n\r\n", 400)
        .closes(),
    rule("9110 9.3.2", "with 413", "HEAD {read} HTTP/1.1\r\n{H}Content-Length: 99999\r\n\r\n", 413)
        .closes(),
    rule(
        "9110 9.3.2",
        "with 413 in its body",
        "HEAD {read} HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\nfffff\r\n",
        413,
    )
    .closes(),
    rule("9110 9.3.2", "with 414", "HEAD {read}?{long} HTTP/1.1\r\n{H}\r\n", 414).closes(),
    rule("9110 9.3.2", "with 417", "HEAD {read} HTTP/1.1\r\n{H}Expect: 200-ok\r\n\r\n", 417)
        .closes(),
    rule("9110 9.3.2", "with 431", "HEAD {read} HTTP/1.1\r\n{H}{many}\r\n", 431).closes(),
    rule(
        "9110 9.3.2",
        "with 501",
        "HEAD {read} HTTP/1.1\r\n{H}Transfer-Encoding: gzip\r\n\r\n",
        501,
    )
    .closes(),
    rule("9110 9.3.2", "with 505", "HEAD {read} HTTP/2.0\r\n{H}\r\n", 505).closes(),
    rule("9110 9.3.7", "OPTIONS says what is taken", "OPTIONS {read} HTTP/1.1\r\n{H}\r\n", 204)
        .lacks(&["Content-Length", "Content-Type"]),
    rule("9110 9.3.7", "and of the server", "OPTIONS * HTTP/1.1\r\n{H}\r\n", 204)
        .lacks(&["Content-Length"]),
    rule("9112 3.2.4", "in absolute-form too", "OPTIONS http://localhost HTTP/1.1\r\n{H}\r\n", 204),
    rule("9110 15.5.6", "405 says what is allowed", "PUT {read} HTTP/1.1\r\n{H}\r\n", 405)
        .code("method_not_allowed"),
    rule("9110 15.5.6", "where only looks are", "DELETE /json HTTP/1.1\r\n{H}\r\n", 405)
        .has(&[("Allow", READ)])
        .at(At::Buyers),
    rule("9110 15.5.6", "at a probe", "POST /readyz HTTP/1.1\r\n{H}\r\n", 405)
        .has(&[("Allow", READ)])
        .at(At::Control),
    rule("9110 9.3.8", "TRACE is not taken", "TRACE {read} HTTP/1.1\r\n{H}\r\n", 405)
        .code("method_not_allowed"),
    // The request's end is certain, so that the next one is served.
    rule("9110 15.6.2", "a method that is not known", "BREW {read} HTTP/1.1\r\n{H}\r\n", 501)
        .code("not_implemented"),
    rule(
        "9110 15.6.2",
        "with a body that looks like a request",
        "BREW {act} HTTP/1.1\r\n{H}Content-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        501,
    )
    .code("not_implemented"),
    rule(
        "9110 15.6.2",
        "with a chunked one",
        "PROPFIND /nothing HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        501,
    )
    .code("not_implemented"),
    rule("9110 9.1", "methods have a case", "get {read} HTTP/1.1\r\n{H}\r\n", 501)
        .code("not_implemented"),
    rule(
        "9112 9.6",
        "it closes if it asks to",
        "BREW {read} HTTP/1.1\r\n{H}Connection: close\r\n\r\n",
        501,
    )
    .code("not_implemented")
    .closes(),
    rule(
        "9110 9.3.6",
        "what follows CONNECT is no HTTP",
        "CONNECT /a:443 HTTP/1.1\r\n{H}\r\n",
        501,
    )
    .code("not_implemented")
    .closes(),
    rule("9113 3.4", "nor is what follows PRI", "PRI /a HTTP/1.1\r\n{H}\r\n", 501)
        .code("not_implemented")
        .closes(),
    bad("9110 9.1", "a method is a token", "G{T {read} HTTP/1.1\r\n{H}\r\n"),
    bad("9112 3", "TLS is no HTTP", "\x16\x03\x01\x02\0\x01\0\x01\x1c\x03\x03\r\n"),
];

pub const FRAMING: &[Rule] = &[
    rule("9112 6.2", "a body has a length", act!("Content-Length: {length}\r\n"), DONE),
    rule("9112 7.1", "or chunks", chunked!("{chunk}0\r\n\r\n"), DONE),
    rule("9112 6.3", "or is not there", look!("Content-Length: 0\r\n"), 200),
    rule(
        "9110 9.3.1",
        "one of GET is passed over",
        look!("Content-Length: 18\r\n\r\nGET / HTTP/1.1\r\n"),
        200,
    ),
    bad("9112 6.3", "not both", act!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n")),
    bad(
        "9112 6.3",
        "in no order",
        act!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
    ),
    bad("9112 6.3", "not two lengths", act!("Content-Length: {length}\r\nContent-Length: 1\r\n")),
    // A recipient may merge equal ones.
    bad(
        "9110 8.6",
        "not even equal ones",
        act!("Content-Length: {length}\r\nContent-Length: {length}\r\n"),
    ),
    bad("9110 8.6", "nor a list of them", act!("Content-Length: {length}, {length}\r\n")),
    bad("9110 8.6", "a length has digits alone", act!("Content-Length: +{length}\r\n")),
    bad("9110 8.6", "and some", act!("Content-Length: \r\n")),
    rule("9110 15.5.14", "a body has a bound", act!("Content-Length: 16385\r\n"), 413)
        .code("content_too_large")
        .closes(),
    rule(
        "9110 8.6",
        "whatever the length",
        act!("Content-Length: 99999999999999999999999\r\n"),
        413,
    )
    .code("content_too_large")
    .closes(),
    rule("9112 7.1", "also of a chunk", chunked!("fffffffffffffffffffff\r\n"), 413)
        .code("content_too_large")
        .closes(),
    rule("9112 6.1", "a coding that is not known", act!("Transfer-Encoding: gzip\r\n"), 501)
        .code("not_implemented")
        .closes(),
    rule("9112 6.1", "also before chunked", act!("Transfer-Encoding: gzip, chunked\r\n"), 501)
        .code("not_implemented")
        .closes(),
    bad("9112 6.1", "chunked is applied once", act!("Transfer-Encoding: chunked, chunked\r\n")),
    bad("9112 6.3", "and last", act!("Transfer-Encoding: chunked, identity\r\n")),
    // Empty elements must be ignored (9110 5.6.1.2), and a blank may be a tab. A recipient that
    // reads the list differently frames differently: here we are strict, for safety.
    bad("9112 11.2", "no empty element beside it", act!("Transfer-Encoding: ,chunked\r\n")),
    bad("9112 11.2", "nor behind it", act!("Transfer-Encoding: chunked,\r\n")),
    bad("9112 11.2", "no tab before it", act!("Transfer-Encoding:\tchunked\r\n")),
    bad(
        "9112 11.2",
        "no second line",
        act!("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    ),
    bad("9112 11.2", "no quotes", act!("Transfer-Encoding: \"chunked\"\r\n")),
    bad("9112 11.2", "no parameters", act!("Transfer-Encoding: chunked;q=1\r\n")),
    rule(
        "9110 5.6.3",
        "names of codings have no case",
        act!("transfer-encoding:CHUNKED\r\n", "{chunk}0\r\n\r\n"),
        DONE,
    ),
];

pub const CHUNKS: &[Rule] = &[
    rule("9112 7.1", "zeros before a size", chunked!("000{chunk}0000\r\n\r\n"), DONE),
    rule(
        "9112 7.1.1",
        "an extension has a name",
        chunked!("{size};a\r\n{json}\r\n0\r\n\r\n"),
        DONE,
    ),
    rule(
        "9112 7.1.1",
        "and maybe a value",
        chunked!("{size};a=b;c=\"d;\\\"e\"\r\n{json}\r\n0;last\r\n\r\n"),
        DONE,
    ),
    rule(
        "9112 7.1.1",
        "bad whitespace is passed over",
        chunked!("{size} ;\ta = b ; c\r\n{json}\r\n0\r\n\r\n"),
        DONE,
    ),
    bad("9112 7.1.1", "no extension without a name", chunked!("{size};\r\n{json}\r\n0\r\n\r\n")),
    bad("9112 7.1.1", "whose name is a token", chunked!("{size};bad[=x\r\n{json}\r\n0\r\n\r\n")),
    bad("9112 7.1.1", "whose value is one", chunked!("{size};a=b c\r\n{json}\r\n0\r\n\r\n")),
    bad("9112 7.1.1", "and is there", chunked!("{size};a=\r\n{json}\r\n0\r\n\r\n")),
    bad("9112 7.1.1", "quotes are closed", chunked!("{size};a=\"b\r\n{json}\r\n0\r\n\r\n")),
    bad("9112 7.1.1", "and hold no line end", chunked!("{size};a=\"b\nc\"\r\n{json}\r\n0\r\n\r\n")),
    bad("9112 7.1.1", "no blanks at the end", chunked!("{size};a \r\n{json}\r\n0\r\n\r\n")),
    bad("9112 7.1", "a size is hexadecimal", chunked!("0x{chunk}0\r\n\r\n")),
    bad("9112 7.1", "without a sign", chunked!("+{chunk}0\r\n\r\n")),
    bad("9112 7.1", "without blanks", chunked!(" {chunk}0\r\n\r\n")),
    bad("9112 7.1", "a chunk is as long as it says", chunked!("1\r\n{json}\r\n0\r\n\r\n")),
    bad("9112 7.1", "its lines end with CRLF", chunked!("{size}\n{json}\r\n0\r\n\r\n")),
    bad("9112 7.1", "also the last", chunked!("{chunk}0\n\n")),
    rule(
        "9112 7.1.2",
        "trailers are read and dropped",
        chunked!("{chunk}0\r\nContent-Length: 5\r\nX:\r\n\r\n"),
        DONE,
    ),
    bad("9112 7.1.2", "if they are well-formed", chunked!("{chunk}0\r\nX : y\r\n\r\n")),
    bad("9112 7.1.2", "line by line", chunked!("{chunk}0\r\nX: y\n\r\n")),
];

pub const FIELDS: &[Rule] = &[
    rule("9112 9.6", "close is obeyed", look!("Connection: close\r\n"), 200).closes(),
    rule("9110 7.6.1", "in a list", look!("Connection: foo, CLOSE\r\n"), 200).closes(),
    rule("9110 5.6.1.2", "whose empty elements are none", look!("Connection: , close\r\n"), 200).closes(),
    rule("9110 5.3", "or in two lines", look!("Connection: keep-alive\r\nConnection: close\r\n"), 200).closes(),
    rule("9110 7.8", "an upgrade is passed over", look!("Connection: Upgrade\r\nUpgrade: h2c\r\n"), 200).lacks(&["Upgrade"]),
    rule("9110 10.1.1", "100-continue is met", act!("Expect: 100-continue\r\nContent-Length: {length}\r\n"), DONE),
    rule("9110 10.1.1", "its name has no case", act!("Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n", "{chunk}0\r\n\r\n"), DONE),
    rule("9110 5.6.1.2", "an empty element is no expectation", act!("Expect: 100-continue,\r\nContent-Length: {length}\r\n"), DONE),
    rule("9110 5.6.1.2", "nor is an empty list", act!("Expect: ,\r\nContent-Length: {length}\r\n"), DONE),
    rule("9110 10.1.1", "no other is", look!("Expect: 200-ok\r\n"), 417).code("expectation_failed").closes(),
    rule("9110 10.1.1", "nor beside it", look!("Expect: 100-continue, x\r\n"), 417).code("expectation_failed").closes(),
    rule("9110 8.3", "another type is not read", "POST {act} HTTP/1.1\r\n{H}Content-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{json}", 415)
        .code("unsupported_media_type")
        .has(&[("Accept", "application/json")])
        .lacks(&["Accept-Encoding"]),
    rule("9110 15.5.16", "nor none", "POST {act} HTTP/1.1\r\n{H}Content-Length: {length}\r\n\r\n{json}", 415)
        .code("unsupported_media_type")
        .has(&[("Accept", "application/json")]),
    rule("9110 8.3.1", "a type has no case, and parameters", "POST {act} HTTP/1.1\r\n{H}Content-Type: Application/JSON; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{json}", DONE),
    bad("9110 8.3", "one type", act!("Content-Type: application/json\r\nContent-Length: {length}\r\n")),
    rule("9110 15.5.16", "a body in a coding is not read", act!("Content-Encoding: gzip\r\nContent-Length: {length}\r\n"), 415)
        .code("unsupported_media_type")
        .has(&[("Accept-Encoding", "identity")])
        .lacks(&["Accept"]),
    rule("9110 8.4", "nor in one of several", act!("Content-Encoding: identity\r\nContent-Encoding: br\r\nContent-Length: {length}\r\n"), 415)
        .code("unsupported_media_type"),
    rule("9110 8.4.1", "identity is none", act!("Content-Encoding: Identity,\r\nContent-Length: {length}\r\n"), DONE),
    rule("9110 8.4", "where no body is read, it says nothing", look!("Content-Encoding: gzip\r\nContent-Length: 0\r\n"), 200),
    // The server may disregard these and send the whole.
    rule("9110 12.5.1", "what is not accepted is sent", look!("Accept: text/html\r\n"), 200).has(&[JSON]),
    rule("9110 12.5.3", "as it is", look!("Accept-Encoding: gzip, identity;q=0\r\n"), 200).lacks(&["Content-Encoding", "Vary"]),
    rule("9110 10.1.4", "there are no trailers", look!("TE: trailers\r\n"), 200).lacks(&["Trailer", "Transfer-Encoding"]),
    rule("9111 5.2.2.5", "what is true now is not kept", look!(""), 200).has(&[("Cache-Control", "no-store")]),
];

/// Nothing has an entity tag or a time of its last change.
pub const CONDITIONS: &[Rule] = &[
    rule("9110 13.1.1", "no tag matches", look!("If-Match: \"x\"\r\n"), 412).code("precondition_failed"),
    rule("9110 13.1.1", "for HEAD", "HEAD {read} HTTP/1.1\r\n{H}If-Match: \"x\"\r\n\r\n", 412),
    rule("9110 13.1.1", "and nothing is done", act!("If-Match: W/\"x\", \"y\"\r\nContent-Length: {length}\r\n"), 412).code("precondition_failed"),
    rule("9110 13.1.1", "nor bought", "GET /buy/ticket HTTP/1.1\r\n{H}If-Match: \"x\"\r\n\r\n", 412)
        .code("precondition_failed")
        .at(At::Buyers),
    rule("9110 13.1.1", "nor removed", "DELETE {read} HTTP/1.1\r\n{H}If-Match: \"x\"\r\n\r\n", 412)
        .code("precondition_failed")
        .at(At::Control),
    rule("9110 13.1.1", "nor made", "POST /v1/sales HTTP/1.1\r\n{H}Content-Type: application/json\r\nIf-Match: \"x\"\r\nContent-Length: 21\r\n\r\n{\"id\":\"n\",\"total\":10}", 412)
        .code("precondition_failed")
        .at(At::Control),
    rule("9110 13.1.1", "also at a probe", "GET /livez HTTP/1.1\r\n{H}If-Match: \"x\"\r\n\r\n", 412)
        .code("precondition_failed")
        .at(At::Control),
    rule("9110 13.1.1", "`*` matches what is there", look!("If-Match: *\r\n"), 200),
    // A request that only does something has nothing to show.
    rule("9110 13.1.1", "and not what is not", act!("If-Match: *\r\nContent-Length: {length}\r\n"), 412).code("precondition_failed"),
    rule("9110 13.1.2", "`*` for what is there", look!("If-None-Match: *\r\n"), 304)
        .has(&[("Cache-Control", "no-store")])
        .lacks(&["Content-Length", "Content-Type", "ETag"]),
    rule("9110 13.1.2", "and for what is not", act!("If-None-Match: *\r\nContent-Length: {length}\r\n"), DONE),
    rule("9110 13.1.2", "no tag matches", look!("If-None-Match: \"x\"\r\n"), 200),
    rule("9110 13.1.2", "for what is done", act!("If-None-Match: \"x\"\r\nContent-Length: {length}\r\n"), DONE),
    rule("9110 13.1.2", "412 where more than a look is asked", "POST /v1/sales HTTP/1.1\r\n{H}Content-Type: application/json\r\nIf-None-Match: *\r\nContent-Length: 21\r\n\r\n{\"id\":\"n\",\"total\":10}", 412)
        .code("precondition_failed")
        .at(At::Control),
    rule("9110 13.2.1", "what fails anyway fails so", "GET /nothing HTTP/1.1\r\n{H}If-Match: \"x\"\r\n\r\n", 404).code("not_found"),
    rule("9110 13.2.1", "also if only the ledger knows", "GET /v1/sales/none HTTP/1.1\r\n{H}If-Match: \"x\"\r\n\r\n", 404).code("not_found"),
    rule("9110 13.2.1", "where something is done", "POST {act of none} HTTP/1.1\r\n{H}Content-Type: application/json\r\nIf-Match: \"x\"\r\nContent-Length: {length}\r\n\r\n{json}", 404)
        .code("not_found"),
    rule("9110 13.2.1", "and with the wrong method", "PUT {read} HTTP/1.1\r\n{H}If-Match: \"x\"\r\n\r\n", 405).code("method_not_allowed"),
    rule("9110 13.2.1", "OPTIONS has no conditions", "OPTIONS {read} HTTP/1.1\r\n{H}If-Match: \"x\"\r\n\r\n", 204),
    rule("9110 13.2.2", "If-Match comes first", look!("If-None-Match: *\r\nIf-Match: \"x\"\r\n"), 412).code("precondition_failed"),
    rule("9110 13.1.3", "no time of change, no condition", look!("If-Modified-Since: Sun, 06 Nov 2044 08:49:37 GMT\r\n"), 200)
        .lacks(&["Last-Modified"]),
    rule("9110 13.1.4", "nor the other way", act!("If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: {length}\r\n"), DONE),
    rule("9110 14.2", "ranges are passed over", look!("Range: bytes=0-1\r\nIf-Range: \"x\"\r\n"), 200)
        .lacks(&["Content-Range", "Accept-Ranges"]),
];

/// All of them.
pub const ALL: [&[Rule]; 9] =
    [VERSIONS, LINES, TARGETS, QUERIES, METHODS, FRAMING, CHUNKS, FIELDS, CONDITIONS];
