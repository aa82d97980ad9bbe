//! Looking for claims: many requests at once, in one transaction that only reads.
//!
//! A script would make a string of Lua of each claim, and would cost more than all else; `HMGET` only
//! looks it up. What the sale tells everybody is judged here, by the rules of `lua/sale.lua` and
//! `lua/reserve.lua`. Whatever is not as we write it is left to the scripts, which say what is wrong:
//! the request is told that it has no claim, so it asks for units.

use redis::Value;

use super::index;
use super::keys::SaleKeys;
use super::line::{OWNER_SEPARATOR, number};
use super::reply::{DecodeError, Header, classify, text};
use super::resp::{bulk, bulk_pieces, command, text_command};
use crate::limits::{
    CREATION_MAX, EPOCH_MAX, HOLD_MS_DEFAULT, HOLD_MS_MAX, QUANTITY_MAX, QUANTITY_MAX_DEFAULT,
    TIME_MS_MAX, TOTAL_MAX,
};
use crate::sale::{Command, Key, Outcome, ReservationId, Reserve, Split, User};

/// Replies to one run, from that to `MULTI` to that to `EXEC`.
pub(super) const REPLIES: usize = 7;

/// What is read of a sale beside its counters.
const FIELDS: [&str; 11] = [
    "held",
    "hold_ms",
    "opens_at_ms",
    "closes_at_ms",
    "limit_per_user",
    "quantity_max",
    "last_ms",
    "split",
    "confirmed",
    "creation",
    "epoch",
];

/// Whether a run is one of these.
pub(super) fn is_run(run: &[Command]) -> bool {
    matches!(run, [Command::FindClaim(_), ..])
}

/// Appends the commands for a run. `now_ms`: in place of Redis' own time. `epoch`: that of the
/// connection.
pub(super) fn encode(
    keys: &SaleKeys,
    run: &[Command],
    (now_ms, epoch): (Option<u64>, Option<u64>),
    out: &mut Vec<u8>,
) {
    text_command(out, &["MULTI"]);
    let text = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    text_command(out, &["ECHO", &format!("{}@{}", text(now_ms), text(epoch))]);
    text_command(out, &["TIME"]);
    text_command(out, &["HMGET", keys.counters(), keys.total_field(), keys.sold_field()]);
    let [_, sale, _, claims, ..] = keys.each();
    command(out, 2 + FIELDS.len());
    bulk(out, b"HMGET");
    bulk_pieces(out, &sale);
    FIELDS.iter().for_each(|field| bulk(out, field.as_bytes()));
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
    text_command(out, &["EXEC"]);
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
    // What can't be queued is why nothing of it was carried out; it would not have changed anything.
    let error = replies.iter().find_map(|reply| match reply {
        Value::ServerError(error) => Some(error),
        _ => None,
    });
    if let Some(error) = error {
        return Err(match classify(error) {
            DecodeError::Lost(text) => DecodeError::Refused(text),
            refused => refused,
        });
    }
    let Some(Value::Array(read)) = replies.last() else { return Err(malformed()) };
    let [echo, time, counters, fields, Value::Array(claims)] = &read[..] else {
        return Err(malformed());
    };
    if claims.len() != run.len() {
        return Err(malformed());
    }
    let (now_ms, epoch) = text(echo).and_then(|echo| echo.split_once('@')).ok_or_else(malformed)?;
    let now_ms = match number(now_ms) {
        Some(now_ms) => now_ms,
        None => index::time_ms(Some(time.clone()))?,
    };
    let state = State::read(counters, fields, number(epoch), now_ms);
    let told = state.as_ref().map_or(Outcome::NotClaimed, |state| state.told.clone());
    let split = matches!(told, Outcome::Split { .. });
    for claim in claims {
        let id = text(claim).and_then(|id| ReservationId::from_text(id.as_bytes()).ok());
        outcomes.push(match (claim, id) {
            _ if split => told.clone(),
            (Value::Nil, _) => told.clone(),
            (_, Some(id)) if state.is_some() => Outcome::Claimed(id),
            _ => Outcome::NotClaimed,
        });
    }
    // A sale of which nothing can be said has nothing to sell, as far as we know.
    let (now_ms, free) = state.map_or((now_ms, 0), |state| (state.now_ms, state.free));
    Ok(Header { now_ms, free: Some(free) })
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
    fn read(counters: &Value, fields: &Value, epoch: Option<u64>, now_ms: u64) -> Option<Self> {
        let (Value::Array(counters), Value::Array(fields)) = (counters, fields) else {
            return None;
        };
        let [total, sold] = &counters[..] else { return None };
        let (total, sold) = (whole(total, None, 0, TOTAL_MAX)?, whole(sold, None, 0, TOTAL_MAX)?);
        let [held, hold, opens, closes, limit, quantity, last, split, confirmed, creation, written] =
            &fields[..]
        else {
            return None;
        };
        let held = whole(held, Some(0), 0, TOTAL_MAX)?;
        whole(hold, Some(HOLD_MS_DEFAULT), 1, HOLD_MS_MAX)?;
        let opens_at_ms = whole(opens, Some(0), 0, TIME_MS_MAX)?;
        let closes_at_ms = whole(closes, Some(TIME_MS_MAX), 0, TIME_MS_MAX)?;
        whole(limit, Some(0), 0, u32::MAX.into())?;
        whole(quantity, Some(QUANTITY_MAX_DEFAULT.into()), 1, QUANTITY_MAX.into())?;
        let last_ms = whole(last, Some(0), 0, TIME_MS_MAX)?;
        let confirmed = whole(confirmed, Some(0), 0, TOTAL_MAX)?;
        whole(creation, Some(0), 0, CREATION_MAX)?;
        let written = whole(written, Some(0), 0, EPOCH_MAX)?;
        if held + confirmed > sold || epoch.is_some_and(|epoch| epoch < written) {
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
