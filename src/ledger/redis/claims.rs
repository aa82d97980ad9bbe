//! Looking for claims: many requests at once, with plain commands that only read.
//!
//! A script would make a string of Lua of each claim, and would cost more than all else; `HMGET` only
//! looks it up. What the sale tells everybody is judged here, by the rules of `lua/sale.lua` and
//! `lua/reserve.lua`. Whatever is not as we write it is left to the scripts, which say what is wrong:
//! the request is told that it has no claim, so it asks for units.
//!
//! Others may write between two of these commands, so their order matters. Counters are read before
//! claims, and no claim ever goes while its sale lasts: who has none when the claims are read had none
//! when nothing was left. Which making of the sale it is is read before and after.

use redis::Value;

use super::decode_error::{DecodeError, classify};
use super::index;
use super::keys::SaleKeys;
use super::line::{OWNER_SEPARATOR, number};
use super::resp::{bulk, bulk_pieces, command, text_command};
use super::value::{Header, text};
use crate::limits::{
    CREATION_MAX, HOLD_MS_DEFAULT, HOLD_MS_MAX, QUANTITY_MAX, QUANTITY_MAX_DEFAULT, TIME_MS_MAX,
    TOTAL_MAX,
};
use crate::sale::{Command, Key, Outcome, ReservationId, Reserve, Split, User};

/// Replies to one run.
pub(super) const REPLIES: usize = 6;

/// What is read of a sale beside its counters. The first again in the end.
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

/// Whether a run is one of these.
pub(super) fn is_run(run: &[Command]) -> bool {
    matches!(run, [Command::FindClaim(_), ..])
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
    fields(&sale, &FIELDS, out);
    text_command(out, &["EXISTS", keys.counters()]);
    text_command(out, &["HMGET", keys.counters(), keys.total_field(), keys.sold_field()]);
    command(out, 2 + run.len());
    bulk(out, b"HMGET");
    bulk_pieces(out, &claims);
    for reserve in run.iter().filter_map(asked_of) {
        let user = reserve.user.as_ref().map_or("", User::as_str);
        match reserve.key.as_ref().map(Key::as_str) {
            Some(key) => bulk_pieces(out, &[user, OWNER_SEPARATOR, key]),
            // No claim has this name.
            None => bulk(out, b""),
        }
    }
    fields(&sale, &FIELDS[..1], out);
}

fn fields(key: &[&str; 4], names: &[&str], out: &mut Vec<u8>) {
    command(out, 2 + names.len());
    bulk(out, b"HMGET");
    bulk_pieces(out, key);
    names.iter().for_each(|name| bulk(out, name.as_bytes()));
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
    let state = State::read(counters, fields, again, now_ms);
    let (Some(state), Value::Array(claims)) = (state, claims) else {
        // As far as we know it has nothing to sell; the scripts know better.
        outcomes.extend(run.iter().map(|_| Outcome::NotClaimed));
        return Ok(Header { now_ms, free: Some(0) });
    };
    if claims.len() != run.len() {
        return Err(malformed());
    }
    let is_head = matches!(state.told, Outcome::Split { .. });
    for claim in claims {
        let id = text(claim).and_then(|id| ReservationId::from_text(id.as_bytes()).ok());
        outcomes.push(match (claim, id) {
            (Value::Nil, _) => state.told.clone(),
            _ if is_head => state.told.clone(),
            (_, Some(id)) => Outcome::Claimed(id),
            (_, None) => Outcome::NotClaimed,
        });
    }
    Ok(Header { now_ms: state.now_ms, free: Some(state.free) })
}

fn malformed() -> DecodeError {
    DecodeError::Refused("what was read for claims is no reply of ours".to_owned())
}

/// What a sale tells everybody.
struct State {
    now_ms: u64,
    free: u64,
    /// What a request without a claim is told.
    told: Outcome,
}

impl State {
    /// `None`: the scripts are to say what it is.
    fn read(counters: &Value, fields: &Value, again: &Value, now_ms: u64) -> Option<Self> {
        let (Value::Array(counters), Value::Array(fields), Value::Array(again)) =
            (counters, fields, again)
        else {
            return None;
        };
        let [total, sold] = &counters[..] else { return None };
        let (total, sold) = (whole(total, None, 0, TOTAL_MAX)?, whole(sold, None, 0, TOTAL_MAX)?);
        let [creation, held, confirmed, hold, opens, closes, limit, quantity, last, split] =
            &fields[..]
        else {
            return None;
        };
        whole(creation, Some(0), 0, CREATION_MAX)?;
        let held = whole(held, Some(0), 0, TOTAL_MAX)?;
        let confirmed = whole(confirmed, Some(0), 0, TOTAL_MAX)?;
        whole(hold, Some(HOLD_MS_DEFAULT), 1, HOLD_MS_MAX)?;
        let opens_at_ms = whole(opens, Some(0), 0, TIME_MS_MAX)?;
        let closes_at_ms = whole(closes, Some(TIME_MS_MAX), 0, TIME_MS_MAX)?;
        whole(limit, Some(0), 0, u32::MAX.into())?;
        whole(quantity, Some(QUANTITY_MAX_DEFAULT.into()), 1, QUANTITY_MAX.into())?;
        let last_ms = whole(last, Some(0), 0, TIME_MS_MAX)?;
        if held + confirmed > sold || again[..] != fields[..1] {
            return None;
        }
        let split = match split {
            Value::Nil => Split::Whole,
            split => Split::from_text(text(split)?)?,
        };
        let (now_ms, free) = (now_ms.max(last_ms), total.saturating_sub(sold));
        let told = match split {
            Split::Head { parts } => Outcome::Split { parts },
            _ if now_ms >= closes_at_ms => Outcome::Closed,
            _ if now_ms < opens_at_ms => Outcome::NotOpen { opens_at_ms },
            _ if free == 0 => Outcome::SoldOut { free: 0 },
            _ => Outcome::NotClaimed,
        };
        Some(Self { now_ms, free, told })
    }
}

/// A whole number from `min` to `max`, as we write them. What is missing has its default.
fn whole(value: &Value, default: Option<u64>, min: u64, max: u64) -> Option<u64> {
    let read = match value {
        Value::Nil => default,
        value => number(text(value)?),
    };
    read.filter(|read| (min..=max).contains(read))
}
