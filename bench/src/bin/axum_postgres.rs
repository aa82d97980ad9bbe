//! A peer that sells: axum in front of PostgreSQL, one statement per ticket.
//!
//! The statement takes the unit off the stock and writes the reservation, so a grant is as durable as
//! PostgreSQL makes it. A pool of connections serves all requests in turn. Each statement is prepared
//! once per connection and sent without waiting for the previous one. There is no latch: as in most
//! such designs, a request to a sold-out sale is a statement too, which reads one row.
//!
//! Orders of a shop have a user, a remembered key and one ticket per user. They have their own path
//! and table, and also take one statement per request, which finds the user's reservation.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bench::answer::{Content, SOLD_OUT, TARGET, UNAVAILABLE, granted};
use bench::error::{Because, Failure};
use bench::floor::Place;
use bench::over_tokio::{answer, run, serve};
use bench::shop::{self, Told};
use clap::Parser;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, Statement};

type Result<T, E = Failure> = std::result::Result<T, E>;

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
);
CREATE TABLE IF NOT EXISTS shop_reservation (
    id text PRIMARY KEY, sale text NOT NULL, buyer text NOT NULL, key text NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(), UNIQUE (sale, buyer)
);";

const CREATE: &str = "INSERT INTO sale VALUES ($1, $2, 0) ON CONFLICT DO NOTHING";

const SELL: &str = "
WITH taken AS (
    UPDATE sale SET sold = sold + 1 WHERE id = $1 AND sold < total RETURNING id
)
INSERT INTO reservation (id, sale, buyer) SELECT $2, id, $3 FROM taken";

/// Returns the user's reservation or creates one. A concurrent second order of the user breaks the
/// table's constraint, and the whole statement fails.
const ORDER: &str = "
WITH earlier AS (
    SELECT id, key FROM shop_reservation WHERE sale = $1 AND buyer = $3
), taken AS (
    UPDATE sale SET sold = sold + 1
    WHERE id = $1 AND sold < total AND NOT EXISTS (SELECT FROM earlier) RETURNING id
), made AS (
    INSERT INTO shop_reservation (id, sale, buyer, key) SELECT $2, id, $3, $4 FROM taken
    RETURNING id
)
SELECT id, key, false FROM earlier UNION ALL SELECT id, $4, true FROM made";

const SALE: &str = "ticket";

/// Runs an axum server that sells tickets from PostgreSQL, one statement per ticket.
///
/// Creates its tables and its sale if they are missing.
#[derive(Debug, Clone, Parser)]
struct Settings {
    #[command(flatten)]
    place: Place,
    /// The database: postgres://USER@HOST:PORT/NAME.
    #[arg(long, value_name = "URL")]
    database: String,
    /// Tickets of the sale, if the program creates it.
    #[arg(long, default_value_t = 10_000)]
    total: u32,
    /// Connections to the database, divided among the cores.
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
    // Each start has its own id prefix. A count over all cores follows.
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let start = since.because(|| "reading the clock".into())?.as_nanos() as u64;
    let ids = Arc::new(Ids { start, next: AtomicU64::new(0) });
    let place = settings.place.clone();
    let settings = Arc::new(settings);
    place.run(move |listener| run(one_core(listener, settings.clone(), ids.clone())))
}

async fn prepare(settings: &Settings) -> Result<()> {
    let client = connect(&settings.database).await?;
    client.batch_execute(SCHEMA).await.because(|| "creating the tables".into())?;
    let total = i64::from(settings.total);
    client.execute(CREATE, &[&SALE, &total]).await.because(|| "creating the sale".into())?;
    Ok(())
}

async fn one_core(listener: TcpListener, settings: Arc<Settings>, ids: Arc<Ids>) -> Result<()> {
    let connections = usize::from(settings.connections).div_ceil(settings.place.cores.len());
    let mut pool = Pool { clients: Vec::new(), turn: AtomicUsize::new(0), ids };
    for _ in 0..connections {
        let client = connect(&settings.database).await?;
        let prepare = async |sql| client.prepare(sql).await.because(|| format!("preparing {sql}"));
        let (sell, order) = (prepare(SELL).await?, prepare(ORDER).await?);
        pool.clients.push(Prepared { client, sell, order });
    }
    let app = Router::new().route(TARGET, get(buy)).route(shop::PATH, post(take_order));
    let app = app.with_state(Arc::new(pool));
    serve(listener, app, None).await
}

async fn connect(url: &str) -> Result<Client> {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.because(|| format!("connecting to {url}"))?;
    // Its end shows in the client, whose statements then fail.
    tokio::spawn(connection);
    Ok(client)
}

/// The pool of a core.
struct Pool {
    clients: Vec<Prepared>,
    turn: AtomicUsize,
    ids: Arc<Ids>,
}

/// A connection with its prepared statements.
struct Prepared {
    client: Client,
    sell: Statement,
    order: Statement,
}

impl Pool {
    /// The next connection in turn.
    fn next(&self) -> &Prepared {
        &self.clients[self.turn.fetch_add(1, Ordering::Relaxed) % self.clients.len()]
    }
}

struct Ids {
    start: u64,
    next: AtomicU64,
}

impl Ids {
    /// An unused id of 26 characters.
    fn next(&self) -> String {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}{count:010x}", self.start)
    }
}

async fn buy(State(pool): State<Arc<Pool>>, request: Request) -> Response {
    let Prepared { client, sell, .. } = pool.next();
    let id = pool.ids.next();
    let buyer = request.headers().get("x-user-id").and_then(|user| user.to_str().ok());
    match client.execute(sell, &[&SALE, &id, &buyer]).await {
        Ok(0) => answer(Content::SoldOut, SOLD_OUT),
        Ok(_) => answer(Content::SoldOut, granted(&id)),
        Err(_) => unavailable(),
    }
}

fn unavailable() -> Response {
    let body = answer(Content::SoldOut, UNAVAILABLE);
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

/// The body of an order.
#[derive(serde::Deserialize)]
struct Order {
    user: String,
    quantity: u32,
}

async fn take_order(State(pool): State<Arc<Pool>>, headers: HeaderMap, body: Bytes) -> Response {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let asked = serde_json::from_slice::<Order>(&body).ok().filter(|order| order.quantity == 1);
    let (Some(Order { user, .. }), Some(key)) = (asked, key) else {
        return told(StatusCode::UNPROCESSABLE_ENTITY, shop::problem(422, "invalid"));
    };
    let mut said = order(&pool, &user, key).await;
    let twice = |error: &tokio_postgres::Error| error.code() == Some(&SqlState::UNIQUE_VIOLATION);
    if said.as_ref().is_err_and(twice) {
        said = order(&pool, &user, key).await;
    }
    match said {
        Ok(Told::Granted(id)) => told(StatusCode::CREATED, shop::held(&id, &user)),
        Ok(Told::Repeated(id)) => told(StatusCode::OK, shop::held(&id, &user)),
        Ok(Told::SoldOut) => told(StatusCode::CONFLICT, shop::problem(409, "sold_out")),
        Ok(Told::LimitReached) => told(StatusCode::CONFLICT, shop::problem(409, "limit_reached")),
        Err(_) => unavailable(),
    }
}

async fn order(pool: &Pool, user: &str, key: &str) -> Result<Told, tokio_postgres::Error> {
    let Prepared { client, order, .. } = pool.next();
    let rows = client.query(order, &[&SALE, &pool.ids.next(), &user, &key]).await?;
    let Some(row) = rows.first() else { return Ok(Told::SoldOut) };
    let (id, its_key, is_new): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
    Ok(match is_new {
        true => Told::Granted(id),
        false if its_key == key => Told::Repeated(id),
        false => Told::LimitReached,
    })
}

fn told(status: StatusCode, body: String) -> Response {
    let content_type = if status.is_success() { "application/json" } else { shop::PROBLEM };
    (status, [(CONTENT_TYPE, content_type)], body).into_response()
}
