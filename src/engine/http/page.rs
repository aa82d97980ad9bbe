//! A web page: one file that loads nothing else, and a policy by which nothing else can run in it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::response::{HTML, Response, ResponseContext, put_header};
use super::status::Status;

/// A page with one `<style>` and one `<script>`, and its `Content-Security-Policy`.
#[derive(Debug)]
pub struct Page {
    html: String,
    policy: String,
}

impl Page {
    /// A page of this HTML. The policy allows its script and style by their hashes, so that injected
    /// ones can't run, and requests to its own server.
    pub fn new(html: String) -> Self {
        let policy = format!(
            "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
             require-trusted-types-for 'script'; trusted-types 'none'",
            hash(element(&html, "script")),
            hash(element(&html, "style")),
        );
        Self { html, policy }
    }

    /// Its HTML.
    #[cfg(test)]
    pub fn html(&self) -> &str {
        &self.html
    }

    /// Appends a 200 with the page, which is never cached.
    pub fn write(&self, context: &ResponseContext<'_>, out: &mut Vec<u8>) {
        let start = out.len();
        Response::new(Status::Ok, HTML).write(context, &[self.html.as_bytes()], out);
        for (name, value) in [
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("X-Frame-Options", "DENY"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Content-Security-Policy", &self.policy),
        ] {
            put_header(name, value, start, out);
        }
    }
}

/// The text of the only element with this name.
fn element<'a>(html: &'a str, name: &str) -> &'a str {
    let rest = html.split_once(&format!("<{name}>")).map_or("", |(_, rest)| rest);
    rest.split_once(&format!("</{name}>")).map_or("", |(text, _)| text)
}

fn hash(text: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    format!("'sha256-{}'", BASE64_STANDARD.encode(digest))
}

/// Panics unless this is one file that asks nobody else, and whose policy lets it run.
#[cfg(test)]
pub fn assert_is_self_contained(page: &Page) {
    let html = page.html();
    for name in ["script", "style"] {
        assert_eq!(html.matches(&format!("<{name}")).count(), 1, "{name}");
        assert_eq!(html.matches(&format!("</{name}>")).count(), 1, "{name}");
        assert!(!element(html, name).is_empty(), "{name}");
    }
    for outside in
        ["src=", "@import", "url(", " style=", "style=\"", "onclick=", "innerHTML", "eval(", "{{"]
    {
        assert!(!html.contains(outside), "{outside}");
    }
    let links = html.match_indices("://").map(|(at, _)| &html[at.saturating_sub(5)..at + 24]);
    // The namespace of SVG is not an address.
    let others: Vec<_> = links.filter(|link| !link.contains("www.w3.org/2000/svg")).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_allows_the_script_and_the_style_of_its_page() {
        let page = Page::new("<style>b{}</style><script></script>".into());
        // printf '' | openssl dgst -sha256 -binary | base64
        let script = "script-src 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=';";
        assert!(page.policy.contains(script), "{}", page.policy);
        // The same for `b{}`.
        let style = "style-src 'sha256-7yqHVAesot11p6HczDsgKRipvI5UPgs97z80zNXlans=';";
        assert!(page.policy.contains(style), "{}", page.policy);
    }
}
