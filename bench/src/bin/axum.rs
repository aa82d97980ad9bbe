//! A peer: axum, a common choice in Rust, with one tokio runtime per core.
//!
//! Uses stampede's allocator. `bench::over_tokio` lists the other settings in its favour.

use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bench::answer::{Content, MESSAGE};
use bench::error::Result;
use bench::floor::Place;
use bench::over_tokio::{answer, run, serve};
use bench::secure::TlsFiles;
use clap::Parser;
use rustls::ServerConfig;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs an axum server that answers "sold out", and TechEmpower's plaintext and JSON.
#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    tls: TlsFiles,
}

fn main() {
    let Settings { place, tls } = Settings::parse();
    let serve = |tls: Option<_>| place.run(move |listener| one_core(listener, tls.clone()));
    if let Err(failure) = tls.config().and_then(serve) {
        eprintln!("axum: {failure}");
        std::process::exit(1);
    }
}

fn one_core(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> Result<()> {
    let canned = |content: Content| get(move || async move { answer(content, content.body()) });
    let app = Router::new()
        .route(Content::SoldOut.target(), canned(Content::SoldOut))
        .route(Content::Plaintext.target(), canned(Content::Plaintext))
        .route(Content::Json.target(), get(json));
    run(serve(listener, app, tls))
}

/// Serializes the message per request, as TechEmpower's rules require.
async fn json() -> Response {
    match serde_json::to_vec(&MESSAGE) {
        Ok(body) => answer(Content::Json, body),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
