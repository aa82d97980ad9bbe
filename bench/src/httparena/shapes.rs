//! The requests of HttpArena's baseline, with unpredictable numbers.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Random numbers from a seed of the operating system.
#[derive(Default)]
pub struct Numbers {
    hasher: RandomState,
    drawn: u64,
}

impl Numbers {
    /// Draws a number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(self.drawn);
        self.drawn += 1;
        hasher.finish() % end
    }

    /// Draws a number from 100 to 999, like HttpArena.
    pub fn three_digits(&mut self) -> u64 {
        100 + self.below(900)
    }
}

/// The framing of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// No body: a GET.
    None,
    /// With Content-Length.
    Length,
    /// In chunks of this number of digits.
    Chunks(usize),
}

/// One kind of request to `/baseline11`.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Method and framing.
    pub body: Body,
    /// Additional header lines.
    pub more: &'static str,
    /// Whether field names are in lower case.
    pub lower_case: bool,
    /// Whether the request asks to close the connection.
    pub close: bool,
}

/// A request, and the body of its answer.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The request.
    pub request: String,
    /// The expected body.
    pub sum: String,
}

const CLIENT: &str = "User-Agent: httparena/1.0\r\nAccept: */*\r\nAccept-Encoding: gzip, br\r\n";

impl Shape {
    /// A shape with this body, on a kept connection.
    pub const fn new(body: Body) -> Self {
        Self { body, more: "", lower_case: false, close: false }
    }

    /// GET and the three kinds of POST.
    pub const ALL: [Self; 4] = [
        Self::new(Body::None),
        Self::new(Body::Length),
        Self::new(Body::Chunks(3)),
        Self::new(Body::Chunks(1)),
    ];

    /// Shapes that are cut at every byte.
    pub const CUT: [Self; 7] = [
        Self::new(Body::None).closing(),
        Self { more: CLIENT, ..Self::new(Body::None).closing() },
        Self { lower_case: true, ..Self::new(Body::None).closing() },
        Self::new(Body::Length).closing(),
        Self { lower_case: true, ..Self::new(Body::Length).closing() },
        Self::new(Body::Chunks(3)).closing(),
        Self::new(Body::Chunks(2)).closing(),
    ];

    const fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    /// A request with random numbers.
    pub fn ask(self, numbers: &mut Numbers) -> Asked {
        let [a, b] = [numbers.three_digits(), numbers.three_digits()];
        self.ask_for(a, b, numbers.three_digits())
    }

    /// A request with these numbers. A GET leaves out the last one.
    pub fn ask_for(self, a: u64, b: u64, body: u64) -> Asked {
        let digits = body.to_string();
        let (method, framing, text, sum) = match self.body {
            Body::None => ("GET", String::new(), String::new(), a + b),
            Body::Length => {
                let framing = format!("Content-Length: {}\r\n", digits.len());
                ("POST", framing, digits, a + b + body)
            }
            Body::Chunks(size) => {
                let chunk = |chunk: &[u8]| {
                    let text = String::from_utf8_lossy(chunk);
                    format!("{:x}\r\n{text}\r\n", chunk.len())
                };
                let chunks: String = digits.as_bytes().chunks(size).map(chunk).collect();
                let framing = "Transfer-Encoding: chunked\r\n".to_owned();
                ("POST", framing, chunks + "0\r\n\r\n", a + b + body)
            }
        };
        let content_type = if method == "POST" { "Content-Type: text/plain\r\n" } else { "" };
        let close = if self.close { "Connection: close\r\n" } else { "" };
        let mut headers =
            format!("Host: localhost:8080\r\n{}{content_type}{framing}{close}", self.more);
        if self.lower_case {
            headers.make_ascii_lowercase();
        }
        let line = format!("{method} /baseline11?a={a}&b={b} HTTP/1.1\r\n");
        Asked { request: format!("{line}{headers}\r\n{text}"), sum: sum.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_match_those_of_httparena() {
        let ask = |shape: Shape| {
            let Asked { request, sum } = shape.ask_for(13, 42, 20);
            (request, sum)
        };
        let get = "GET /baseline11?a=13&b=42 HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";
        assert_eq!(ask(Shape::ALL[0]), (get.into(), "55".into()));
        let post = "POST /baseline11?a=13&b=42 HTTP/1.1\r\nHost: localhost:8080\r\n\
                    Content-Type: text/plain\r\n";
        let length = format!("{post}Content-Length: 2\r\n\r\n20");
        assert_eq!(ask(Shape::ALL[1]), (length, "75".into()));
        let chunked = format!("{post}Transfer-Encoding: chunked\r\n\r\n");
        let one = format!("{chunked}2\r\n20\r\n0\r\n\r\n");
        assert_eq!(ask(Shape::ALL[2]), (one, "75".into()));
        let two = format!("{chunked}1\r\n2\r\n1\r\n0\r\n0\r\n\r\n");
        assert_eq!(ask(Shape::ALL[3]), (two, "75".into()));
        let (lower, _) = ask(Shape { lower_case: true, close: true, ..Shape::ALL[1] });
        assert!(lower.contains("\r\ncontent-length: 2\r\nconnection: close\r\n\r\n20"), "{lower}");
    }

    #[test]
    fn random_numbers_differ_between_draws() {
        let mut numbers = Numbers::default();
        let drawn: std::collections::HashSet<_> = (0..64).map(|_| numbers.three_digits()).collect();
        assert!(drawn.len() > 32 && drawn.iter().all(|number| (100..1000).contains(number)));
        let [mut one, mut other] = [Numbers::default(), Numbers::default()];
        let draw = |numbers: &mut Numbers| [(); 8].map(|()| numbers.below(u64::MAX));
        assert_ne!(draw(&mut one), draw(&mut other));
    }
}
