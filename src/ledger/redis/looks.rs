//! Looking without a script: how a sale stands, and for claims, many at once, with plain commands that
//! only read.
//!
//! A script costs Redis some 40 us whatever it does, and would make a string of Lua of each claim, at
//! the cost of all else; `HMGET` only looks. What the sale tells everybody is judged here, by the rules
//! of `lua/sale.lua` and `lua/reserve.lua`. Whatever is not as we write it, or changes meanwhile, is
//! left to the scripts, which say what is wrong: who glances is told that it is unclear, and who looks
//! for his claim that he has none, so he asks for units.
//!
//! Others may write between two of these commands, so their order matters. Counters are read before
//! claims, and no claim ever goes while its sale lasts: who has none when the claims are read had none
//! when nothing was left. Which making of the sale it is is read before and after; for a glance, all is
//! that is not a counter.

use redis::Value;

use super::decode_error::{DecodeError, classify};
use super::index;
use super::keys::SaleKeys;
use super::line::{claim_of, number};
use super::resp::{bulk, bulk_pieces, command, text_command};
use super::value::{Header, text};
use crate::limits::{
    CREATION_MAX, HOLD_MS_DEFAULT, HOLD_MS_MAX, MOVED_MAX, QUANTITY_MAX, QUANTITY_MAX_DEFAULT,
    TIME_MS_MAX, TOTAL_MAX,
};
use crate::sale::{
    Command, Creation, Moves, Outcome, ReservationId, Reserve, SaleSpec, SaleView, Split, State,
};

/// Replies to one run.
pub(super) const REPLIES: usize = 6;

/// What is read of a sale beside its counters.
const FIELDS: [&str; 10] = [
    "creation",
    "held",
    "confirmed",
    "hold_ms",
    "opens_at_ms",
    "closes_at_ms",
    "limit_per_user",
    "quantity_max",
    "last_ms",
    "split",
];

/// And of one that is known to be in parts.
fn moves(parts: u32) -> Vec<String> {
    let of = |name: &str| (0..=parts).map(|n| format!("{name}_{n}")).collect::<Vec<_>>();
    match parts {
        0 => Vec::new(),
        _ => [of("gave"), of("took"), vec!["stock".to_owned()]].concat(),
    }
}

/// Appends the commands for a run. `now_ms`: in place of Redis' own time.
pub(super) fn encode(keys: &SaleKeys, run: &[Command], now_ms: Option<u64>, out: &mut Vec<u8>) {
    match now_ms {
        None => text_command(out, &["TIME"]),
        Some(now_ms) => {
            let (seconds, micros) = (now_ms / 1000, now_ms % 1000 * 1000);
            let (seconds, micros) = (seconds.to_string(), micros.to_string());
            text_command(out, &["EVAL", "return ARGV", "0", &seconds, &micros]);
        }
    }
    let [_, sale, _, claims, ..] = keys.pieces();
    let moves = match run[0] {
        Command::Glance { parts } => moves(parts),
        _ => Vec::new(),
    };
    let names = || FIELDS.iter().copied().chain(moves.iter().map(String::as_str));
    fields(&sale, names(), out);
    text_command(out, &["EXISTS", keys.counters()]);
    text_command(out, &["HMGET", keys.counters(), keys.total_field(), keys.sold_field()]);
    if let Command::Glance { .. } = run[0] {
        // In the place of claims nothing is asked for.
        text_command(out, &["EXISTS", keys.counters()]);
        return fields(&sale, names(), out);
    }
    command(out, 2 + run.len());
    bulk(out, b"HMGET");
    bulk_pieces(out, &claims);
    for reserve in run.iter().filter_map(asked_of) {
        match reserve.key {
            Some(_) => bulk_pieces(out, &claim_of(reserve)),
            // No claim has this name.
            None => bulk(out, b""),
        }
    }
    fields(&sale, names().take(1), out);
}

fn fields<'a>(key: &[&str; 4], names: impl Iterator<Item = &'a str> + Clone, out: &mut Vec<u8>) {
    command(out, 2 + names.clone().count());
    bulk(out, b"HMGET");
    bulk_pieces(out, key);
    names.for_each(|name| bulk(out, name.as_bytes()));
}

fn asked_of(command: &Command) -> Option<&Reserve> {
    match command {
        Command::FindClaim(reserve) => Some(reserve),
        _ => None,
    }
}

/// Reads the replies to a run.
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
            // Nothing was to be done.
            DecodeError::Lost(text) => DecodeError::Refused(text),
            refused => refused,
        });
    }
    let [time, fields, exists, counters, claims, again] = replies else { return Err(malformed()) };
    let now_ms = index::time_ms(Some(time.clone()))?;
    if *exists == Value::Int(0) {
        outcomes.extend(run.iter().map(|_| Outcome::UnknownSale));
        return Ok(Header { now_ms, free: None });
    }
    let view = view(fields, counters, again, now_ms);
    // Of a sale of which nothing can be told we know nothing that is left.
    let free = view.as_ref().map_or(0, SaleView::free);
    let header =
        Header { now_ms: view.as_ref().map_or(now_ms, |view| view.now_ms), free: Some(free) };
    if let Command::Glance { parts } = run[0] {
        let known = view.filter(|view| view.spec.split.known_parts() == parts);
        outcomes.push(known.map_or(Outcome::Unclear, |view| Outcome::Sale(Box::new(view))));
        return Ok(header);
    }
    let (Some(view), Value::Array(claims)) = (view, claims) else {
        outcomes.extend(run.iter().map(|_| Outcome::NotClaimed));
        return Ok(header);
    };
    if claims.len() != run.len() {
        return Err(malformed());
    }
    let told = match (view.spec.split, view.state()) {
        (Split::Head { parts }, _) => Outcome::Split { parts },
        (_, State::Closed) => Outcome::Closed,
        (_, State::Scheduled) => Outcome::NotOpen { opens_at_ms: view.spec.opens_at_ms },
        (_, State::Open) if free == 0 => Outcome::SoldOut { free: 0 },
        (_, State::Open) => Outcome::NotClaimed,
    };
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

/// The sale. `None`: the scripts are to say what it is.
fn view(fields: &Value, counters: &Value, again: &Value, now_ms: u64) -> Option<SaleView> {
    let (Value::Array(counters), Value::Array(fields), Value::Array(again)) =
        (counters, fields, again)
    else {
        return None;
    };
    let [total, sold] = &counters[..] else { return None };
    let (total, sold) = (whole(total, None, 0, TOTAL_MAX)?, whole(sold, None, 0, TOTAL_MAX)?);
    let ([creation, held, confirmed, hold, opens, closes, limit, quantity, last, split], moved) =
        fields.split_first_chunk()?;
    let held = whole(held, Some(0), 0, TOTAL_MAX)?;
    let confirmed = whole(confirmed, Some(0), 0, TOTAL_MAX)?;
    let last_ms = whole(last, Some(0), 0, TIME_MS_MAX)?;
    let split = match split {
        Value::Nil => Split::Whole,
        split => Split::from_text(text(split)?)?,
    };
    if held + confirmed > sold || fields.get(..again.len()) != Some(again) {
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
    };
    let mut moves = Moves::default();
    if moved.len() == 2 * split.places() + 1 {
        let mut numbers = moved.iter().map(|units| whole(units, Some(0), 0, MOVED_MAX));
        moves.gave = numbers.by_ref().take(split.places()).collect::<Option<_>>()?;
        moves.took = numbers.by_ref().take(split.places()).collect::<Option<_>>()?;
        if let (Split::Head { .. }, Some(stock)) = (split, moved.last()) {
            // 0.1.0 noted none.
            moves.stock = match stock {
                Value::Nil => None,
                stock => Some(whole(stock, None, 0, MOVED_MAX)?),
            };
        }
    }
    let creation = Creation(whole(creation, Some(0), 0, CREATION_MAX)?);
    let now_ms = now_ms.max(last_ms);
    Some(SaleView { spec, held, confirmed: sold - held, now_ms, moves, creation })
}

/// A whole number from `min` to `max`, as we write them. What is missing has its default.
fn whole(value: &Value, default: Option<u64>, min: u64, max: u64) -> Option<u64> {
    let read = match value {
        Value::Nil => default,
        value => number(text(value)?),
    };
    read.filter(|read| (min..=max).contains(read))
}
