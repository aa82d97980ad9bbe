//! PgBouncer between the workers and PostgreSQL: another connection for each transaction.

use postgres::{Client, NoTls};
use stampede::orders::open;
use stampede::sale::Status;

use super::databases::{fatal, rows};
use super::pgbouncer::PgBouncer;
use super::postgres_server::PostgresServer;
use super::redis_server::RedisServer;
use super::shop::{Shop, Worker, in_database, in_redis, wait_for, wait_for_orders};
use super::streams::pending;
use super::{change, sale};

#[test]
fn workers_write_through_pgbouncer_in_both_pool_modes() {
    for mode in ["transaction", "session"] {
        let redis = RedisServer::start(&[]);
        let postgres = PostgresServer::start();
        // By session, each has a connection until it ends.
        let pooler = PgBouncer::start(&postgres, mode, if mode == "session" { 6 } else { 2 });
        let mut shop = Shop::open(&redis, &["ticket", "poster"]);
        let worker = |n: usize| {
            let more = ["--consumer", &format!("c{n}"), "--batch", "200"];
            Worker::start(&redis.url(), &pooler.url(), &more)
        };
        let workers: Vec<_> = (0..4).map(worker).collect();
        for _ in 0..30 {
            shop.sell("ticket", 100);
            shop.sell("poster", 10);
        }
        for sale in ["ticket", "poster"] {
            wait_for_orders(&redis, &postgres.url(), sale);
            assert_eq!(in_database(&pooler.url(), sale), Some(in_redis(&redis, sale)));
        }
        wait_for("everything acknowledged", || pending(&redis, "orders") == 0);
        for worker in workers {
            worker.terminate();
            let (code, said) = worker.end();
            assert_eq!(code, Some(0), "{mode}: {said}");
            assert!(!said.contains("unreachable;"), "{mode}: {said}");
        }
        // Nothing of theirs stays at the server.
        let mut client = postgres.connect();
        let left = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
        assert_eq!(client.query_one(left, &[]).expect("a count").get::<_, i64>(0), 0);
    }
}

#[test]
fn other_clients_of_a_pooled_connection_do_no_harm() {
    let postgres = PostgresServer::start();
    let pooler = PgBouncer::start(&postgres, "transaction", 1);
    // As a worker of 0.1.0 leaves them: by names that the crate counts in each process.
    let mut before = Client::connect(&pooler.url(), NoTls).expect("a connection");
    for name in 0..5_000 {
        before.batch_execute(&format!("PREPARE s{name} AS SELECT 1")).expect("a statement");
    }
    let a = sale("a");
    let mut database = open(&pooler.url()).expect("a database");
    let held: Vec<_> = (1..=500).map(|n| change(&a, n, Status::Held, n)).collect();
    database.write(&held, Some(("x", 5))).expect("without COPY");
    assert_eq!(rows(&mut *database, &a).len(), 500);
    assert_eq!(database.position("x").expect("a position"), Some(5));
    assert_eq!(database.sales().expect("sales"), [Some("a".to_owned())]);
    database.overwrite(&held[..1]).expect("a repair");
    // Nothing of ours stays for other clients.
    let row = before.simple_query("SHOW statement_timeout").expect("a setting");
    let shown = row.iter().find_map(|message| match message {
        postgres::SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    assert_eq!(shown, Some("0"));
}

#[test]
fn a_parameter_refused_by_the_pooler_is_explained() {
    let postgres = PostgresServer::start();
    let pooler = PgBouncer::start(&postgres, "transaction", 2);
    let said = fatal(&format!("{}?options=-csearch_path%3Dshop", pooler.url()));
    assert!(said.contains("ALTER ROLE … SET search_path"), "{said}");
}
