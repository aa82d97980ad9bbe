//! Writes reservations into Redis without a server. Uses the server's own scripts, one batch after the
//! other, so Redis holds the same data as after a server's sale.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use redis::{Parser, Value};
use stampede::ledger::Group;
use stampede::ledger::ids::IdSource;
use stampede::ledger::redis::{Codec, KeyTemplates, RedisSettings, decode, handshake};
use stampede::limits::BATCH_MAX;
use stampede::sale::{Command, Key, Outcome, ReservationId, Reserve, SaleId, SaleSpec, User};

use crate::error::{Because, Result, fail};

/// The key of the set of all sales, with the default names.
const INDEX: &str = "stampede:sales:{sale}_hash_key";
/// Entries of a stream per read.
const ENTRIES_PER_READ: usize = 1_000;

/// The data of a buyer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No user and no key.
    Anonymous,
    /// The user.
    User,
    /// The user and an idempotency key.
    UserAndKey,
}

/// A connection to a Redis ledger, with the server's scripts.
pub struct Filler {
    stream: TcpStream,
    parser: Parser,
    codec: Codec,
    sale: SaleId,
}

impl Filler {
    /// Connects. `sale` is the sale of all calls.
    pub fn open(address: SocketAddr, sale: &str) -> Result<Self> {
        let codec = Codec::new(KeyTemplates::default());
        let url = format!("redis://{address}/0");
        let settings = RedisSettings::from_url(&url).because(|| url.clone())?;
        let mut stream = TcpStream::connect(address).because(|| format!("connecting to {url}"))?;
        stream.set_nodelay(true)?;
        handshake(&mut stream, &settings, "bench", codec.scripts()).because(|| url)?;
        let sale = SaleId::new(sale).because(|| format!("the sale {sale}"))?;
        Ok(Self { stream, parser: Parser::new(), codec, sale })
    }

    /// Creates the sale, and adds it to the set of all sales.
    pub fn create(&mut self, total: u64, hold_ms: u64) -> Result<()> {
        let sale = self.sale.to_string();
        self.ask(redis::cmd("SADD").arg(INDEX).arg(sale))?;
        let spec = SaleSpec { hold_ms, ..SaleSpec::with_total(total) };
        self.apply(vec![Command::Create(spec)]).map(drop)
    }

    /// Creates `count` reservations, `batch` per script call.
    pub fn reserve(&mut self, count: usize, batch: usize, kind: Kind) -> Result<()> {
        for first in (0..count).step_by(batch) {
            let numbers = first..count.min(first + batch);
            let commands = numbers.map(|number| ask_for(number, batch, kind)).collect();
            let outcomes = self.apply(commands)?;
            if let Some(other) = outcomes.iter().find(|o| !matches!(o, Outcome::Granted { .. })) {
                return fail(format!("Redis did not grant a reservation: {other:?}"));
            }
        }
        Ok(())
    }

    /// Sells in batches of these sizes, repeatedly and without users, until a deadline. Prepares the
    /// next batch while Redis works on the previous one, so Redis hardly waits. Returns the number of
    /// tickets and batches.
    pub fn sell(&mut self, sizes: &[usize], until: Instant) -> Result<(u64, u64)> {
        if sizes.iter().any(|size| !(1..=BATCH_MAX).contains(size)) {
            return fail(format!("a batch must have 1 to {BATCH_MAX} purchases"));
        }
        let mut ids = IdSource::default();
        let mut groups = sizes.iter().cycle().enumerate().map(|(number, &size)| {
            let ids = (0..size).map(|_| ids.next_id(number as u64));
            let ask =
                |id| Reserve { id, quantity: 1, user: None, key: None, trace: None, details: None };
            let commands = ids.map(|id| Command::Reserve(ask(id))).collect();
            Group { sale: self.sale.clone(), commands }
        });
        let (mut sales, mut batches) = (0, 0);
        let (mut request, mut next_request) = (Vec::new(), Vec::new());
        let Some(mut group) = groups.next() else { return fail("no batch size") };
        let mut count = self.codec.encode(&group, &mut request);
        while Instant::now() < until {
            self.stream.write_all(&request).because(|| "sending to Redis".into())?;
            let Some(next) = groups.next() else { break };
            next_request.clear();
            let next_count = self.codec.encode(&next, &mut next_request);
            let replies = receive(&mut self.parser, &mut self.stream, count)?;
            let outcomes = decode(&group, &replies).because(|| "a reply of Redis".into())?.outcomes;
            if let Some(other) = outcomes.iter().find(|o| !matches!(o, Outcome::Granted { .. })) {
                return fail(format!("Redis did not grant a purchase: {other:?}"));
            }
            (sales, batches) = (sales + outcomes.len() as u64, batches + 1);
            (group, count) = (next, next_count);
            std::mem::swap(&mut request, &mut next_request);
        }
        Ok((sales, batches))
    }

    /// The sizes of the sale's latest batches, `max` at most: the number of reservations per entry of
    /// its stream.
    pub fn batch_sizes(&mut self, max: usize) -> Result<Vec<usize>> {
        let stream = self.codec.keys().of(&self.sale).stream();
        let (mut sizes, mut before) = (Vec::new(), "+".to_owned());
        while sizes.len() < max {
            let count = ENTRIES_PER_READ.min(max - sizes.len());
            let mut read = redis::cmd("XREVRANGE");
            let reply =
                self.ask(read.arg(&stream).arg(&before).arg("-").arg("COUNT").arg(count))?;
            let entries: Vec<(String, Vec<String>)> =
                redis::from_redis_value(reply).because(|| format!("entries of {stream}"))?;
            let Some((oldest, _)) = entries.last() else { break };
            before = format!("({oldest}");
            let lines = |fields: &Vec<String>| {
                fields.chunks(2).find(|field| field[0] == "reservations")?.get(1).cloned()
            };
            sizes.extend(
                entries.iter().filter_map(|(_, fields)| Some(lines(fields)?.lines().count())),
            );
        }
        sizes.reverse();
        Ok(sizes)
    }

    /// Adds units to the sale.
    pub fn add_stock(&mut self, units: u64) -> Result<()> {
        match self.apply(vec![Command::AddStock(units)])?.pop() {
            Some(Outcome::Sale(_)) => Ok(()),
            other => fail(format!("Redis did not add stock: {other:?}")),
        }
    }

    /// Cancels reservations by their public ids.
    pub fn cancel(&mut self, ids: &[String]) -> Result<()> {
        let commands = ids.iter().map(|id| {
            let (_, id) = ReservationId::from_public(id).because(|| format!("the id {id}"))?;
            Ok(Command::Cancel(id))
        });
        let outcomes = self.apply(commands.collect::<Result<_>>()?)?;
        match outcomes.iter().find(|outcome| !matches!(outcome, Outcome::Reservation(_))) {
            None => Ok(()),
            Some(other) => fail(format!("Redis did not cancel a reservation: {other:?}")),
        }
    }

    fn apply(&mut self, commands: Vec<Command>) -> Result<Vec<Outcome>> {
        let group = Group { sale: self.sale.clone(), commands };
        let mut request = Vec::new();
        let count = self.codec.encode(&group, &mut request);
        let replies = self.exchange(&request, count)?;
        let reply = decode(&group, &replies).because(|| "a reply of Redis".into())?;
        Ok(reply.outcomes)
    }

    fn ask(&mut self, command: &redis::Cmd) -> Result<Value> {
        Ok(self.exchange(&command.get_packed_command(), 1)?.remove(0))
    }

    fn exchange(&mut self, request: &[u8], count: usize) -> Result<Vec<Value>> {
        self.stream.write_all(request).because(|| "sending to Redis".into())?;
        receive(&mut self.parser, &mut self.stream, count)
    }
}

fn receive(parser: &mut Parser, stream: &mut TcpStream, count: usize) -> Result<Vec<Value>> {
    let replies = (0..count).map(|_| parser.parse_value(&mut *stream));
    replies.collect::<std::result::Result<_, _>>().because(|| "reading from Redis".into())
}

/// The ids of a batch share a prefix, like a core's ids. The other bits look random.
fn ask_for(number: usize, batch: usize, kind: Kind) -> Command {
    const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
    const PREFIX_BITS: u32 = 48;
    let prefix = ((number / batch) as u128).wrapping_mul(SPREAD) >> (128 - PREFIX_BITS);
    let rest = (number as u128).wrapping_mul(SPREAD) >> PREFIX_BITS;
    let user = (kind != Kind::Anonymous).then(|| format!("user-{number:08}"));
    // As long as a UUID.
    let key = (kind == Kind::UserAndKey).then(|| format!("5d3c1e0a-77aa-4c1e-9f00-{number:012}"));
    Command::Reserve(Reserve {
        id: ReservationId(prefix << (128 - PREFIX_BITS) | rest),
        quantity: 1,
        user: user.and_then(|user| User::new(&user).ok()),
        key: key.and_then(|key| Key::new(&key).ok()),
        trace: None,
        details: None,
    })
}
