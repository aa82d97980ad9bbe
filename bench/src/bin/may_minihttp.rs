//! The peer to beat: `may_minihttp` as its own examples use it, with one worker and the same body.
//!
//! Without default features, as in stampede, since those would turn `may`'s work stealing on.

use std::io;
use std::net::SocketAddr;

use bench::answer::SOLD_OUT;
use bench::error::{Because, Failure, Result};
use clap::Parser;
use may_minihttp::{HttpServer, HttpService, Request, Response};

/// A `may_minihttp` server that tells everyone "sold out".
#[derive(Parser)]
struct Settings {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:3005")]
    listen: SocketAddr,
    /// Core to run on.
    #[arg(long, default_value_t = 0)]
    core: usize,
}

#[derive(Clone)]
struct SoldOut;

impl HttpService for SoldOut {
    fn call(&mut self, _request: Request, response: &mut Response) -> io::Result<()> {
        response.header("Content-Type: application/json").body(SOLD_OUT);
        Ok(())
    }
}

fn main() {
    if let Err(failure) = serve(&Settings::parse()) {
        eprintln!("may_minihttp: {failure}");
        std::process::exit(1);
    }
}

fn serve(settings: &Settings) -> Result<()> {
    // Before the first coroutine: `may`'s threads inherit it, and pin within it.
    bench::pin::to_core(settings.core)?;
    may::config().set_workers(1);
    let server = HttpServer(SoldOut)
        .start(settings.listen)
        .because(|| format!("listening on {}", settings.listen))?;
    server.join().map_err(|_| Failure("the server panicked".into()))
}
