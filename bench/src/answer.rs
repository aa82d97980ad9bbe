//! The answers that every measured server must give: the article's two bodies, TechEmpower's two and
//! HttpArena's two. A grant also names its reservation, except in the article's own design, which has
//! no reservation ids.

use crate::client::Response;

/// The measured target.
pub const TARGET: &str = "/buy/ticket";

/// The body of a rejection.
pub const SOLD_OUT: &str = r#"{"code":-1,"msg":"已售罄"}"#;

/// The body of a grant of the article's own design.
pub const ARTICLE_GRANTED: &str = r#"{"code":1,"msg":"抢票成功"}"#;

/// TechEmpower's JSON message, for servers that serialize it.
#[derive(Debug, serde::Serialize)]
pub struct Message {
    message: &'static str,
}

/// TechEmpower's message.
pub const MESSAGE: Message = Message { message: "Hello, World!" };

/// The body of a 503: the ledger is unreachable.
pub const UNAVAILABLE: &str = r#"{"code":-6,"msg":"服务暂不可用，请稍后再试"}"#;

const GRANTED_HEAD: &str = r#"{"code":1,"msg":"抢票成功","data":{"reservation":"ticket~"#;
const GRANTED_TAIL: &str = r#""}}"#;
/// Length of a reservation's id within its sale.
pub const RESERVATION_CHARACTERS: usize = 26;

/// The body of a grant. `id` names the reservation within its sale and has [`RESERVATION_CHARACTERS`].
pub fn granted(id: &str) -> String {
    debug_assert_eq!(id.len(), RESERVATION_CHARACTERS);
    format!("{GRANTED_HEAD}{id}{GRANTED_TAIL}")
}

/// The meaning of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A ticket was granted.
    Granted,
    /// No ticket is left.
    SoldOut,
}

/// The content of an answer that is no sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Content {
    /// A rejection.
    #[value(name = "sold_out")]
    SoldOut,
    /// TechEmpower's plaintext test.
    Plaintext,
    /// TechEmpower's JSON test.
    Json,
    /// HttpArena's sum of a query.
    Sum,
    /// HttpArena's answer to pipelined requests.
    Ok,
}

impl Content {
    /// The content's name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::SoldOut => "sold_out",
            Self::Plaintext => "plaintext",
            Self::Json => "json",
            Self::Sum => "sum",
            Self::Ok => "ok",
        }
    }

    /// The target that serves this content.
    pub fn target(self) -> &'static str {
        match self {
            Self::SoldOut => TARGET,
            Self::Plaintext => "/plaintext",
            Self::Json => "/json",
            Self::Sum => "/baseline11?a=13&b=42",
            Self::Ok => "/pipeline",
        }
    }

    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::SoldOut | Self::Json => "application/json",
            Self::Plaintext | Self::Sum | Self::Ok => "text/plain",
        }
    }

    /// The body.
    pub fn body(self) -> &'static str {
        match self {
            Self::SoldOut => SOLD_OUT,
            Self::Plaintext => "Hello, World!",
            Self::Json => r#"{"message":"Hello, World!"}"#,
            Self::Sum => "55",
            Self::Ok => "ok",
        }
    }
}

/// Reads an answer strictly: status, content type, every byte of the body. `None`: neither a grant nor
/// a rejection.
pub fn read(response: &Response) -> Option<Answer> {
    if response.status != 200 || response.content_type != "application/json" {
        return None;
    }
    if response.body == SOLD_OUT {
        return Some(Answer::SoldOut);
    }
    if response.body == ARTICLE_GRANTED {
        return Some(Answer::Granted);
    }
    let id = response.body.strip_prefix(GRANTED_HEAD)?.strip_suffix(GRANTED_TAIL)?;
    let legal = |b: u8| b.is_ascii_digit() || b.is_ascii_lowercase();
    (id.len() == RESERVATION_CHARACTERS && id.bytes().all(legal)).then_some(Answer::Granted)
}

/// The text of this member in a JSON body.
pub fn text_field<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("\"{name}\":\""))?;
    rest.split('"').next()
}

/// The number of this member in a JSON body.
pub fn number_field(body: &str, name: &str) -> Option<u64> {
    let (_, rest) = body.split_once(&format!("\"{name}\":"))?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(body: &str) -> Response {
        let (content_type, body) = ("application/json".into(), body.into());
        Response { status: 200, content_type, body, closes: false }
    }

    #[test]
    fn fields_are_found_by_name() {
        let body = r#"{"id":"ticket~0","held":12,"free":3}"#;
        assert_eq!(text_field(body, "id"), Some("ticket~0"));
        assert_eq!((number_field(body, "held"), number_field(body, "free")), (Some(12), Some(3)));
        assert_eq!((text_field(body, "held"), number_field(body, "id")), (None, None));
    }

    #[test]
    fn only_known_answer_bodies_are_accepted() {
        assert_eq!(read(&response(SOLD_OUT)), Some(Answer::SoldOut));
        let id = "0123456789abcdefghijklmnop";
        assert_eq!(read(&response(&granted(id))), Some(Answer::Granted));
        assert_eq!(read(&response(&granted(id).replace("~0", "~"))), None);
        assert_eq!(read(&response(&granted(&id.to_uppercase()))), None);
        assert_eq!(read(&response(ARTICLE_GRANTED)), Some(Answer::Granted));
        assert_eq!(read(&response("{}")), None);
        assert_eq!(serde_json::to_string(&MESSAGE).expect("JSON"), Content::Json.body());
        assert_eq!(read(&Response { status: 503, ..response(SOLD_OUT) }), None);
    }
}
