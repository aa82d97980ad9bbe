//! The control port as its API gives it, beside the page.

use serde_json::Value;

use crate::client::{Client, Response};
use crate::server::Server;

/// The operator's token of these tests.
pub const OPERATOR: &str = "operator-0123456789abcdef";
/// The token that may only look.
pub const READER: &str = "reader-0123456789abcdef";

/// One request with the operator's token.
#[track_caller]
pub fn ask(server: &Server, method: &str, path: &str, body: Option<Value>) -> Response {
    let body = body.map_or(String::new(), |body| body.to_string());
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let length = body.len();
    Client::control(server).ask(format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {OPERATOR}\r\n{kind}\
         Content-Length: {length}\r\n\r\n{body}"
    ))
}

/// A sale as the ledger has it.
#[track_caller]
pub fn sale(server: &Server, id: &str) -> Value {
    let shown = ask(server, "GET", &format!("/v1/sales/{id}"), None);
    assert_eq!(shown.status(), 200, "{}", shown.text());
    shown.json()
}

/// Free, held and confirmed units and the total of a sale, as the page's table has them.
#[track_caller]
pub fn units(server: &Server, id: &str) -> String {
    let sale = sale(server, id);
    ["free", "held", "confirmed", "total"].map(|name| sale[name].to_string()).join(" ")
}

/// A server with both tokens, and these options.
pub struct Guarded {
    /// The server.
    pub server: Server,
    _tokens: tempfile::TempDir,
}

/// Starts it.
pub fn guarded(options: &[&str]) -> Guarded {
    let tokens = tempfile::tempdir().expect("a folder");
    let file = |name: &str, token: &str| {
        let path = tokens.path().join(name);
        std::fs::write(&path, format!("{token}\n")).expect("a token");
        path.to_str().expect("a path").to_owned()
    };
    let (operator, reader) = (file("operator", OPERATOR), file("reader", READER));
    let mut all = vec!["--control-token-file", &operator, "--read-token-file", &reader];
    all.extend(options);
    let server = Server::start(&all);
    Guarded { server, _tokens: tokens }
}
