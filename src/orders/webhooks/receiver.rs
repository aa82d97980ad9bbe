//! The receiver of webhooks: its URL, and one attempt to send it an event.
//!
//! Redirects are not followed: the operator must know that a receiver has moved, and the signature
//! was made for the configured one. Only the status and `Retry-After` of a response are used.

use std::fmt;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Error};

use super::schedule::{Answer, retry_after_ms};
use crate::clock::wall_ms;
use crate::limits::{
    WEBHOOK_ANSWER_BYTES_MAX, WEBHOOK_ANSWER_HEAD_BYTES_MAX, WEBHOOK_BUFFER_BYTES,
    WEBHOOK_FAILURE_BYTES_MAX, WEBHOOK_IDLE_MS, WEBHOOK_URL_BYTES_MAX,
};
use crate::tls::pem::certificates;

/// The URL of a receiver. Displayed without its query.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(Uri);

impl WebhookUrl {
    /// Parses `https://host…`. `http://` is only accepted for this machine, unless `plain_http` is
    /// set.
    ///
    /// # Errors
    /// Says what would be valid, and quotes nothing: the text may contain a secret.
    pub fn parse(text: &str, plain_http: bool) -> Result<Self, String> {
        let text = text.trim();
        let shape = "must be https://host/path, up to 2048 visible ASCII characters";
        let is_sound = text.len() <= WEBHOOK_URL_BYTES_MAX
            && text.bytes().all(|b| b.is_ascii_graphic())
            && !text.contains('#');
        let uri: Uri = text.parse().ok().filter(|_| is_sound).ok_or(shape)?;
        let authority = uri.authority().ok_or(shape)?;
        if authority.as_str().contains('@') {
            return Err("has a user in it: the receiver knows webhooks by their signature".into());
        }
        let host = authority.host();
        if host.is_empty() || authority.as_str().ends_with(':') {
            return Err(shape.into());
        }
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if plain_http || is_loopback(host) => {}
            Some("http") => {
                return Err("is in the clear: use https://, or a loopback address, or say \
                            --plain-http"
                    .into());
            }
            _ => return Err(shape.into()),
        }
        Ok(Self(uri))
    }

    fn is_secure(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        match text.split_once('?') {
            Some((shown, _)) => write!(f, "{shown}?***"),
            None => f.write_str(&text),
        }
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({self})")
    }
}

/// One attempt.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    pub(super) id: String,
    pub(super) timestamp_s: u64,
    pub(super) signature: String,
    pub(super) body: String,
}

/// The client for a receiver, for any number of threads.
#[derive(Clone)]
pub(super) struct Receiver {
    agent: Agent,
    url: Uri,
}

impl Receiver {
    /// Does not connect yet. `ca`: trusts the authorities in this file in place of the system's.
    pub(super) fn new(
        url: &WebhookUrl,
        ca: Option<&Path>,
        deadline: Duration,
        parallel: usize,
    ) -> io::Result<Self> {
        let roots = if url.is_secure() { roots(ca)? } else { Vec::new() };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let config = Config::builder()
            .tls_config(tls)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("stampede/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(deadline))
            .max_response_header_size(WEBHOOK_ANSWER_HEAD_BYTES_MAX)
            .input_buffer_size(WEBHOOK_BUFFER_BYTES)
            .output_buffer_size(WEBHOOK_BUFFER_BYTES)
            .max_idle_connections(parallel)
            .max_idle_connections_per_host(parallel)
            .max_idle_age(Duration::from_millis(WEBHOOK_IDLE_MS))
            .build();
        Ok(Self { agent: config.new_agent(), url: url.0.clone() })
    }

    /// Makes an attempt, within the deadline.
    pub(super) fn send(&self, attempt: &Attempt) -> Answer {
        let sent = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("webhook-id", &attempt.id)
            .header("webhook-timestamp", attempt.timestamp_s.to_string())
            .header("webhook-signature", &attempt.signature)
            .send(attempt.body.as_bytes());
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => return Answer::Failed(reason(&error)),
        };
        let asked = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after_ms = asked.and_then(|value| retry_after_ms(value, wall_ms()));
        let status = response.status().as_u16();
        // Reading the body to its end allows the connection to be reused. Its content does not
        // matter.
        let mut rest = response.body_mut().as_reader().take(WEBHOOK_ANSWER_BYTES_MAX);
        let _ = io::copy(&mut rest, &mut io::sink());
        Answer::Status { status, retry_after_ms }
    }
}

fn roots(ca: Option<&Path>) -> io::Result<Vec<Certificate<'static>>> {
    let found = match ca {
        Some(path) => certificates(path)?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    if found.is_empty() {
        return Err(io::Error::other(
            "this system has no certificate authorities: name one with --to-ca",
        ));
    }
    Ok(found.iter().map(|root| Certificate::from_der(root.as_ref()).to_owned()).collect())
}

/// Why there was no response, on one line.
fn reason(error: &Error) -> String {
    let text = match error {
        Error::Timeout(_) => "no answer in time".to_owned(),
        Error::HostNotFound => "its name can't be resolved".to_owned(),
        Error::Io(error) => error.to_string(),
        Error::Rustls(error) => format!("TLS: {error}"),
        Error::Protocol(error) => format!("its answer can't be read: {error}"),
        Error::LargeResponseHeader(..) => "the head of its answer is too large".to_owned(),
        other => other.to_string(),
    };
    let mut line: String = text.chars().filter(|c| !c.is_control()).collect();
    let end = line.floor_char_boundary(WEBHOOK_FAILURE_BYTES_MAX);
    line.truncate(end);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_needs_loopback_or_an_explicit_option() {
        for (text, shown) in [
            ("https://shop.example/hooks\n", "https://shop.example/hooks"),
            ("https://shop.example:8443/a?token=hunter2", "https://shop.example:8443/a?***"),
            ("http://127.0.0.1:9/a", "http://127.0.0.1:9/a"),
            ("http://[::1]:9/", "http://[::1]:9/"),
            ("http://localhost/a", "http://localhost/a"),
        ] {
            assert_eq!(WebhookUrl::parse(text, false).unwrap().to_string(), shown);
        }
        let plain = "http://shop.example/hooks";
        assert!(WebhookUrl::parse(plain, false).unwrap_err().contains("--plain-http"));
        assert!(WebhookUrl::parse(plain, true).is_ok());
        for (bad, told) in [
            ("", "must be https://"),
            ("https://", "must be https://"),
            ("https:///a", "must be https://"),
            ("https://host:/a", "must be https://"),
            ("https://host/a b", "must be https://"),
            ("https://host/#a", "must be https://"),
            ("ftp://host/", "must be https://"),
            ("https://ann:hunter2@host/", "has a user in it"),
            (&format!("https://host/{}", "a".repeat(2_048)), "must be https://"),
        ] {
            let problem = WebhookUrl::parse(bad, true).unwrap_err();
            assert!(problem.contains(told) && !problem.contains("hunter2"), "{bad:?}: {problem}");
        }
    }
}
