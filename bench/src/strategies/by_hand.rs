//! Holds a unit in Redis and lets its order follow, in the simple hand-written form: one script call
//! per request, a sweep, and a worker that writes the stream into the database in batches. No server
//! is in front, so its figures lack a server's cost.

use std::thread;
use std::time::Duration;

use postgres::Client;
use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{Commands, Connection, Script};

use super::in_sql::{confirmed, create_orders};
use super::load::{Desk, Helper, Payment, Strategy};
use crate::error::{Because, Result};
use crate::postgres::connect;

const SCRIPT: &str = include_str!("by_hand.lua");
const KEYS: [&str; 4] = ["{ticket}", "{ticket}:orders", "{ticket}:deadlines", "{ticket}:stream"];
const GROUP: &str = "orders";
const SWEEP_PAUSE: Duration = Duration::from_millis(100);
const BATCH_MAX: usize = 1_000;
const WAIT_MS: usize = 50;

const UPSERT: &str = "
INSERT INTO orders (id, sale, user_id, quantity, status, expires_at)
SELECT DISTINCT ON (id) id, 'ticket', user_id, 1, status, now()
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS change (id, user_id, status, n)
ORDER BY id, n DESC
ON CONFLICT (id) DO UPDATE SET status = excluded.status, updated_at = now()";

/// A sale in Redis, its orders in a database.
pub struct ByHand {
    redis: redis::Client,
    url: String,
    hold: Duration,
}

impl ByHand {
    /// Sets up the sale in an empty Redis and an empty database.
    pub fn create(redis_url: &str, url: String, stock: u32, hold: Duration) -> Result<Self> {
        create_orders(&mut connect(&url)?)?;
        let redis = redis::Client::open(redis_url).because(|| redis_url.to_owned())?;
        let this = Self { redis, url, hold };
        let mut connection = this.connection()?;
        let done: redis::RedisResult<()> = connection.hset(KEYS[0], "free", stock);
        done.because(|| "creating the sale".into())?;
        let done: redis::RedisResult<()> = connection.xgroup_create_mkstream(KEYS[3], GROUP, "0");
        done.because(|| "creating the group".into())?;
        Ok(this)
    }

    fn connection(&self) -> Result<Connection> {
        self.redis.get_connection().because(|| "connecting to Redis".into())
    }
}

impl Strategy for ByHand {
    fn desk(&self) -> Result<Box<dyn Desk>> {
        let hold_ms = self.hold.as_millis().to_string();
        Ok(Box::new(RedisDesk {
            connection: self.connection()?,
            script: Script::new(SCRIPT),
            hold_ms,
        }))
    }

    fn helpers(&self) -> Result<Vec<Helper>> {
        let mut sweeper = RedisDesk {
            connection: self.connection()?,
            script: Script::new(SCRIPT),
            hold_ms: String::new(),
        };
        let sweep = move || {
            sweeper.call(&["sweep"])?;
            thread::sleep(SWEEP_PAUSE);
            Ok(())
        };
        let (mut stream, mut database) = (self.connection()?, connect(&self.url)?);
        let upsert = database.prepare(UPSERT).because(|| "preparing a statement".into())?;
        let work = move || write_orders(&mut stream, &mut database, &upsert);
        Ok(vec![Box::new(sweep), Box::new(work)])
    }

    fn confirmed(&self) -> Result<u64> {
        confirmed(&self.url)
    }
}

struct RedisDesk {
    connection: Connection,
    script: Script,
    hold_ms: String,
}

impl RedisDesk {
    fn call(&mut self, arguments: &[&str]) -> Result<u64> {
        let mut call = self.script.prepare_invoke();
        KEYS.iter().for_each(|key| _ = call.key(key));
        arguments.iter().for_each(|argument| _ = call.arg(argument));
        call.invoke(&mut self.connection).because(|| format!("the script's {}", arguments[0]))
    }
}

impl Desk for RedisDesk {
    fn order(&mut self, buyer: u32) -> Result<Option<String>> {
        let (id, user) = (format!("ticket~{buyer:026}"), format!("user-{buyer:08}"));
        let hold_ms = self.hold_ms.clone();
        let granted = self.call(&["order", &id, &user, &hold_ms])?;
        Ok((granted == 1).then_some(id))
    }

    fn pay(&mut self, order: &str) -> Result<Payment> {
        match self.call(&["pay", order])? {
            1 => Ok(Payment::Done),
            _ => Ok(Payment::Refunded),
        }
    }
}

/// One batch of the stream: written, committed, and only then acknowledged.
fn write_orders(
    stream: &mut Connection,
    database: &mut Client,
    upsert: &postgres::Statement,
) -> Result<()> {
    let options =
        StreamReadOptions::default().group(GROUP, "worker").count(BATCH_MAX).block(WAIT_MS);
    let reply: redis::RedisResult<Option<StreamReadReply>> =
        stream.xread_options(&[KEYS[3]], &[">"], &options);
    let reply = reply.because(|| "reading the stream".into())?.unwrap_or_default();
    let entries: Vec<_> = reply.keys.into_iter().flat_map(|key| key.ids).collect();
    if entries.is_empty() {
        return Ok(());
    }
    let column = |name: &str| {
        entries
            .iter()
            .map(|entry| entry.get::<String>(name).unwrap_or_default())
            .collect::<Vec<_>>()
    };
    let columns = (column("id"), column("user"), column("status"));
    database
        .execute(upsert, &[&columns.0, &columns.1, &columns.2])
        .because(|| "writing orders".into())?;
    let ids: Vec<&str> = entries.iter().map(|entry| &*entry.id).collect();
    let done: redis::RedisResult<u64> = stream.xack(KEYS[3], GROUP, &ids);
    done.because(|| "acknowledging".into()).map(drop)
}
