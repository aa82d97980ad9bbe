//! Moves a sale with all its reservations in from another ledger.
//!
//! Its keys are written beside their final place, under names that nothing else reads, then read
//! back and compared. Then one script renames all of them: the sale exists after one step, and
//! records which move brought it. If the process dies before that step, the next attempt removes
//! the keys. If it dies after it, the next attempt finds the sale.
//!
//! The stream states every reservation once, in entries whose ids are above all versions that the
//! reservations had, so that these entries overwrite orders which the other ledger has written.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::Value;

use super::audit;
use super::client::RedisClient;
use super::decode_error::error_text;
use super::entry_id::EntryId;
use super::index::time_ms;
use super::keys::SaleKeys;
use super::keyspace::read;
use super::line::{OWNER_SEPARATOR, end_of_line, made_for};
use super::pipeline::Pipeline;
use crate::ledger::LedgerError;
use crate::ledger::client::Client;
use crate::ledger::copy::SaleCopy;
use crate::ledger::format::{FORMAT_0_1_0, FORMAT_RULES, of_reservations, unreadable_split};
use crate::limits::{ARRIVAL_BYTES_MAX, ARRIVAL_ROWS_MAX, CLIENT_ANSWER_DEADLINE_MS};
use crate::sale::{
    Change, Creation, ID_PREFIX_TEXT_BYTES, ReservationId, SaleId, SaleView, Status, TypeUnits,
};

/// The field of the sale's hash with the id of the move that brought it.
const ARRIVED_BY: &str = "arrived_by";
/// The time that replicas have to receive the sale, in ms.
const REPLICAS_WAIT_TIME_MS: u64 = 60_000;
/// The same as an argument.
const REPLICAS_WAIT_MS: &str = "60000";

/// Rewrites the field that records the move, if it has this value.
const TOUCH: &str = "\
if redis.call('HGET', KEYS[1], 'arrived_by') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'arrived_by', ARGV[1])
return 1";

/// Renames the keys of an arriving sale, the counters' key last. KEYS are the final names, then the
/// temporary ones; ARGV[1] is the id of the move.
const ARRIVE: &str = "\
if redis.call('HGET', KEYS[2], 'arrived_by') == ARGV[1] then return 0 end
for i = 1, 7 do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    return redis.error_reply('STAMPEDE the key ' .. KEYS[i] .. ' is there already')
  end
end
if redis.call('HGET', KEYS[9], 'arrived_by') ~= ARGV[1] then
  return redis.error_reply('STAMPEDE the key ' .. KEYS[9] .. ' is not as it was written')
end
for i = 7, 1, -1 do
  if redis.call('EXISTS', KEYS[7 + i]) == 1 then redis.call('RENAME', KEYS[7 + i], KEYS[i]) end
end
return 1";

/// The state of a sale in the ledger to which it is to be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// There is no such sale.
    Absent,
    /// The sale exists, and this move brought it.
    Here,
    /// Another sale has this name, or keys of one exist.
    Occupied,
}

impl RedisClient {
    /// Whether this move has brought a sale.
    pub fn arrival(&mut self, sale: &SaleId, move_id: u64) -> Result<Arrival, LedgerError> {
        let keys = self.codec().keys().of(sale).all();
        let brought: Option<String> =
            read(self.command(&[b"HGET", keys[1].as_bytes(), ARRIVED_BY.as_bytes()])?)?;
        if brought.is_some_and(|by| by == name_of(move_id)) {
            return Ok(Arrival::Here);
        }
        Ok(if self.any_key_of(sale)? { Arrival::Occupied } else { Arrival::Absent })
    }

    /// Moves a sale in: see the module's header. `progress` gets the number of reservations
    /// written.
    ///
    /// # Errors
    /// The sale does not exist; after [`LedgerError::Lost`] it may exist: call
    /// [`arrival`](Self::arrival).
    pub fn bring(
        &mut self,
        sale: &SaleCopy,
        move_id: u64,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), LedgerError> {
        let keys = self.codec().keys().of(&sale.id);
        let beside = keys.arriving();
        let of_lines = of_reservations(sale.reservations.iter().map(|change| &change.reservation));
        let format = match sale.view.spec.is_plain() {
            true => of_lines,
            false => FORMAT_RULES,
        };
        if let Some(why) = self.format_blocker(format)? {
            return Err(LedgerError::Refused(why));
        }
        self.clear_arrival(&sale.id)?;
        self.write_beside(&beside, sale, format, move_id, progress)?;
        self.check_beside(&beside, sale)?;
        // It must be in the index before any of its units can be held.
        self.register(&[&sale.id])?;
        let all = [keys.all(), beside.all()].concat();
        let (count, name) = (all.len().to_string(), name_of(move_id));
        let mut words = vec!["EVAL", ARRIVE, &count];
        words.extend(all.iter().map(String::as_str));
        words.push(&name);
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.command(&words)?;
        self.register(&[&sale.id])?;
        self.announce(&[&sale.id]);
        self.settle_arrival(&sale.id, move_id)
    }

    /// Removes the keys that an abandoned attempt has left beside a sale.
    pub fn clear_arrival(&mut self, sale: &SaleId) -> Result<(), LedgerError> {
        let keys = self.codec().keys().of(sale).arriving().all();
        let mut unlink: Vec<&[u8]> = vec![b"UNLINK"];
        unlink.extend(keys.iter().map(|key| key.as_bytes()));
        self.command(&unlink).map(drop)
    }

    fn write_beside(
        &mut self,
        keys: &SaleKeys,
        sale: &SaleCopy,
        format: u32,
        move_id: u64,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), LedgerError> {
        let names = keys.all();
        let [counters, of_sale, reservations, claims, users, deadlines, stream] = &names[..] else {
            return Err(LedgerError::Refused("a sale has other keys than these".into()));
        };
        let total = sale.reservations.len() as u64;
        let mut output = Output { client: self, commands: Pipeline::new(), bytes: 0 };
        let (view, spec) = (&sale.view, &sale.view.spec);
        let now_ms = time_ms(Some(output.client.command(&[b"TIME"])?))?;
        let number = |n: u64| n.to_string();
        let sold = view.held + view.confirmed;
        output.hash(
            counters,
            [(keys.total_field(), number(spec.total)), (keys.sold_field(), number(sold))],
        )?;
        let creation = match view.creation {
            Creation::UNKNOWN => now_ms * 1000,
            Creation(known) => known,
        };
        output.hash(
            of_sale,
            [
                ("held", number(view.held)),
                ("confirmed", number(view.confirmed)),
                ("hold_ms", number(spec.hold_ms)),
                ("opens_at_ms", number(spec.opens_at_ms)),
                ("closes_at_ms", number(spec.closes_at_ms)),
                ("limit_per_user", number(spec.limit_per_user.into())),
                ("quantity_max", number(spec.quantity_max.into())),
                ("last_ms", number(view.now_ms)),
                ("creation", number(creation)),
                (ARRIVED_BY, name_of(move_id)),
            ],
        )?;
        output.hash(of_sale, moves_of(view))?;
        output.hash(of_sale, rules_of(sale))?;
        let is_back = |change: &&Change| !change.reservation.status.has_units();
        let returned = sale.reservations.iter().filter(is_back).count() as u64;
        if returned > 0 {
            output.hash(of_sale, [("returned", number(returned))])?;
        }
        if format > FORMAT_0_1_0 {
            output.hash(of_sale, [("format", format.to_string())])?;
        }

        // Reservations whose ids share a prefix share a field, and those of a field share a member
        // of the deadlines.
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        let mut by_user: BTreeMap<String, u64> = BTreeMap::new();
        let mut due: BTreeMap<String, u64> = BTreeMap::new();
        let mut own = Vec::new();
        for change in &sale.reservations {
            let row = &change.reservation;
            let field = field_of(row.id);
            if row.status == Status::Held {
                due.insert(format!("{field}:{}", row.expires_at_ms), row.expires_at_ms);
            }
            let counts = row.status.has_units();
            if let Some(user) = row.user.as_ref().filter(|_| counts && spec.limit_per_user > 0) {
                *by_user.entry(user.as_str().to_owned()).or_default() += u64::from(row.quantity);
            }
            let counts = spec.rules.reservations_per_user_max > 0;
            if let Some(user) = row.user.as_ref().filter(|_| counts) {
                *by_user.entry(made_for(user.as_str())).or_default() += 1;
            }
            if change.key.is_some() {
                own.push((owner_of(change), row.id.to_string()));
            }
            fields.entry(field).or_default().push_str(&line_of(change));
        }
        for (field, lines) in fields {
            output.hash(reservations, [(&*field, lines)])?;
        }
        for chunk in own.chunks(ARRIVAL_ROWS_MAX) {
            output.hash(claims, chunk.iter().map(|(owner, id)| (&**owner, id.clone())))?;
        }
        let by_user: Vec<_> = by_user.into_iter().collect();
        for chunk in by_user.chunks(ARRIVAL_ROWS_MAX) {
            output.hash(users, chunk.iter().map(|(name, count)| (&**name, number(*count))))?;
        }
        let due: Vec<_> = due.into_iter().collect();
        for chunk in due.chunks(ARRIVAL_ROWS_MAX) {
            let pairs = chunk.iter().flat_map(|(member, ms)| [number(*ms), member.clone()]);
            output.add("ZADD", deadlines, pairs)?;
        }

        let above = EntryId::of_version(sale.version());
        let mut id = EntryId { ms: now_ms.max(above.ms + 1), sequence: 0 };
        let mut changes: Vec<&Change> = sale.reservations.iter().collect();
        changes
            .sort_unstable_by_key(|change| (change.at_ms, change.version, change.reservation.id));
        let mut done = 0;
        for of_one_time in changes.chunk_by(|a, b| a.at_ms == b.at_ms) {
            for chunk in of_one_time.chunks(ARRIVAL_ROWS_MAX) {
                let lines: String = chunk.iter().map(|change| line_of(change)).collect();
                let at_ms = number(chunk[0].at_ms);
                let words = [id.to_string(), "at_ms".into(), at_ms, "reservations".into(), lines];
                output.add("XADD", stream, words)?;
                id = id.next();
                done += chunk.len() as u64;
                progress(done, total);
            }
        }
        output.send()
    }

    /// Compares the written keys with the sale.
    fn check_beside(&mut self, keys: &SaleKeys, sale: &SaleCopy) -> Result<(), LedgerError> {
        let differs = |what: String| {
            LedgerError::Refused(format!("{} was not written as it should be: {what}", sale.id))
        };
        let found = audit::audit(self, keys, &sale.id, None)?;
        let found = found.ok_or_else(|| differs("it is gone".into()))?;
        if let Some(check) = found.checks.iter().find(|check| check.differences > 0) {
            return Err(differs(format!("{}: {}", check.name, check.examples.join(", "))));
        }
        let same = |a: &Change, b: &Change| {
            (&a.reservation, &a.key, a.at_ms) == (&b.reservation, &b.key, b.at_ms)
                && a.version > b.version
        };
        let mut wanted: Vec<&Change> = sale.reservations.iter().collect();
        wanted.sort_unstable_by_key(|change| change.reservation.id);
        let all = found.reservations.len() == wanted.len()
            && found.reservations.iter().zip(wanted).all(|(a, b)| same(a, b));
        let (mut spec, wanted) = (found.view.spec, &sale.view.spec);
        spec.split = wanted.split;
        if !all || spec != *wanted {
            return Err(differs("its reservations or its definition are others".into()));
        }
        Ok(())
    }

    /// Waits until the configured number of replicas has a sale that has arrived.
    pub fn settle_arrival(&mut self, sale: &SaleId, move_id: u64) -> Result<(), LedgerError> {
        let wanted = self.ledger().settings.replicas;
        if wanted == 0 {
            return Ok(());
        }
        let keys = self.codec().keys().of(sale);
        let (name, of_sale, count) = (name_of(move_id), &keys.all()[1], wanted.to_string());
        let mut wait = Pipeline::new();
        // WAIT covers the last write of its own connection.
        wait.add(&["EVAL", TOUCH, "1", of_sale, &name].map(str::as_bytes));
        wait.add_for(keys.slot(), &["WAIT", &count, REPLICAS_WAIT_MS].map(str::as_bytes));
        self.set_answer_time(Duration::from_millis(2 * REPLICAS_WAIT_TIME_MS));
        let replies = self.pipeline(&wait);
        self.set_answer_time(Duration::from_millis(CLIENT_ANSWER_DEADLINE_MS));
        let mut replies = replies?.into_iter();
        let touched: u64 = read(replies.next().unwrap_or(Value::Nil))?;
        let received: u64 = read(replies.next().unwrap_or(Value::Nil))?;
        if touched == 0 || received < u64::from(wanted) {
            return Err(LedgerError::Lost(format!("{received} of {wanted} replicas have {sale}")));
        }
        Ok(())
    }
}

/// Commands that are being sent.
struct Output<'a> {
    client: &'a mut RedisClient,
    commands: Pipeline,
    bytes: usize,
}

impl Output<'_> {
    fn hash(
        &mut self,
        key: &str,
        pairs: impl IntoIterator<Item = (impl Into<String>, String)>,
    ) -> Result<(), LedgerError> {
        let pairs = pairs.into_iter().flat_map(|(name, value)| [name.into(), value]);
        let words: Vec<String> = pairs.collect();
        if words.is_empty() { Ok(()) } else { self.add("HSET", key, words) }
    }

    fn add(
        &mut self,
        command: &str,
        key: &str,
        words: impl IntoIterator<Item = String>,
    ) -> Result<(), LedgerError> {
        let words: Vec<String> = words.into_iter().collect();
        let mut all = vec![command.as_bytes(), key.as_bytes()];
        all.extend(words.iter().map(|word| word.as_bytes()));
        self.bytes += all.iter().map(|word| word.len()).sum::<usize>();
        self.commands.add(&all);
        if self.bytes >= ARRIVAL_BYTES_MAX { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> Result<(), LedgerError> {
        let commands = std::mem::take(&mut self.commands);
        self.bytes = 0;
        for reply in self.client.pipeline(&commands)? {
            if let Value::ServerError(error) = reply {
                return Err(LedgerError::Refused(error_text(&error)));
            }
        }
        Ok(())
    }
}

/// The additional fields in the hash of a place of a split sale.
fn moves_of(view: &SaleView) -> Vec<(String, String)> {
    let (moves, mut split) = (&view.transfers, view.spec.split.to_text());
    if !view.spec.is_plain() {
        split = Some(unreadable_split(split.as_deref()));
    }
    let mut fields: Vec<_> = split.map(|text| ("split".to_owned(), text)).into_iter().collect();
    for (name, counts) in [("gave", &moves.sent), ("took", &moves.received)] {
        let moved = counts.iter().enumerate().filter(|(_, units)| **units > 0);
        fields.extend(moved.map(|(number, units)| (format!("{name}_{number}"), units.to_string())));
    }
    fields.extend(moves.stock.map(|units| ("stock".to_owned(), units.to_string())));
    fields
}

/// The additional fields in the hash of a sale with rules.
fn rules_of(sale: &SaleCopy) -> Vec<(&'static str, String)> {
    let (spec, rules) = (&sale.view.spec, &sale.view.spec.rules);
    if spec.is_plain() {
        return Vec::new();
    }
    let mut fields = vec![
        ("extend_max_ms", rules.extend_max_ms.to_string()),
        ("quantity_min", rules.quantity_min.to_string()),
        ("reservations_per_user_max", rules.reservations_per_user_max.to_string()),
        ("made", sale.reservations.len().to_string()),
    ];
    fields.extend(rules.reservations_max.map(|max| ("reservations_max", max.to_string())));
    if !spec.types.is_empty() {
        fields.push(("types", spec.types.to_text()));
        fields.push(("by_type", TypeUnits::list_to_text(&sale.view.by_type)));
    }
    fields
}

fn name_of(move_id: u64) -> String {
    format!("{move_id:016x}")
}

fn field_of(id: ReservationId) -> String {
    String::from_utf8_lossy(&id.to_text()[..ID_PREFIX_TEXT_BYTES]).into_owned()
}

/// The name of the claim of a reservation that was made with a key.
fn owner_of(change: &Change) -> String {
    let mut owner = change.reservation.user.as_ref().map_or("", |user| user.as_str()).to_owned();
    if let Some(key) = &change.key {
        owner += OWNER_SEPARATOR;
        owner += key.as_str();
    }
    owner
}

fn line_of(change: &Change) -> String {
    let row = &change.reservation;
    let user = row.user.as_ref().map_or("", |user| user.as_str());
    let key = change.key.as_ref().map_or("", |key| key.as_str());
    let details = row.details.as_ref().map(|details| details.to_text());
    let end = end_of_line(user, key, details.as_deref().unwrap_or_default()).concat();
    let (status, quantity, expires_at_ms) = (row.status.as_str(), row.quantity, row.expires_at_ms);
    format!("{} {status} {quantity} {expires_at_ms}{end}\n", row.id)
}
