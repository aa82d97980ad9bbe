//! A page of another origin reads nothing and changes nothing, whatever it tries.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use crate::control::{OPERATOR, guarded, sale};
use crate::server::Server;
use crate::webdriver::{Browser, SEEN_DEADLINE};

/// A site of somebody else on this machine: every address of it is an empty page.
fn foreign_site() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let page = "<!doctype html><title>elsewhere</title><link rel=icon href=data:,>";
            let _ = write!(
                &stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{page}",
                page.len()
            );
        }
    });
    address
}

/// What a page tries, and what came of it.
fn attempts(browser: &Browser, target: SocketAddr, token: &str) -> Vec<String> {
    let script = format!(
        r#"
        const target = "http://{target}";
        const token = {token:?};
        const headers = token ? {{ Authorization: `Bearer ${{token}}` }} : {{}};
        const said = [];
        const attempt = async (name, path, settings) => {{
          try {{
            const answer = await fetch(target + path, settings);
            const text = await answer.text();
            said.push(`${{name}}: ${{answer.type}} ${{answer.status}} ${{text}}`);
          }} catch (error) {{
            said.push(`${{name}}: failed`);
          }}
        }};
        await attempt("read", "/v1/live", {{ headers }});
        await attempt("read the list", "/v1/sales", {{ headers }});
        await attempt("read blindly", "/v1/live", {{ mode: "no-cors" }});
        await attempt("close", "/v1/sales/ticket/close", {{ method: "POST", headers }});
        await attempt("close blindly", "/v1/sales/ticket/close", {{ method: "POST", mode: "no-cors" }});
        return said;
        "#
    );
    let said = browser.run_async(&script);
    let said = said.as_array().unwrap_or_else(|| panic!("{said}"));
    said.iter().map(|one| one.as_str().expect("text").to_owned()).collect()
}

/// Nothing of an answer can be read.
fn assert_blind(said: &[String]) {
    for one in said {
        let (_, outcome) = one.split_once(": ").expect("an outcome");
        assert!(matches!(outcome, "failed" | "opaque 0 "), "{one}");
    }
    assert_eq!(said.len(), 5);
}

#[test]
fn a_foreign_page_can_neither_read_nor_change() {
    let open = Server::start(&["--sale", "ticket=10"]);
    let guarded = guarded(&["--sale", "ticket=10"]);
    let browser = Browser::start();
    browser.open(&format!("http://{}/", foreign_site()));
    for (server, token) in [(&open, ""), (&guarded.server, ""), (&guarded.server, OPERATOR)] {
        assert_blind(&attempts(&browser, server.control(), token));
        assert_eq!(sale(server, "ticket")["state"], "open");
    }
}

#[test]
fn the_form_of_a_foreign_page_changes_nothing() {
    let server = Server::start(&["--sale", "ticket=10"]);
    let browser = Browser::start();
    browser.open(&format!("http://{}/", foreign_site()));
    browser.run(&format!(
        "const form = document.createElement('form'); \
         form.method = 'POST'; \
         form.action = 'http://{}/v1/sales/ticket/close'; \
         document.body.append(form); form.submit();",
        server.control()
    ));
    let until = Instant::now() + SEEN_DEADLINE;
    while !server.log().contains("control port refused a caller") {
        assert!(Instant::now() < until, "the form was not sent: {}", server.log());
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(sale(&server, "ticket")["state"], "open");
}

#[test]
fn a_rebound_dns_name_is_refused() {
    let server = Server::start(&["--sale", "ticket=10"]);
    let browser = Browser::start_with(&["--host-resolver-rules=MAP evil.example 127.0.0.1"]);
    let port = server.control().port();
    // The page itself says nothing of the server, and gets nothing.
    browser.open(&format!("http://evil.example:{port}/"));
    browser.until_text("#door-error", "the Host must be an address or localhost");
    assert_eq!(browser.text("#numbers"), "");
    let said = browser.run_async(
        "const said = []; \
         for (const method of ['GET', 'POST']) { \
           const path = method === 'GET' ? '/v1/live' : '/v1/sales/ticket/close'; \
           said.push((await fetch(path, { method })).status); \
         } \
         return said.join(' ');",
    );
    assert_eq!(said, "403 403");
    assert_eq!(sale(&server, "ticket")["state"], "open");
}

#[test]
fn the_live_page_resists_framing_and_foreign_scripts() {
    let server = Server::start(&["--sale", "ticket=10"]);
    let browser = Browser::start();
    browser.open(&format!("http://{}/", foreign_site()));
    let url = format!("http://{}/", server.control());
    let framed = browser.run_async(&format!(
        "const frame = document.createElement('iframe'); \
         const loaded = new Promise((resolve) => frame.addEventListener('load', resolve)); \
         frame.src = {url:?}; document.body.append(frame); await loaded; \
         try {{ return frame.contentDocument ? 'empty' : 'foreign'; }} catch {{ return 'foreign'; }}"
    ));
    // Chromium shows a page of its own in place of one that may not be framed.
    assert_eq!(framed, "foreign");
    let blocked = browser
        .console()
        .iter()
        .any(|line| line.contains("frame-ancestors") || line.contains("X-Frame-Options"));
    assert!(blocked, "Chromium says that it refuses the frame");
    browser.open(&url);
    browser.until("document.body.dataset.state === 'live'");
    let ran = browser.run_async(
        "const script = document.createElement('script'); \
         let violated = 0; \
         addEventListener('securitypolicyviolation', () => violated++); \
         try { script.textContent = 'window.ran = true'; document.body.append(script); } catch {} \
         await new Promise((resolve) => setTimeout(resolve, 0)); \
         return [window.ran ?? false, violated > 0];",
    );
    assert_eq!(ran, serde_json::json!([false, true]));
}
