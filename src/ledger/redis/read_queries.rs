//! Queries without a script: the state of a sale, and the claims of many requests at once, with
//! plain commands that only read.
//!
//! A script costs Redis some 40 us in any case, and would create a Lua string of each claim;
//! `HMGET` avoids both. Here the state of the sale is decided from the fields, by the rules of
//! `lua/sale.lua` and `lua/reserve.lua`. Data that is not as we write it, or that changes
//! meanwhile, is left to the scripts, which report what is wrong: a peek is then answered with
//! `Unclear`, and a claim query with `NotClaimed`, so the request asks for units.
//!
//! Others may write between two of these commands, so their order matters. Counters are read before
//! claims, and no claim disappears while its sale exists: a request without a claim when the claims
//! are read had none when nothing was left. The creation of the sale is read before and after; for
//! a peek, so are the fields that change together with the counters.
//!
//! A core that has seen the sale recently need not read it before. A creation never comes back: if
//! the creation that the core saw is there after the claims, it was there all the time. A sale
//! stays split or unsplit for good, and once it has opened, only `closes_at_ms` ends it. That field
//! is read after the claims, and the time after that. So a sale that is not over then was open when
//! its counters were read, unless it was closed and opened again in between. The core's peeks find
//! any other fault of a sale. Creations without a number can't be distinguished.

use redis::Value;

use super::decode_error::{DecodeError, classify};
use super::index;
use super::keys::SaleKeys;
use super::line::{claim_of, number};
use super::resp::{bulk, bulk_pieces, command, text_command};
use super::value::{Header, text};
use crate::ledger::format::{FORMAT, FORMAT_0_1_0, FORMAT_RULES, split_text};
use crate::limits::{
    CREATION_MAX, HOLD_MS_DEFAULT, HOLD_MS_MAX, MOVED_MAX, QUANTITY_MAX, QUANTITY_MAX_DEFAULT,
    TIME_MS_MAX, TOTAL_MAX,
};
use crate::sale::{
    Command, Creation, Outcome, ReservationId, Reserve, Rules, SaleSpec, SaleState, SaleView,
    Split, Transfers, Types,
};

/// The fields that are read of a sale, in addition to its counters.
const FIELDS: [&str; 11] = [
    "creation",
    "held",
    "confirmed",
    "last_ms",
    "hold_ms",
    "opens_at_ms",
    "closes_at_ms",
    "limit_per_user",
    "quantity_max",
    "split",
    "format",
];
/// How many of them a peek reads again, together with the counts of transfers between parts. Every
/// command that sells, returns or transfers units writes one of these. The other fields belong to
/// the creation, or are opening and closing times, which were true when they were read whatever the
/// counters became.
const FIELDS_AGAIN: usize = 4;
/// The fields that are read of a sale of which the core knows the rest.
const FIELDS_OF_KNOWN: [&str; 2] = ["creation", "closes_at_ms"];

/// What a run of commands queries.
#[derive(Clone, Copy)]
enum ReadQuery {
    /// The state of a sale that is known to be in this many parts.
    Peek(u32),
    /// The claims, and the state of the sale.
    Claims,
    /// The same for this creation, which has opened and is not split.
    ClaimsIn(Creation),
}

impl ReadQuery {
    fn of(run: &[Command]) -> Self {
        match run[0] {
            Command::Peek { parts } => Self::Peek(parts),
            Command::FindClaim(_, made) if made != Creation::UNKNOWN => Self::ClaimsIn(made),
            _ => Self::Claims,
        }
    }
}

/// The number of replies to a run.
pub(super) fn replies_to(run: &[Command]) -> usize {
    match ReadQuery::of(run) {
        ReadQuery::Peek(_) => 5,
        ReadQuery::Claims => 6,
        ReadQuery::ClaimsIn(_) => 4,
    }
}

/// The fields with the transfers of a sale that is known to be in parts.
fn transfer_fields(parts: u32) -> Vec<String> {
    let of = |name: &str| (0..=parts).map(|n| format!("{name}_{n}")).collect::<Vec<_>>();
    match parts {
        0 => Vec::new(),
        _ => [of("gave"), of("took"), vec!["stock".to_owned()]].concat(),
    }
}

/// Appends the commands for a run. `now_ms` replaces the time of Redis.
pub(super) fn encode(keys: &SaleKeys, run: &[Command], now_ms: Option<u64>, out: &mut Vec<u8>) {
    let [_, sale, _, claims, ..] = keys.pieces();
    match ReadQuery::of(run) {
        ReadQuery::ClaimsIn(_) => {
            counters(keys, out);
            find(&claims, run, out);
            fields(&sale, FIELDS_OF_KNOWN.into_iter(), out);
            time(now_ms, out);
        }
        ReadQuery::Claims => {
            time(now_ms, out);
            fields(&sale, FIELDS.into_iter(), out);
            text_command(out, &["EXISTS", keys.counters()]);
            counters(keys, out);
            find(&claims, run, out);
            fields(&sale, FIELDS.into_iter().take(1), out);
        }
        ReadQuery::Peek(parts) => {
            let moves = transfer_fields(parts);
            let moves = || moves.iter().map(String::as_str);
            time(now_ms, out);
            fields(&sale, FIELDS.into_iter().chain(moves()), out);
            text_command(out, &["EXISTS", keys.counters()]);
            counters(keys, out);
            fields(&sale, FIELDS.into_iter().take(FIELDS_AGAIN).chain(moves()), out);
        }
    }
}

fn time(now_ms: Option<u64>, out: &mut Vec<u8>) {
    match now_ms {
        None => text_command(out, &["TIME"]),
        Some(now_ms) => {
            let (seconds, micros) = (now_ms / 1000, now_ms % 1000 * 1000);
            let (seconds, micros) = (seconds.to_string(), micros.to_string());
            text_command(out, &["EVAL", "return ARGV", "0", &seconds, &micros]);
        }
    }
}

fn counters(keys: &SaleKeys, out: &mut Vec<u8>) {
    text_command(out, &["HMGET", keys.counters(), keys.total_field(), keys.sold_field()]);
}

fn find(key: &[&str; 4], run: &[Command], out: &mut Vec<u8>) {
    command(out, 2 + run.len());
    bulk(out, b"HMGET");
    bulk_pieces(out, key);
    for reserve in run.iter().filter_map(asked_of) {
        match reserve.key {
            Some(_) => bulk_pieces(out, &claim_of(reserve)),
            // No claim has this name.
            None => bulk(out, b""),
        }
    }
}

fn fields<'a>(key: &[&str; 4], names: impl Iterator<Item = &'a str> + Clone, out: &mut Vec<u8>) {
    command(out, 2 + names.clone().count());
    bulk(out, b"HMGET");
    bulk_pieces(out, key);
    names.for_each(|name| bulk(out, name.as_bytes()));
}

fn asked_of(command: &Command) -> Option<&Reserve> {
    match command {
        Command::FindClaim(reserve, _) => Some(reserve),
        _ => None,
    }
}

/// Decodes the replies to a run.
pub(super) fn decode(
    run: &[Command],
    replies: &[Value],
    outcomes: &mut Vec<Outcome>,
) -> Result<Header, DecodeError> {
    let error = replies.iter().find_map(|reply| match reply {
        Value::ServerError(error) if error.code() != "WRONGTYPE" => Some(error),
        _ => None,
    });
    if let Some(error) = error {
        return Err(match classify(error) {
            // The query changes nothing.
            DecodeError::Lost(text) => DecodeError::Refused(text),
            refused => refused,
        });
    }
    let (told, claims, header) = match (ReadQuery::of(run), replies) {
        (ReadQuery::Peek(parts), [time, fields, exists, counters, again]) => {
            let (view, header) = view_and_header(time, fields, exists, counters, again)?;
            let known = view.filter(|view| {
                view.spec.split.known_parts() == parts && view.spec.rules.is_default()
            });
            outcomes.push(match known {
                Some(view) => Outcome::Sale(Box::new(view)),
                None if header.free.is_none() => Outcome::UnknownSale,
                None => Outcome::Unclear,
            });
            return Ok(header);
        }
        (ReadQuery::Claims, [time, fields, exists, counters, claims, again]) => {
            let (view, header) = view_and_header(time, fields, exists, counters, again)?;
            (view.as_ref().map(outcome_for_all), claims, header)
        }
        (ReadQuery::ClaimsIn(made), [counters, claims, fields, time]) => {
            let now_ms = index::time_ms(Some(time.clone()))?;
            let told = outcome_in_creation(made, counters, fields, now_ms);
            let free = Some(told.as_ref().map_or(0, |(_, free)| *free));
            (told.map(|(told, _)| told), claims, Header { now_ms, free })
        }
        _ => return Err(malformed()),
    };
    let (Some(told), Value::Array(claims)) = (told, claims) else {
        let unknown = header.free.is_none();
        let outcome = if unknown { Outcome::UnknownSale } else { Outcome::NotClaimed };
        outcomes.extend(run.iter().map(|_| outcome.clone()));
        return Ok(header);
    };
    if claims.len() != run.len() {
        return Err(malformed());
    }
    let is_head = matches!(told, Outcome::Split { .. });
    for claim in claims {
        outcomes.push(match claim {
            Value::Nil => told.clone(),
            _ if is_head => told.clone(),
            claim => match text(claim).map(|id| ReservationId::from_text(id.as_bytes())) {
                Some(Ok(id)) => Outcome::Claimed(id),
                _ => Outcome::NotClaimed,
            },
        });
    }
    Ok(header)
}

fn malformed() -> DecodeError {
    DecodeError::Refused("what was read without a script is no reply of ours".to_owned())
}

/// The rejection, or `NotClaimed`, that the sale gives to every request.
fn outcome_for_all(view: &SaleView) -> Outcome {
    match (view.spec.split, view.state()) {
        (Split::Head { parts }, _) => Outcome::Split { parts },
        (_, SaleState::Closed) => Outcome::Closed,
        (_, SaleState::Scheduled) => Outcome::NotOpen { opens_at_ms: view.spec.opens_at_ms },
        (_, SaleState::Open) => outcome_if_open(view.free()),
    }
}

fn outcome_if_open(free: u64) -> Outcome {
    if free == 0 { Outcome::SoldOut { free } } else { Outcome::NotClaimed }
}

/// The same for an unsplit sale that has opened, if it is of this creation; and the units that are
/// left.
fn outcome_in_creation(
    made: Creation,
    counters: &Value,
    fields: &Value,
    now_ms: u64,
) -> Option<(Outcome, u64)> {
    let (total, sold) = counts(counters)?;
    let Value::Array(fields) = fields else { return None };
    let [creation, closes] = &fields[..] else { return None };
    if whole(creation, None, 0, CREATION_MAX)? != made.0 {
        return None;
    }
    let is_over = now_ms >= whole(closes, Some(TIME_MS_MAX), 0, TIME_MS_MAX)?;
    let free = total.saturating_sub(sold);
    Some((if is_over { Outcome::Closed } else { outcome_if_open(free) }, free))
}

/// The sale, unless the scripts must decide what it is, and the header of every reply.
fn view_and_header(
    time: &Value,
    fields: &Value,
    exists: &Value,
    counters: &Value,
    again: &Value,
) -> Result<(Option<SaleView>, Header), DecodeError> {
    let now_ms = index::time_ms(Some(time.clone()))?;
    if *exists == Value::Int(0) {
        return Ok((None, Header { now_ms, free: None }));
    }
    let view = view(fields, counters, again, now_ms);
    // Nothing is known to be left of a sale whose state is unclear.
    let free = view.as_ref().map_or(0, SaleView::free);
    let now_ms = view.as_ref().map_or(now_ms, |view| view.now_ms);
    Ok((view, Header { now_ms, free: Some(free) }))
}

/// The total and the sold units.
fn counts(counters: &Value) -> Option<(u64, u64)> {
    let Value::Array(counters) = counters else { return None };
    let [total, sold] = &counters[..] else { return None };
    Some((whole(total, None, 0, TOTAL_MAX)?, whole(sold, None, 0, TOTAL_MAX)?))
}

/// The sale. `None`: the scripts must decide what it is.
fn view(fields: &Value, counters: &Value, again: &Value, now_ms: u64) -> Option<SaleView> {
    let (total, sold) = counts(counters)?;
    let (Value::Array(fields), Value::Array(again)) = (fields, again) else { return None };
    let (
        [creation, held, confirmed, last, hold, opens, closes, limit, quantity, split, format],
        moved,
    ) = fields.split_first_chunk()?;
    let format = whole(format, Some(FORMAT_0_1_0.into()), 1, FORMAT.into())?;
    // The rules are not read here: it only matters whether there are any.
    let has_rules = format >= FORMAT_RULES.into();
    let rules = Rules { reservations_max: has_rules.then_some(0), ..Rules::default() };
    let (again, moved_again) = again.split_at(again.len().min(FIELDS_AGAIN));
    if !fields.starts_with(again) || moved != moved_again {
        return None;
    }
    let held = whole(held, Some(0), 0, TOTAL_MAX)?;
    let confirmed = whole(confirmed, Some(0), 0, TOTAL_MAX)?;
    let last_ms = whole(last, Some(0), 0, TIME_MS_MAX)?;
    let split = match split {
        Value::Nil => Split::Whole,
        split => split_text(text(split)?).map_or(Some(Split::Whole), Split::from_text)?,
    };
    if held + confirmed > sold {
        return None;
    }
    let limit_per_user = whole(limit, Some(0), 0, u32::MAX.into())?;
    let quantity_max = whole(quantity, Some(QUANTITY_MAX_DEFAULT.into()), 1, QUANTITY_MAX.into())?;
    let spec = SaleSpec {
        total,
        hold_ms: whole(hold, Some(HOLD_MS_DEFAULT), 1, HOLD_MS_MAX)?,
        opens_at_ms: whole(opens, Some(0), 0, TIME_MS_MAX)?,
        closes_at_ms: whole(closes, Some(TIME_MS_MAX), 0, TIME_MS_MAX)?,
        limit_per_user: u32::try_from(limit_per_user).ok()?,
        quantity_max: u32::try_from(quantity_max).ok()?,
        split,
        rules,
        types: Types::default(),
        plan: None,
    };
    let mut moves = Transfers::default();
    if moved.len() == 2 * split.places() + 1 {
        let mut numbers = moved.iter().map(|units| whole(units, Some(0), 0, MOVED_MAX));
        moves.sent = numbers.by_ref().take(split.places()).collect::<Option<_>>()?;
        moves.received = numbers.by_ref().take(split.places()).collect::<Option<_>>()?;
        if let (Split::Head { .. }, Some(stock)) = (split, moved.last()) {
            // 0.1.0 wrote no stock.
            moves.stock = match stock {
                Value::Nil => None,
                stock => Some(whole(stock, None, 0, MOVED_MAX)?),
            };
        }
    }
    let creation = Creation(whole(creation, Some(0), 0, CREATION_MAX)?);
    let now_ms = now_ms.max(last_ms);
    Some(SaleView {
        spec,
        held,
        confirmed: sold - held,
        by_type: Vec::new(),
        now_ms,
        transfers: moves,
        creation,
    })
}

/// A whole number from `min` to `max`, as we write it. A missing one has its default.
fn whole(value: &Value, default: Option<u64>, min: u64, max: u64) -> Option<u64> {
    let read = match value {
        Value::Nil => default,
        value => number(text(value)?),
    };
    read.filter(|read| (min..=max).contains(read))
}
