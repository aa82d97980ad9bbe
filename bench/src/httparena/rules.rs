//! The rules of HttpArena's profiles `baseline`, `pipelined` and `limited-conn`, and HTTP's own rules,
//! each as a check of a running server.
//!
//! The board's rules are in its documentation ("Test Profiles", "Engine") and in its verifier
//! (`scripts/validate.sh`). Numbers are random per request, so no cached answer is right.
//!
//! Knows only the server's address: `bench/run httparena` and a test of the entry share it.

use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use super::shapes::{Asked, Body, Numbers, Shape};
use crate::techempower::rules::Finding;
use crate::techempower::wire::{Answer, Found, Wire};

/// HttpArena's pause between two pieces.
const PIECE_PAUSE: Duration = Duration::from_millis(30);
/// Pause around a cut at every byte, so long that no server reads both parts at once.
const CUT_PAUSE: Duration = Duration::from_millis(200);
/// Connections that wait together.
const CUT_BATCH: usize = 256;
const PIPELINED: usize = 16;
const KEPT_REQUESTS: usize = 100;
/// Requests per connection in `limited-conn`, and connections tried one after the other.
const LIMITED_REQUESTS: usize = 10;
const LIMITED_CONNECTIONS: usize = 20;
const RANDOM_CUTS: usize = 24;
const PIPELINE: &str = "GET /pipeline HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";

type Rule = (&'static str, &'static str, fn(SocketAddr, &mut Numbers) -> Found<String>);

const RULES: [Rule; 19] = [
    ("baseline", "GET: the query's sum", get),
    ("baseline", "POST with Content-Length", length),
    ("baseline", "POST in one chunk, in several", chunked),
    ("baseline", "field names in lower case", lower_case),
    ("baseline", "no answer of an earlier request", nothing_kept),
    ("baseline", "HttpArena's pieces, 30 ms apart", pieces),
    ("baseline", "random pieces, 30 ms apart", random_pieces),
    ("baseline", "cut at every byte, 200 ms apart", cut_everywhere),
    ("baseline", "keep-alive", keep_alive),
    ("baseline", "16 pipelined sums, in order", sums_in_order),
    ("pipelined", "GET /pipeline", pipeline),
    ("pipelined", "16 pipelined", pipelined),
    ("limited-conn", "10 requests a connection", limited),
    ("http", "closes when asked", closes),
    ("http", "HEAD has no body", head),
    ("http", "404 for another path", another_path),
    ("http", "405 or 501 for another method", another_method),
    ("http", "400 for a value that is no number", no_number),
    ("http", "400 for ambiguous framing", ambiguous),
];

/// Checks every rule. Takes some seconds, mostly pauses.
pub fn check(address: SocketAddr) -> Vec<Finding> {
    let mut numbers = Numbers::default();
    let finding =
        |(test, rule, holds): Rule| Finding { test, rule, found: holds(address, &mut numbers) };
    RULES.map(finding).into()
}

/// `Err` unless the answer is a 200 with this text.
fn judge(answer: &Answer, text: &str) -> Found<()> {
    if !answer.line.starts_with("HTTP/1.1 200 ") {
        return Err(answer.line.clone());
    }
    let content_type = answer.required("content-type")?;
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("text/plain") {
        return Err(format!("Content-Type: {content_type}"));
    }
    match answer.body == text.as_bytes() {
        true => Ok(()),
        false => Err(format!("{:?}, and not {text}", String::from_utf8_lossy(&answer.body))),
    }
}

/// Sends a request on a kept connection.
fn ask(wire: &mut Wire, Asked { request, sum }: &Asked) -> Found<()> {
    let answer = wire.ask(request)?;
    judge(&answer, sum).map_err(|found| format!("{found} for {request:?}"))
}

/// Sends several requests of each shape, each shape on its own connection.
fn each(shapes: &[Shape], address: SocketAddr, numbers: &mut Numbers) -> Found<String> {
    let mut sums = Vec::new();
    for shape in shapes.iter().flat_map(|shape| [shape; 3]) {
        let asked = shape.ask(numbers);
        ask(&mut Wire::connect(address)?, &asked)?;
        sums.push(asked.sum);
    }
    Ok(sums.join(", "))
}

fn get(address: SocketAddr, numbers: &mut Numbers) -> Found<String> {
    each(&[Shape::new(Body::None)], address, numbers)
}

fn length(address: SocketAddr, numbers: &mut Numbers) -> Found<String> {
    each(&[Shape::new(Body::Length)], address, numbers)
}

fn chunked(address: SocketAddr, numbers: &mut Numbers) -> Found<String> {
    each(&[3, 2, 1].map(|size| Shape::new(Body::Chunks(size))), address, numbers)
}

fn lower_case(address: SocketAddr, numbers: &mut Numbers) -> Found<String> {
    each(&Shape::ALL.map(|shape| Shape { lower_case: true, ..shape }), address, numbers)
}

/// Requests the same target with one body, with another one, and without a body.
fn nothing_kept(address: SocketAddr, numbers: &mut Numbers) -> Found<String> {
    let mut wire = Wire::connect(address)?;
    let first = numbers.three_digits();
    let bodies = [first, first + 1 + numbers.below(900), first];
    for body in bodies {
        ask(&mut wire, &Shape::new(Body::Length).ask_for(13, 42, body))?;
        ask(&mut wire, &Shape::new(Body::Chunks(3)).ask_for(13, 42, body + 1))?;
        ask(&mut wire, &Shape::new(Body::None).ask_for(13, 42, body))?;
    }
    Ok(format!("bodies {bodies:?} to one target"))
}

/// Sends the pieces with a pause before each but the first, and reads the only answer.
fn ask_in_pieces(address: SocketAddr, pieces: &[impl AsRef<[u8]>], sum: &str) -> Found<()> {
    let mut wire = Wire::connect(address)?;
    for (at, piece) in pieces.iter().enumerate() {
        if at > 0 {
            sleep(PIECE_PAUSE);
        }
        wire.send(piece)?;
    }
    judge(&wire.answer()?, sum)?;
    wire.end()
}

fn pieces(address: SocketAddr, _: &mut Numbers) -> Found<String> {
    let post = "POST /baseline11?a=13&b=42 HTTP/1.1\r\nHost: localhost\r\n\
                Content-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\n";
    let cuts: [(&str, &[&str], &str); 4] = [
        (
            "within the path",
            &[
                "GET /baseli",
                "ne11?a=13&b=42 HTTP/1.1\r\n",
                "Host: localhost\r\nConnection: close\r\n\r\n",
            ],
            "55",
        ),
        (
            "line by line",
            &[
                "GET /baseline11?a=13&b=42 HTTP/1.1\r\n",
                "Host: localhost\r\n",
                "User-Agent: httparena/1.0\r\n",
                "Connection: close\r\n\r\n",
            ],
            "55",
        ),
        ("before the body", &[post, "20"], "75"),
        ("within the body", &[post, "2", "0"], "75"),
    ];
    for (place, pieces, sum) in cuts {
        ask_in_pieces(address, pieces, sum).map_err(|found| format!("{place}: {found}"))?;
    }
    Ok(cuts.map(|(place, ..)| place).join(", "))
}

fn random_pieces(address: SocketAddr, numbers: &mut Numbers) -> Found<String> {
    for at in 0..RANDOM_CUTS {
        let shape = Shape::CUT[at % Shape::CUT.len()];
        let Asked { request, sum } = shape.ask(numbers);
        let mut cuts = [(); 3].map(|()| 1 + numbers.below(request.len() as u64 - 1) as usize);
        cuts.sort_unstable();
        let [first, second, third] = cuts;
        let bytes = request.as_bytes();
        let all = [&bytes[..first], &bytes[first..second], &bytes[second..third], &bytes[third..]];
        let pieces: Vec<_> = all.into_iter().filter(|piece| !piece.is_empty()).collect();
        ask_in_pieces(address, &pieces, &sum)
            .map_err(|found| format!("cut at {cuts:?}: {found}: {request:?}"))?;
    }
    Ok(format!("{RANDOM_CUTS} requests, each cut at 3 places"))
}

fn cut_everywhere(address: SocketAddr, numbers: &mut Numbers) -> Found<String> {
    let asked = Shape::CUT.map(|shape| shape.ask(numbers));
    let cuts = asked.iter().flat_map(|asked| (1..asked.request.len()).map(move |at| (asked, at)));
    let cuts: Vec<_> = cuts.collect();
    for batch in cuts.chunks(CUT_BATCH) {
        let begin = |&(asked, at): &(&Asked, usize)| {
            let mut wire = Wire::connect(address)?;
            wire.send(&asked.request[..at])?;
            Ok(wire)
        };
        let begun = batch.iter().map(begin).collect::<Found<Vec<_>>>()?;
        sleep(CUT_PAUSE);
        for (mut wire, (Asked { request, sum }, at)) in begun.into_iter().zip(batch) {
            let mut end = || {
                judge(&wire.ask(&request[*at..])?, sum)?;
                wire.end()
            };
            end().map_err(|found| format!("cut at {at}: {found}: {request:?}"))?;
        }
    }
    Ok(format!("{} cuts of {} requests", cuts.len(), asked.len()))
}

fn keep_alive(address: SocketAddr, numbers: &mut Numbers) -> Found<String> {
    let mut wire = Wire::connect(address)?;
    for at in 0..KEPT_REQUESTS {
        ask(&mut wire, &Shape::ALL[at % Shape::ALL.len()].ask(numbers))?;
    }
    Ok(format!("{KEPT_REQUESTS} requests on a connection"))
}

fn sums_in_order(address: SocketAddr, numbers: &mut Numbers) -> Found<String> {
    let mut wire = Wire::connect(address)?;
    let shapes = Shape::ALL.iter().cycle().take(PIPELINED);
    let asked: Vec<_> = shapes.map(|shape| shape.ask(numbers)).collect();
    wire.send(asked.iter().map(|asked| &*asked.request).collect::<String>())?;
    for (at, Asked { sum, .. }) in asked.iter().enumerate() {
        judge(&wire.answer()?, sum).map_err(|found| format!("answer {at}: {found}"))?;
    }
    ask(&mut wire, &Shape::new(Body::None).ask(numbers))?;
    Ok(format!("{PIPELINED} in one write, GET and POST in turn"))
}

fn pipeline(address: SocketAddr, _: &mut Numbers) -> Found<String> {
    let mut wire = Wire::connect(address)?;
    for _ in 0..3 {
        judge(&wire.ask(PIPELINE)?, "ok")?;
    }
    Ok("ok".into())
}

fn pipelined(address: SocketAddr, _: &mut Numbers) -> Found<String> {
    let mut wire = Wire::connect(address)?;
    for _ in 0..3 {
        wire.send(PIPELINE.repeat(PIPELINED))?;
        for _ in 0..PIPELINED {
            judge(&wire.answer()?, "ok")?;
        }
    }
    Ok(format!("3 times {PIPELINED}"))
}

fn limited(address: SocketAddr, numbers: &mut Numbers) -> Found<String> {
    for _ in 0..LIMITED_CONNECTIONS {
        let mut wire = Wire::connect(address)?;
        for at in 0..LIMITED_REQUESTS {
            ask(&mut wire, &Shape::ALL[at % Shape::ALL.len()].ask(numbers))?;
        }
    }
    Ok(format!("{LIMITED_CONNECTIONS} connections"))
}

fn closes(address: SocketAddr, numbers: &mut Numbers) -> Found<String> {
    let asked = Shape { close: true, ..Shape::new(Body::Length) }.ask(numbers);
    let mut wire = Wire::connect(address)?;
    ask(&mut wire, &asked)?;
    wire.end()?;
    let mut wire = Wire::connect(address)?;
    let answer = wire.ask("GET /baseline11?a=1&b=2 HTTP/1.0\r\n\r\n")?;
    judge(&answer, "3")?;
    wire.end()?;
    Ok("Connection: close, HTTP/1.0".into())
}

fn head(address: SocketAddr, numbers: &mut Numbers) -> Found<String> {
    let mut wire = Wire::connect(address)?;
    let asked = Shape::new(Body::None).ask(numbers);
    for (request, text) in [(&*asked.request, &*asked.sum), (PIPELINE, "ok")] {
        wire.send(request.replacen("GET", "HEAD", 1))?;
        let head = wire.head()?;
        // A body after the head would be read as the next answer's first line.
        let get = wire.ask(request)?;
        judge(&get, text)?;
        let said = |answer: &Answer| {
            let header = |name| Ok::<_, String>(answer.header(name)?.map(str::to_owned));
            Ok::<_, String>((header("content-type")?, header("content-length")?))
        };
        if head.line != get.line || said(&head)? != said(&get)? {
            return Err(format!("{:?} for HEAD, {:?} for GET", head.headers, get.headers));
        }
    }
    Ok("the headers of GET".into())
}

/// Sends a request that must be refused with one of these statuses. The next request must get an
/// answer, on the same connection unless the server closes it.
fn refused(address: SocketAddr, request: &str, statuses: &[&str]) -> Found<Answer> {
    let mut wire = Wire::connect(address)?;
    let answer = wire.ask(request)?;
    let status = answer.line.split(' ').nth(1).unwrap_or_default();
    if !statuses.contains(&status) {
        return Err(format!("{} for {request:?}", answer.line));
    }
    if answer.header("connection")?.is_some_and(|said| said.eq_ignore_ascii_case("close")) {
        wire.end()?;
        wire = Wire::connect(address)?;
    }
    judge(&wire.ask(PIPELINE)?, "ok").map_err(|found| format!("after {request:?}: {found}"))?;
    Ok(answer)
}

fn another_path(address: SocketAddr, _: &mut Numbers) -> Found<String> {
    let paths = ["/", "/baseline1", "/baseline11/", "/baseline112?a=1&b=2", "/Pipeline", "/*"];
    for path in paths {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        refused(address, &request, &["404"])?;
    }
    Ok(paths.join(", "))
}

fn another_method(address: SocketAddr, _: &mut Numbers) -> Found<String> {
    let request = |method: &str, path: &str| {
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
    };
    for (method, path) in
        [("PUT", "/baseline11?a=1&b=2"), ("DELETE", "/baseline11?a=1&b=2"), ("POST", "/pipeline")]
    {
        let answer = refused(address, &request(method, path), &["405"])?;
        // RFC 9110, section 15.5.6.
        let allow = answer.required("allow")?;
        if !allow.contains("GET") || allow.contains(method) {
            return Err(format!("{method} {path}: Allow: {allow}"));
        }
    }
    refused(address, &request("BREW", "/pipeline"), &["405", "501"])?;
    Ok("405 says Allow".into())
}

fn no_number(address: SocketAddr, numbers: &mut Numbers) -> Found<String> {
    let queries = ["?a=x&b=1", "?a=&b=1", "?a=1.5&b=1", "?a=99999999999999999999&b=1", "?a&b=1"];
    for query in queries {
        let request = format!("GET /baseline11{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        said_why(&refused(address, &request, &["400"])?)?;
    }
    let right = Shape::new(Body::Length).ask(numbers).request;
    let (head, body) = right.split_at(right.len() - 3);
    for wrong in ["x20", "1 2", "\u{a0}1"] {
        let answer = refused(address, &format!("{head}{wrong}"), &["400"])?;
        said_why(&answer).map_err(|found| format!("{found} for {wrong:?} instead of {body}"))?;
    }
    Ok(format!("{} queries, 3 bodies, with a reason", queries.len()))
}

fn said_why(answer: &Answer) -> Found<()> {
    if answer.body.is_empty() { Err("400 without a reason".into()) } else { Ok(()) }
}

/// Ambiguous framing (RFC 9112, section 6.3) must be refused, and the connection closed.
fn ambiguous(address: SocketAddr, _: &mut Numbers) -> Found<String> {
    let lines = [
        "Content-Length: 2\r\nTransfer-Encoding: chunked",
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: -2",
        "Transfer-Encoding: chunked, chunked",
    ];
    for lines in lines {
        let request = format!(
            "POST /baseline11?a=13&b=42 HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n\
             2\r\n20\r\n0\r\n\r\n"
        );
        let answer = refused(address, &request, &["400"])?;
        if answer.header("connection")?.is_none_or(|said| !said.eq_ignore_ascii_case("close")) {
            return Err(format!("the server does not close after {lines:?}"));
        }
    }
    Ok("and the connection closed".into())
}
