//! HttpArena's entry of type *engine*: stampede's engine with a service that adds numbers.
//!
//! Uses only the module `engine` of stampede: no sale, no ledger, no configuration.

mod sum;

use std::convert::Infallible;
use std::net::SocketAddr;

use clap::Parser;
use stampede::engine::core::{Action, Core, Service};
use stampede::engine::http::{Head, Method, Preencoded, Remedy, Response, Status};
use stampede::engine::program::Program;
use stampede::engine::reactor::Token;
use stampede::engine::response_options::ResponseOptions;

use sum::sum;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs stampede's engine as HttpArena's entry, which adds the numbers of a query and a body.
///
/// GET and POST /baseline11?a=1&b=2 answer the sum of the query's values and of the number in the
/// body. GET /pipeline answers "ok". Pins a worker thread to each core. Drains on SIGTERM and SIGINT.
#[derive(Parser)]
#[command(name = "httparena")]
struct Settings {
    /// Address to listen on.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Cores to run on, such as 0,1 [default: all cores that the process may use].
    #[arg(long, value_name = "CORES", value_delimiter = ',')]
    cores: Vec<usize>,
}

fn main() {
    let Settings { listen, cores } = Settings::parse();
    let ended = Program::start(listen, &cores, Arena::new).and_then(|program| {
        println!("httparena: http://{}, {} cores", program.address(), program.cores());
        program.run()
    });
    if let Err(error) = ended {
        eprintln!("httparena: {listen}: {error}");
        std::process::exit(1);
    }
}

/// The service of a core.
struct Arena {
    /// The answer to `/pipeline`, encoded once.
    ok: Preencoded,
}

impl Arena {
    fn new() -> Self {
        Self { ok: Preencoded::new(|context, out| TEXT.write(context, &[b"ok"], out)) }
    }
}

/// The head of every text answer.
const TEXT: Response<'_> = Response { no_store: false, ..Response::new(Status::Ok, "text/plain") };

impl Service for Arena {
    /// No request waits.
    type Waiting = Infallible;

    fn resume(
        &self,
        _: &'static Core,
        _: Token,
        never: Infallible,
        _: &mut Vec<u8>,
    ) -> Action<Infallible> {
        match never {}
    }

    fn serve(
        &self,
        core: &'static Core,
        _: Token,
        head: &Head<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Action<Infallible> {
        let date = core.date.borrow();
        let context = ResponseOptions::of(core, head).context(&date);
        let refuse = |status, allow: Option<&'static str>, why: &str, out: &mut Vec<u8>| {
            let remedy = allow.map(Remedy::Allow);
            Response { status, remedy, ..TEXT }.write(&context, &[why.as_bytes()], out);
        };
        let not_allowed = |methods, out: &mut Vec<u8>| {
            refuse(
                Status::MethodNotAllowed,
                Some(methods),
                "the path does not take this method",
                out,
            );
        };
        match (head.path, head.method) {
            ("/baseline11", Method::Get | Method::Head | Method::Post) => {
                match sum(head.query, body) {
                    Ok(sum) => {
                        let mut digits = itoa::Buffer::new();
                        TEXT.write(&context, &[digits.format(sum).as_bytes()], out);
                    }
                    Err(wrong) => refuse(Status::BadRequest, None, wrong.why(), out),
                }
            }
            ("/pipeline", Method::Get | Method::Head) => self.ok.write(&context, out),
            ("/baseline11", _) => not_allowed("GET, HEAD, POST", out),
            ("/pipeline", _) => not_allowed("GET, HEAD", out),
            _ => refuse(Status::NotFound, None, "there is nothing here", out),
        }
        Action::Answered
    }
}
