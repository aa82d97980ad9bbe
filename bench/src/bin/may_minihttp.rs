//! The peer `may_minihttp`, used as in its own examples, with the same bodies. Plaintext and JSON are
//! as in its TechEmpower entry. It serves HttpArena's two paths without bodies, because it can't read
//! chunks. One worker per core.
//!
//! Built without default features, like stampede, because they would enable `may`'s work stealing.

use std::io::{self, Write};

use bench::answer::{Content, MESSAGE};
use bench::error::{Because, Failure, Result};
use bench::floor::Place;
use bench::pin;
use bytes::BufMut;
use clap::Parser;
use may_minihttp::{HttpServer, HttpService, Request, Response};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs a `may_minihttp` server that answers "sold out", TechEmpower's tests and HttpArena's sums.
#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    place: Place,
}

#[derive(Clone)]
struct Peer;

impl HttpService for Peer {
    fn call(&mut self, request: Request, response: &mut Response) -> io::Result<()> {
        match request.path() {
            "/buy/ticket" => {
                response.header("Content-Type: application/json").body(Content::SoldOut.body());
            }
            "/plaintext" => {
                response.header("Content-Type: text/plain").body(Content::Plaintext.body());
            }
            "/json" => {
                let out = response.header("Content-Type: application/json").body_mut();
                serde_json::to_writer(out.writer(), &MESSAGE)?;
            }
            "/pipeline" => {
                response.header("Content-Type: text/plain").body(Content::Ok.body());
            }
            path if path.starts_with("/baseline11?") => match sum(path) {
                Some(sum) => {
                    let out = response.header("Content-Type: text/plain").body_mut();
                    write!(out.writer(), "{sum}")?;
                }
                None => {
                    response.status_code(400, "Bad Request");
                }
            },
            _ => {
                response.status_code(404, "Not Found");
            }
        }
        Ok(())
    }
}

/// The sum of a query's values.
fn sum(path: &str) -> Option<i64> {
    let (_, query) = path.split_once('?')?;
    let value = |parameter: &str| parameter.split_once('=')?.1.parse::<i64>().ok();
    query.split('&').try_fold(0_i64, |sum, parameter| sum.checked_add(value(parameter)?))
}

fn main() {
    if let Err(failure) = serve(&Settings::parse().place) {
        eprintln!("may_minihttp: {failure}");
        std::process::exit(1);
    }
}

fn serve(place: &Place) -> Result<()> {
    pin::raise_descriptor_limit()?;
    // Pin before the first coroutine: `may`'s threads inherit the set of cores and pin within it.
    pin::to_cores(&place.cores)?;
    may::config().set_workers(place.cores.len());
    let server = HttpServer(Peer)
        .start(place.listen)
        .because(|| format!("listening on {}", place.listen))?;
    server.join().map_err(|_| Failure("the server panicked".into()))
}
