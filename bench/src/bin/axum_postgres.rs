//! A peer that sells: axum in front of PostgreSQL, one statement a ticket.
//!
//! The statement takes the unit off the stock and writes the reservation, so that a grant is as
//! durable as PostgreSQL makes it and somebody has it. A pool of connections serves all requests in
//! turn, each statement prepared once a connection and sent without waiting for the one before it.
//! There is no latch: as in most such designs, a sale that is sold out is a statement too, of one row
//! read.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bench::answer::{Content, SOLD_OUT, TARGET, UNAVAILABLE, granted};
use bench::error::{Because, Result};
use bench::floor::Place;
use bench::over_tokio::{answer, run, serve};
use clap::Parser;
use tokio_postgres::{Client, NoTls, Statement};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Half-empty pages, so that a new version of a sale's row fits beside the old one (a HOT update).
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS sale (
    id text PRIMARY KEY, total bigint NOT NULL, sold bigint NOT NULL CHECK (sold <= total)
) WITH (fillfactor = 10);
CREATE TABLE IF NOT EXISTS reservation (
    id text PRIMARY KEY, sale text NOT NULL, buyer text,
    made_at timestamptz NOT NULL DEFAULT now()
);";

const CREATE: &str = "INSERT INTO sale VALUES ($1, $2, 0) ON CONFLICT DO NOTHING";

const SELL: &str = "
WITH taken AS (
    UPDATE sale SET sold = sold + 1 WHERE id = $1 AND sold < total RETURNING id
)
INSERT INTO reservation (id, sale, buyer) SELECT $2, id, $3 FROM taken";

const SALE: &str = "ticket";

/// An axum server that sells tickets from PostgreSQL, one statement each.
///
/// Makes its tables and its sale where they are missing.
#[derive(Debug, Clone, Parser)]
struct Settings {
    #[command(flatten)]
    place: Place,
    /// The database: postgres://USER@HOST:PORT/NAME.
    #[arg(long, value_name = "URL")]
    database: String,
    /// Tickets of the sale, if it isn't there yet.
    #[arg(long, default_value_t = 10_000)]
    total: u32,
    /// Connections to the database, shared out among the cores.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
}

fn main() {
    if let Err(failure) = start(Settings::parse()) {
        eprintln!("axum_postgres: {failure}");
        std::process::exit(1);
    }
}

fn start(settings: Settings) -> Result<()> {
    run(prepare(&settings))?;
    // Where an id begins is another one at each start; what follows is a count over all cores.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let start = since.because(|| "reading the clock".into())?.as_nanos() as u64;
    let ids = Arc::new(Ids { start, next: AtomicU64::new(0) });
    let place = settings.place.clone();
    let settings = Arc::new(settings);
    place.run(move |listener| run(one_core(listener, settings.clone(), ids.clone())))
}

async fn prepare(settings: &Settings) -> Result<()> {
    let client = connect(&settings.database).await?;
    client.batch_execute(SCHEMA).await.because(|| "making the tables".into())?;
    let total = i64::from(settings.total);
    client.execute(CREATE, &[&SALE, &total]).await.because(|| "making the sale".into())?;
    Ok(())
}

async fn one_core(listener: TcpListener, settings: Arc<Settings>, ids: Arc<Ids>) -> Result<()> {
    let connections = usize::from(settings.connections).div_ceil(settings.place.cores.len());
    let mut pool = Pool { clients: Vec::new(), turn: AtomicUsize::new(0), ids };
    for _ in 0..connections {
        let client = connect(&settings.database).await?;
        let sell = client.prepare(SELL).await.because(|| "preparing the statement".into())?;
        pool.clients.push((client, sell));
    }
    let app = Router::new().route(TARGET, get(buy)).with_state(Arc::new(pool));
    serve(listener, app).await
}

async fn connect(url: &str) -> Result<Client> {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.because(|| format!("connecting to {url}"))?;
    // Its end shows in the client, whose statements then fail.
    tokio::spawn(connection);
    Ok(client)
}

/// The connections of a core.
struct Pool {
    clients: Vec<(Client, Statement)>,
    turn: AtomicUsize,
    ids: Arc<Ids>,
}

struct Ids {
    start: u64,
    next: AtomicU64,
}

impl Ids {
    /// 26 characters that nobody else has.
    fn next(&self) -> String {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}{count:010x}", self.start)
    }
}

async fn buy(State(pool): State<Arc<Pool>>, request: Request) -> Response {
    let turn = pool.turn.fetch_add(1, Ordering::Relaxed) % pool.clients.len();
    let (client, sell) = &pool.clients[turn];
    let id = pool.ids.next();
    let buyer = request.headers().get("x-user-id").and_then(|user| user.to_str().ok());
    match client.execute(sell, &[&SALE, &id, &buyer]).await {
        Ok(0) => answer(Content::SoldOut, SOLD_OUT),
        Ok(_) => answer(Content::SoldOut, granted(&id)),
        Err(_) => {
            let body = answer(Content::SoldOut, UNAVAILABLE);
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}
