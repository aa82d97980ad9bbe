//! A peer: axum, the usual choice in Rust, on one tokio runtime a core.
//!
//! It has stampede's allocator, and what else is in its favour stands in `bench::over_tokio`.

use std::net::TcpListener;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bench::answer::{Content, MESSAGE};
use bench::error::Result;
use bench::floor::Place;
use bench::over_tokio::{answer, run, serve};
use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An axum server that tells everyone "sold out", and does TechEmpower's plaintext and JSON.
#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    place: Place,
}

fn main() {
    if let Err(failure) = Settings::parse().place.run(one_core) {
        eprintln!("axum: {failure}");
        std::process::exit(1);
    }
}

fn one_core(listener: TcpListener) -> Result<()> {
    let canned = |content: Content| get(move || async move { answer(content, content.body()) });
    let app = Router::new()
        .route(Content::SoldOut.target(), canned(Content::SoldOut))
        .route(Content::Plaintext.target(), canned(Content::Plaintext))
        .route(Content::Json.target(), get(json));
    run(serve(listener, app))
}

/// Serialized for each request, as TechEmpower's rules want.
async fn json() -> Response {
    match serde_json::to_vec(&MESSAGE) {
        Ok(body) => answer(Content::Json, body),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
