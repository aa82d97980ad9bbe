//! Decodes the replies of Redis into outcomes.

use redis::Value;

use super::codec::{replies_to, runs, settle_of};
use super::decode_error::{DecodeError, classify};
use super::line::{number, parse_value};
use super::read_queries;
use super::sell;
use super::value::Header;
use crate::ledger::{Group, GroupReply};
use crate::limits::MOVED_MAX;
use crate::sale::{
    Command, Creation, Outcome, Reservation, ReservationId, Rules, SaleSpec, SaleView, Split,
    Transfers, TypeName, TypeUnits, Types,
};

/// Decodes the replies to a group: the number that [`Codec::encode`](super::Codec::encode)
/// returned, in order.
///
/// If one part of a group failed, the whole group fails. If another part changed something, the
/// group is [`Lost`](DecodeError::Lost).
pub fn decode(group: &Group, replies: &[Value]) -> Result<GroupReply, DecodeError> {
    decode_behind(group, None, replies)
}

/// The same for a group whose first purchases were sold by a shared call: `sold` is that call's
/// reply about them.
fn decode_behind(
    group: &Group,
    mut sold: Option<Result<&[Value], DecodeError>>,
    replies: &[Value],
) -> Result<GroupReply, DecodeError> {
    let mut outcomes = Vec::with_capacity(group.commands.len());
    let mut state = Header { now_ms: 0, free: None };
    let mut failure = None;
    let mut changed = false;
    let mut rest = replies;
    for run in runs(&group.commands) {
        let values = match sold.take() {
            Some(values) => values,
            None => {
                let (own, behind) = rest.split_at(replies_to(run).min(rest.len()));
                rest = behind;
                if run[0].is_cheap() && !own.is_empty() {
                    match read_queries::decode(run, own, &mut outcomes) {
                        Ok(header) => state = header,
                        Err(error) => failure = worse(failure, error),
                    }
                    continue;
                }
                let Some(reply) = own.first() else {
                    return Err(malformed("fewer replies than commands"));
                };
                values(run, reply)
            }
        };
        match values {
            Err(error) => failure = worse(failure, error),
            Ok(values) => {
                let before = outcomes.len();
                state = decode_run(run, values, &mut outcomes)?;
                changed |= run.iter().zip(&outcomes[before..]).any(|(c, o)| may_change(c, o));
            }
        }
    }
    match failure {
        None => Ok(GroupReply { outcomes, free: state.free, now_ms: state.now_ms }),
        Some(failure) if !changed => Err(failure),
        Some(failure) => Err(DecodeError::Lost(format!("part of it was carried out: {failure}"))),
    }
}

/// Decodes the replies to several groups: the number that
/// [`Codec::encode_all`](super::Codec::encode_all) returned, in order.
pub fn decode_all(groups: &[&Group], replies: &[Value]) -> Vec<Result<GroupReply, DecodeError>> {
    let (mut all, mut rest) = (Vec::with_capacity(groups.len()), replies);
    sell::calls(groups).for_each(|call| decode_call(call, &mut rest, &mut all));
    all
}

/// The same for the groups of one of the [`calls`](sell::calls): takes its replies from the front
/// of `rest`, and appends the results.
pub(super) fn decode_call(
    groups: &[&Group],
    replies: &mut &[Value],
    all: &mut Vec<Result<GroupReply, DecodeError>>,
) {
    let sells = groups.iter().any(|group| sell::run_of(group).is_some());
    let shared = if sells { replies.split_off_first() } else { None };
    let mut each: &[Value] = match shared {
        Some(Value::Array(list)) => list,
        _ => &[],
    };
    for group in groups {
        let mut count = runs(&group.commands).map(replies_to).sum::<usize>();
        let sold = sell::run_of(group).map(|_| {
            count -= 1;
            match shared {
                Some(Value::ServerError(error)) => Err(classify(error)),
                _ => next_of(&mut each),
            }
        });
        let (own, behind) = replies.split_at(count.min(replies.len()));
        *replies = behind;
        all.push(decode_behind(group, sold, own));
    }
}

/// The reply of a selling call about the next of its sales: the number of values and the values, or
/// an error.
fn next_of<'a>(rest: &mut &'a [Value]) -> Result<&'a [Value], DecodeError> {
    let values = match rest.split_off_first() {
        Some(Value::ServerError(error)) => return Err(classify(error)),
        Some(Value::Int(count)) => usize::try_from(*count).ok(),
        _ => None,
    };
    let values = values.and_then(|count| rest.split_off(..count));
    values.ok_or_else(|| malformed("another number of values than it says"))
}

/// The values in the reply to a run, or its error.
fn values<'a>(run: &[Command], reply: &'a Value) -> Result<&'a [Value], DecodeError> {
    match (reply, &run[0]) {
        (Value::ServerError(error), _) => Err(classify(error)),
        (Value::Array(list), Command::Reserve(_)) => {
            let mut rest = &list[..];
            let values = next_of(&mut rest)?;
            match rest {
                [] => Ok(values),
                _ => Err(malformed("another number of values than it says")),
            }
        }
        (Value::Array(list), _) => Ok(list),
        _ => Err(malformed("no array")),
    }
}

/// Whether a command with this outcome may have changed something. If not, it may be reported as
/// not carried out.
pub(super) fn may_change(command: &Command, outcome: &Outcome) -> bool {
    match (command, outcome) {
        (command, _) if command.only_looks() => false,
        (_, Outcome::Released { units, .. } | Outcome::Received { units }) => *units > 0,
        (
            _,
            Outcome::Granted { .. }
            | Outcome::Seated(_)
            | Outcome::Reservation(_)
            | Outcome::Sale(_)
            | Outcome::Created(_)
            | Outcome::StockTaken { .. }
            | Outcome::Removed
            | Outcome::Sent { .. },
        ) => true,
        (
            _,
            Outcome::Replayed(_)
            | Outcome::KeyReused
            | Outcome::NotClaimed
            | Outcome::Claimed(_)
            | Outcome::Unclear
            | Outcome::LimitReached { .. }
            | Outcome::SoldOut { .. }
            | Outcome::NoSeats(_)
            | Outcome::TypeSoldOut { .. }
            | Outcome::LinesRequired
            | Outcome::LinesUnexpected
            | Outcome::UnknownType { .. }
            | Outcome::NotOpen { .. }
            | Outcome::Closed
            | Outcome::UserRequired
            | Outcome::QuantityTooLarge { .. }
            | Outcome::QuantityTooSmall { .. }
            | Outcome::ReservationsExhausted { .. }
            | Outcome::UserReservationsExhausted { .. }
            | Outcome::AlreadyConfirmed
            | Outcome::AlreadyCancelled
            | Outcome::AlreadyRefunded
            | Outcome::NotConfirmed
            | Outcome::ExtensionLimit { .. }
            | Outcome::RemainingTooLarge { .. }
            | Outcome::Expired
            | Outcome::TotalTooLarge
            | Outcome::TooFewFree { .. }
            | Outcome::ClosesTooEarly { .. }
            | Outcome::QuantityMaxTooSmall { .. }
            | Outcome::QuantityMinTooLarge { .. }
            | Outcome::BoundOfParts
            | Outcome::TooManyToCount { .. }
            | Outcome::NotClosed
            | Outcome::StillHeld { .. }
            | Outcome::HasSold { .. }
            | Outcome::TotalRequired
            | Outcome::Split { .. }
            | Outcome::NotSplit
            | Outcome::UnknownSale
            | Outcome::UnknownReservation,
        ) => false,
    }
}

/// Of two failures in one group, the one that leaves more open.
fn worse(a: Option<DecodeError>, b: DecodeError) -> Option<DecodeError> {
    let rank = |error: &DecodeError| match error {
        DecodeError::Refused(_) => 0,
        DecodeError::NoScript => 1,
        DecodeError::Lost(_) => 2,
    };
    Some(match a {
        Some(a) if rank(&a) >= rank(&b) => a,
        _ => b,
    })
}

fn malformed(what: &str) -> DecodeError {
    DecodeError::Lost(format!("not a reply of ours: {what}"))
}

/// Reads the elements of one reply in order.
struct Elements<'a>(std::slice::Iter<'a, Value>);

impl<'a> Elements<'a> {
    fn of(values: &'a [Value]) -> Result<(Header, Self), DecodeError> {
        let mut elements = Self(values.iter());
        let now_ms = elements.number()?;
        let free = match elements.0.next() {
            Some(Value::Int(-1)) => None,
            Some(Value::Int(free)) => {
                Some(u64::try_from(*free).map_err(|_| malformed("a negative stock"))?)
            }
            _ => return Err(malformed("no stock")),
        };
        Ok((Header { now_ms, free }, elements))
    }

    fn number<T: TryFrom<i64>>(&mut self) -> Result<T, DecodeError> {
        match self.0.next() {
            Some(Value::Int(n)) => T::try_from(*n).map_err(|_| malformed("number out of range")),
            _ => Err(malformed("no number where one belongs")),
        }
    }

    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        match self.0.next() {
            Some(Value::BulkString(bytes)) => Ok(bytes),
            Some(Value::SimpleString(text)) => Ok(text.as_bytes()),
            _ => Err(malformed("no text where some belongs")),
        }
    }

    fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| malformed("text that is not UTF-8"))
    }

    fn type_name(&mut self) -> Result<TypeName, DecodeError> {
        let text = self.text()?;
        TypeName::new(text).map_err(|_| malformed(text))
    }

    fn reservation(&mut self, id: ReservationId) -> Result<Box<Reservation>, DecodeError> {
        let text = self.text()?;
        parse_value(id, text)
            .map(|(reservation, _)| Box::new(reservation))
            .ok_or_else(|| malformed(&format!("the reservation {id} is {text:?}")))
    }

    fn view(&mut self, now_ms: u64) -> Result<Box<SaleView>, DecodeError> {
        let (total, sold, held) = (self.number()?, self.number::<u64>()?, self.number()?);
        let mut spec = SaleSpec {
            total,
            hold_ms: self.number()?,
            opens_at_ms: self.number()?,
            closes_at_ms: self.number()?,
            limit_per_user: self.number()?,
            quantity_max: self.number()?,
            split: Split::Whole,
            rules: Default::default(),
            types: Types::default(),
            plan: None,
        };
        let creation = Creation(self.number()?);
        spec.rules = Rules {
            extend_max_ms: self.number()?,
            quantity_min: self.number()?,
            // -1: it has no bound of its own.
            reservations_max: u64::try_from(self.number::<i64>()?).ok(),
            reservations_per_user_max: self.number()?,
        };
        let mut by_type = Vec::new();
        let types = self.text()?;
        if !types.is_empty() {
            spec.types = Types::from_text(types).ok_or_else(|| malformed(types))?;
            for _ in 0..spec.types.len() {
                by_type.push(TypeUnits { held: self.number()?, confirmed: self.number()? });
            }
        }
        let mut moves = Transfers::default();
        if self.0.len() > 0 {
            let text = self.text()?;
            spec.split = Split::from_text(text).ok_or_else(|| malformed(text))?;
            moves = Transfers::none(spec.split);
            for units in moves.sent.iter_mut().chain(&mut moves.received) {
                *units = self.number()?;
                // Beyond it the scripts refuse the sale, and a sum might not be a number any more.
                if *units > MOVED_MAX {
                    return Err(malformed("more units moved than can be"));
                }
            }
            if let Split::Head { .. } = spec.split {
                // 0.1.0 wrote no stock.
                moves.stock = match self.text()? {
                    "" => None,
                    text => Some(number(text).ok_or_else(|| malformed(text))?),
                };
            }
        }
        let confirmed = sold.checked_sub(held).ok_or_else(|| malformed("more held than sold"))?;
        Ok(Box::new(SaleView {
            spec,
            held,
            confirmed,
            by_type,
            now_ms,
            transfers: moves,
            creation,
        }))
    }
}

fn decode_run(
    run: &[Command],
    values: &[Value],
    outcomes: &mut Vec<Outcome>,
) -> Result<Header, DecodeError> {
    let (header, mut elements) = Elements::of(values)?;
    let Some(free) = header.free else {
        if elements.0.len() > 0 && matches!(run, [Command::Remove | Command::Reset { .. }]) {
            outcomes.push(one_outcome(&run[0], header.now_ms, &mut elements)?);
            return Ok(header);
        }
        outcomes.extend(run.iter().map(|_| Outcome::UnknownSale));
        return Ok(header);
    };
    match &run[0] {
        Command::Reserve(_) => reserve_outcomes(run.len(), &mut elements, outcomes)?,
        one if settle_of(one).is_some() => settle_outcomes(run, &mut elements, outcomes)?,
        one => {
            let outcome = one_outcome(one, header.now_ms, &mut elements)?;
            let shown = match &outcome {
                Outcome::Sale(view) | Outcome::Created(view) | Outcome::StockTaken { view, .. } => {
                    Some(view.free())
                }
                _ => None,
            };
            if shown.is_some_and(|shown| shown != free) {
                return Err(malformed("two figures of what is left"));
            }
            outcomes.push(outcome);
        }
    }
    match elements.0.next() {
        None => Ok(header),
        Some(_) => Err(malformed("more than its outcomes need")),
    }
}

/// The outcomes of a run of reserve commands, in the letters of `lua/reserve.lua`.
fn reserve_outcomes(
    count: usize,
    elements: &mut Elements<'_>,
    outcomes: &mut Vec<Outcome>,
) -> Result<(), DecodeError> {
    let expires_at_ms = elements.number()?;
    let codes = elements.bytes()?;
    if codes == b"G" {
        outcomes.resize(outcomes.len() + count, Outcome::Granted { expires_at_ms });
        return Ok(());
    }
    if codes.len() != count {
        return Err(malformed("another number of outcomes than of commands"));
    }
    for code in codes {
        outcomes.push(match code {
            b'G' => Outcome::Granted { expires_at_ms },
            b'S' => Outcome::SoldOut { free: 0 },
            b's' => Outcome::SoldOut { free: elements.number()? },
            b'T' => Outcome::TypeSoldOut { name: elements.type_name()?, free: elements.number()? },
            b'l' => Outcome::LinesRequired,
            b'm' => Outcome::LinesUnexpected,
            b'n' => Outcome::UnknownType { name: elements.type_name()? },
            b'R' => {
                let id = ReservationId::from_text(elements.bytes()?)
                    .map_err(|_| malformed("a claim that names no reservation id"))?;
                Outcome::Replayed(elements.reservation(id)?)
            }
            b'K' => Outcome::KeyReused,
            b'L' => Outcome::LimitReached { limit_per_user: elements.number()? },
            b'O' => Outcome::NotOpen { opens_at_ms: elements.number()? },
            b'C' => Outcome::Closed,
            b'U' => Outcome::UserRequired,
            b'Q' => Outcome::QuantityTooLarge { quantity_max: elements.number()? },
            b'q' => Outcome::QuantityTooSmall { quantity_min: elements.number()? },
            b'X' => Outcome::ReservationsExhausted { reservations_max: elements.number()? },
            b'Y' => {
                Outcome::UserReservationsExhausted { reservations_per_user_max: elements.number()? }
            }
            b'P' => Outcome::Split { parts: elements.number()? },
            _ => return Err(malformed("an unknown letter")),
        });
    }
    Ok(())
}

/// The outcomes of a run of commands about single reservations, in the letters of
/// `lua/reservation_ops.lua`.
fn settle_outcomes(
    run: &[Command],
    elements: &mut Elements<'_>,
    outcomes: &mut Vec<Outcome>,
) -> Result<(), DecodeError> {
    let codes = elements.bytes()?;
    if codes.len() != run.len() {
        return Err(malformed("another number of outcomes than of commands"));
    }
    for (code, (_, id)) in codes.iter().zip(run.iter().filter_map(settle_of)) {
        outcomes.push(match code {
            b'R' => Outcome::Reservation(elements.reservation(id)?),
            b'P' => Outcome::AlreadyConfirmed,
            b'X' => Outcome::AlreadyCancelled,
            b'F' => Outcome::AlreadyRefunded,
            b'H' => Outcome::NotConfirmed,
            b'E' => Outcome::Expired,
            b'U' => Outcome::UserRequired,
            b'L' => Outcome::LimitReached { limit_per_user: elements.number()? },
            b'M' => Outcome::ExtensionLimit { expires_at_ms_max: elements.number()? },
            b'T' => Outcome::RemainingTooLarge { quantity: elements.number()? },
            b'l' => Outcome::LinesRequired,
            b'm' => Outcome::LinesUnexpected,
            b'N' => Outcome::UnknownReservation,
            _ => return Err(malformed("an unknown letter")),
        });
    }
    Ok(())
}

/// The outcome of any other command.
fn one_outcome(
    one: &Command,
    now_ms: u64,
    elements: &mut Elements<'_>,
) -> Result<Outcome, DecodeError> {
    Ok(match (elements.text()?, one) {
        ("released", Command::Expire { .. }) => Outcome::Released {
            units: elements.number()?,
            more: elements.number::<u8>()? != 0,
            next_due_ms: if elements.0.len() > 0 { Some(elements.number()?) } else { None },
        },
        ("sale", _) => Outcome::Sale(elements.view(now_ms)?),
        ("created", Command::Create(_) | Command::CreatePart { .. }) => {
            Outcome::Created(elements.view(now_ms)?)
        }
        ("total_too_large", Command::AddStock(_) | Command::TransferIn { .. }) => {
            Outcome::TotalTooLarge
        }
        ("stock_taken", Command::TakeStock { .. }) => {
            Outcome::StockTaken { units: elements.number()?, view: elements.view(now_ms)? }
        }
        ("too_few_free", Command::TakeStock { .. }) => {
            Outcome::TooFewFree { free: elements.number()? }
        }
        ("closes_too_early", Command::ChangeTerms(_)) => {
            Outcome::ClosesTooEarly { opens_at_ms: elements.number()? }
        }
        ("quantity_max_too_small", Command::ChangeTerms(_)) => {
            Outcome::QuantityMaxTooSmall { quantity_min: elements.number()? }
        }
        ("quantity_min_too_large", Command::ChangeTerms(_)) => {
            Outcome::QuantityMinTooLarge { quantity_max: elements.number()? }
        }
        ("bound_of_parts", Command::ChangeTerms(_)) => Outcome::BoundOfParts,
        ("too_many_to_count", Command::ChangeTerms(_)) => {
            Outcome::TooManyToCount { units: elements.number()? }
        }
        ("gave", Command::TransferOut { .. }) => Outcome::Sent { gave: elements.number()? },
        ("took", Command::TransferIn { .. }) => Outcome::Received { units: elements.number()? },
        ("not_split", Command::TransferOut { .. } | Command::TransferIn { .. }) => {
            Outcome::NotSplit
        }
        ("removed", Command::Remove | Command::Reset { .. }) => Outcome::Removed,
        ("has_sold", Command::Reset { .. }) => {
            Outcome::HasSold { held: elements.number()?, confirmed: elements.number()? }
        }
        ("total_required", Command::Reset { .. }) => Outcome::TotalRequired,
        ("not_closed", Command::Remove) => Outcome::NotClosed,
        ("still_held", Command::Remove) => Outcome::StillHeld { held: elements.number()? },
        (word, _) => return Err(malformed(word)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::{Reserve, SaleId, Status, User};

    fn group(reserves: u128, others: &[Command]) -> Group {
        let ask = |n| {
            let id = ReservationId(n);
            Command::Reserve(Reserve {
                id,
                quantity: 1,
                user: None,
                key: None,
                trace: None,
                details: None,
            })
        };
        let commands = (0..reserves).map(ask).chain(others.iter().cloned()).collect();
        Group { sale: SaleId::new("ticket").unwrap(), commands }
    }

    fn replies(resp: &str) -> Vec<Value> {
        let (mut bytes, mut parser, mut list) = (resp.as_bytes(), redis::Parser::new(), Vec::new());
        while let Ok(value) = parser.parse_value(&mut bytes) {
            list.push(value);
        }
        list
    }

    fn decode_text(group: &Group, resp: &str) -> Result<GroupReply, DecodeError> {
        decode(group, &replies(resp))
    }

    #[test]
    fn reserve_replies_decode_to_outcomes_in_order() {
        let id = ReservationId(7);
        let resp = format!(
            "*9\r\n:8\r\n:5\r\n:2\r\n:99\r\n$4\r\nGRsO\r\n$26\r\n{id}\r\n$24\r\nheld 3 4 ann smith x\tkey\r\n"
        );
        let resp = resp + ":2\r\n:44\r\n";
        let got = decode_text(&group(4, &[]), &resp).unwrap();
        assert_eq!((got.free, got.now_ms), (Some(2), 5));
        let user = User::new("ann smith x").ok();
        let replayed = Reservation {
            id,
            user,
            quantity: 3,
            status: Status::Held,
            expires_at_ms: 4,
            details: None,
        };
        assert_eq!(
            got.outcomes,
            [
                Outcome::Granted { expires_at_ms: 99 },
                Outcome::Replayed(Box::new(replayed)),
                Outcome::SoldOut { free: 2 },
                Outcome::NotOpen { opens_at_ms: 44 }
            ]
        );
    }

    #[test]
    fn reservation_replies_decode_to_outcomes_in_order() {
        let id = ReservationId(7);
        let commands = [Command::Confirm(id), Command::Cancel(id), Command::Confirm(id)];
        let resp = "*5\r\n:5\r\n:2\r\n$3\r\nRPL\r\n$15\r\nconfirmed 3 4 x\r\n:9\r\n";
        let got = decode_text(&group(0, &commands), resp).unwrap();
        let user = User::new("x").ok();
        let stands = Reservation {
            id,
            user,
            quantity: 3,
            status: Status::Confirmed,
            expires_at_ms: 4,
            details: None,
        };
        assert_eq!(
            got.outcomes,
            [
                Outcome::Reservation(Box::new(stands)),
                Outcome::AlreadyConfirmed,
                Outcome::LimitReached { limit_per_user: 9 }
            ]
        );
    }

    #[test]
    fn a_removed_sale_is_not_an_unknown_sale() {
        let got =
            decode_text(&group(0, &[Command::Remove]), "*3\r\n:5\r\n:-1\r\n$7\r\nremoved\r\n");
        assert_eq!(got.map(|got| (got.free, got.outcomes)), Ok((None, vec![Outcome::Removed])));
    }

    #[test]
    fn every_command_to_an_unknown_sale_gets_unknown_sale() {
        let replies = "*3\r\n:2\r\n:5\r\n:-1\r\n*2\r\n:5\r\n:-1\r\n";
        let got = decode_text(&group(2, &[Command::Show]), replies).unwrap();
        assert_eq!((got.free, got.outcomes), (None, vec![Outcome::UnknownSale; 3]));
    }

    #[test]
    fn each_sale_of_a_call_has_its_own_answer() {
        let groups =
            [3, 1, 1, 1, 0, 1].map(|n| group(n, if n == 0 { &[Command::Show] } else { &[] }));
        let shared = "*14\r\n:4\r\n:5\r\n:7\r\n:99\r\n$1\r\nG\r\n-STAMPEDE damaged\r\n-UNDONE OOM x\r\n\
            -HALFWAY NOPERM x\r\n:5\r\n:5\r\n:2\r\n:99\r\n$1\r\ns\r\n:2\r\n";
        let show = "*2\r\n:5\r\n:-1\r\n";
        let got = decode_all(&groups.each_ref(), &replies(&[shared, show].concat()));
        let granted = Outcome::Granted { expires_at_ms: 99 };
        let reply = |outcomes: &[Outcome], free| {
            Ok(GroupReply { outcomes: outcomes.to_vec(), free, now_ms: 5 })
        };
        assert_eq!(got[0], reply(&[granted.clone(), granted.clone(), granted], Some(7)));
        assert_eq!(got[1], Err(DecodeError::Refused("STAMPEDE damaged".to_owned())));
        assert_eq!(got[2], Err(DecodeError::Refused("OOM x".to_owned())));
        assert!(matches!(&got[3], Err(DecodeError::Lost(text)) if text.contains("NOPERM")));
        assert_eq!(got[4], reply(&[Outcome::UnknownSale], None));
        assert_eq!(got[5], reply(&[Outcome::SoldOut { free: 2 }], Some(2)));

        // An error concerns all sales of the call. A short reply concerns those after its end.
        let noscript =
            decode_all(&groups.each_ref(), &replies(&["-NOSCRIPT x\r\n", show].concat()));
        assert_eq!(noscript.iter().filter(|it| **it == Err(DecodeError::NoScript)).count(), 5);
        let short = "*6\r\n:4\r\n:5\r\n:7\r\n:99\r\n$1\r\nG\r\n:9\r\n";
        let short = decode_all(&groups.each_ref(), &replies(&[short, show].concat()));
        let lost = short.iter().filter(|it| matches!(it, Err(DecodeError::Lost(_))));
        assert!(short[0].is_ok() && short[4].is_ok() && lost.count() == 4, "{short:?}");
    }

    #[test]
    fn an_unexpected_reply_counts_as_lost() {
        for resp in [
            "",
            "+OK\r\n",
            "*0\r\n",
            "*5\r\n:4\r\n:1\r\n:1\r\n:1\r\n$2\r\nGG\r\n",
            "*5\r\n:4\r\n:1\r\n:1\r\n:1\r\n$1\r\n!\r\n",
            "*5\r\n:4\r\n:1\r\n:-2\r\n:1\r\n$1\r\nG\r\n",
            "*6\r\n:5\r\n:1\r\n:1\r\n:1\r\n$1\r\nG\r\n:1\r\n",
            "*5\r\n:3\r\n:1\r\n:1\r\n:1\r\n$1\r\nG\r\n",
            "*2\r\n:9223372036854775807\r\n:1\r\n",
            "*5\r\n:4\r\n:1\r\n:1\r\n:1\r\n$1\r\nR\r\n",
        ] {
            let got = decode_text(&group(1, &[]), resp);
            assert!(matches!(got, Err(DecodeError::Lost(_))), "{resp:?}: {got:?}");
        }
    }

    #[test]
    fn only_errors_that_prove_no_effect_are_refusals() {
        use DecodeError::{Lost, NoScript, Refused};
        let one = group(1, &[]);
        let error = |resp: &str| decode_text(&one, resp).unwrap_err();
        assert_eq!(error("-NOSCRIPT No matching script.\r\n"), NoScript);
        for refused in ["OOM x", "MISCONF x", "READONLY x", "LOADING x", "NOPERM x", "MOVED 1 x"] {
            assert_eq!(error(&format!("-{refused}\r\n")), Refused(refused.to_owned()));
        }
        let fenced = error("-FENCED 7 is the epoch\r\n");
        assert_eq!((fenced.fenced_by(), fenced.is_demotion()), (Some(7), true));
        assert!(matches!(error("-NOPERM x script: 1, on @user_script:9.\r\n"), Lost(_)));
        let undone = error("-UNDONE READONLY x script: 1, on @user_script:9.\r\n");
        assert!(undone.is_demotion(), "{undone:?}");
        assert!(matches!(error("-ERR x\r\n"), Lost(_)));
    }

    #[test]
    fn a_partly_executed_group_counts_as_lost() {
        let two = group(1, &[Command::Show]);
        let reply = |code| format!("*5\r\n:4\r\n:1\r\n:1\r\n:1\r\n$1\r\n{code}\r\n");
        for error in ["-NOSCRIPT x\r\n", "-OOM x\r\n"] {
            let granted = decode_text(&two, &(reply("G") + error));
            assert!(matches!(granted, Err(DecodeError::Lost(_))), "{granted:?}");
            // A refusal has no effect, so only the error counts.
            let refused = decode_text(&two, &(reply("C") + error));
            assert_eq!(refused, decode_text(&group(1, &[]), error));
        }
        let both = decode_text(&two, "-NOSCRIPT x\r\n-LOADING x\r\n");
        assert_eq!(both, Err(DecodeError::NoScript));
        let view = "*17\r\n:1\r\n:1\r\n$4\r\nsale\r\n:1\r\n:0\r\n:0\r\n:1\r\n:0\r\n:9\r\n:0\r\n:1\r\n:0\r\n:5\r\n:1\r\n:0\r\n:0\r\n$0\r\n\r\n";
        let got = decode_text(&two, &format!("-OOM x\r\n{view}"));
        assert_eq!(got, Err(DecodeError::Refused("OOM x".to_owned())));
        assert!(decode_text(&group(0, &[Command::Show]), view).is_ok());
        let other = view.replacen("*17\r\n:1\r\n:1\r\n", "*17\r\n:1\r\n:2\r\n", 1);
        let got = decode_text(&group(0, &[Command::Show]), &other);
        assert!(matches!(got, Err(DecodeError::Lost(_))), "{got:?}");
        for (moved, is_right) in [(MOVED_MAX, true), (MOVED_MAX + 1, false)] {
            let head = view.replacen("*17", "*25", 1) + "$6\r\ninto 2\r\n:0\r\n";
            let head = format!("{head}:{moved}\r\n:0\r\n:0\r\n:0\r\n:0\r\n$1\r\n1\r\n");
            let got = decode_text(&group(0, &[Command::Show]), &head);
            assert_eq!(got.is_ok(), is_right, "{got:?}");
        }
    }
}
