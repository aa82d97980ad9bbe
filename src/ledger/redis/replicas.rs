//! `WAIT`: what a batch acknowledges, replicas have too.
//!
//! The command follows a batch's own commands on the same connection. Redis then compares the
//! offset of the replicas with its own offset after the command before (`c->woff` in server.c),
//! since 7.2 only if that command wrote something. So every script that may end in a promise writes
//! (`lua/sale.lua`), and a replayed reservation is as durable as a granted one.
//!
//! A result that too few replicas have may be lost with the primary, so it is not returned: it is
//! `unknown`, and a request with the same key finds out.

use redis::Value;

use super::decode_error::{DecodeError, error_text};
use super::resp::{bulk, bulk_number, command};
use crate::ledger::{Group, GroupReply};
use crate::sale::{Command, Outcome};

/// Whether one of a batch's commands can end in a promise.
pub fn are_needed<'a>(groups: impl IntoIterator<Item = &'a Group>) -> bool {
    let promises = |command: &Command| {
        !command.is_cheap() && !matches!(command, Command::Show | Command::Expire { .. })
    };
    groups.into_iter().any(|group| group.commands.iter().any(promises))
}

/// Encodes the command that waits until `count` replicas have the writes, or for `time_ms`.
pub(super) fn wait(count: u32, time_ms: u64, out: &mut Vec<u8>) {
    command(out, 3);
    bulk(out, b"WAIT");
    bulk_number(out, count.into());
    // 0 would wait for ever.
    bulk_number(out, time_ms.max(1));
}

/// How much of the time for the whole answer to spend in `WAIT`.
pub(super) fn wait_time_ms(answer_time_ms: u64) -> u64 {
    answer_time_ms * 3 / 4
}

/// Withdraws the results that too few replicas have. Returns whether enough have them.
pub fn judge<'a>(
    count: u32,
    answer: &Value,
    groups: impl IntoIterator<Item = &'a Group>,
    replies: &mut [Result<GroupReply, DecodeError>],
) -> bool {
    let text = match answer {
        Value::Int(have) if *have >= i64::from(count) => return true,
        Value::Int(have) => format!("only {have} of {count} replicas have it in time"),
        Value::ServerError(error) => format!("whether replicas have it: {}", error_text(error)),
        _ => "WAIT did not answer with a number".to_owned(),
    };
    for (group, reply) in groups.into_iter().zip(replies) {
        let promised = |reply: &GroupReply| {
            group.commands.iter().zip(&reply.outcomes).any(|(c, outcome)| is_promise(c, outcome))
        };
        if reply.as_ref().is_ok_and(promised) {
            *reply = Err(DecodeError::Lost(text.clone()));
        }
    }
    false
}

/// Whether a client relies on an outcome. A refusal only has to be true when it is sent.
pub fn is_promise(command: &Command, outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Granted { .. }
        | Outcome::Seated(_)
        | Outcome::Replayed(_)
        | Outcome::Reservation(_)
        | Outcome::AlreadyConfirmed
        | Outcome::AlreadyCancelled
        | Outcome::AlreadyRefunded
        | Outcome::Created(_)
        | Outcome::StockTaken { .. }
        | Outcome::Removed
        // If the sender lost it, the receiver would sell the units a second time.
        | Outcome::Sent { .. }
        | Outcome::Received { .. } => true,
        Outcome::Sale(_) => !command.only_looks(),
        Outcome::KeyReused
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
        | Outcome::NotConfirmed
        | Outcome::ExtensionLimit { .. }
        | Outcome::RemainingTooLarge { .. }
        | Outcome::Expired
        | Outcome::Released { .. }
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
        | Outcome::UnknownReservation => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sale::{ReservationId, SaleId};

    fn group(commands: &[Command]) -> Group {
        Group { sale: SaleId::new("s").unwrap(), commands: commands.to_vec() }
    }

    fn reply(outcomes: &[Outcome]) -> Result<GroupReply, DecodeError> {
        Ok(GroupReply { outcomes: outcomes.to_vec(), free: Some(1), now_ms: 1 })
    }

    #[test]
    fn unreplicated_promises_are_lost_and_refusals_stand() {
        let confirm = Command::Confirm(ReservationId(1));
        let groups =
            [group(&[Command::Show, confirm.clone()]), group(&[confirm]), group(&[Command::Show])];
        let of = |count: i64| {
            let mut replies = [
                reply(&[Outcome::Closed, Outcome::AlreadyConfirmed]),
                reply(&[Outcome::Expired]),
                reply(&[Outcome::Closed]),
            ];
            assert_eq!(judge(2, &Value::Int(count), &groups, &mut replies), count >= 2);
            replies.map(|reply| reply.is_ok())
        };
        assert_eq!(of(2), [true; 3]);
        assert_eq!(of(1), [false, true, true]);
        let mut replies = [reply(&[Outcome::Removed])];
        judge(1, &Value::Nil, [&group(&[Command::Remove])], &mut replies);
        assert!(matches!(&replies[0], Err(DecodeError::Lost(_))));
    }

    #[test]
    fn only_commands_that_may_promise_wait_for_replicas() {
        assert!(!are_needed([&group(&[Command::Show, Command::Expire { batch_max: 1 }])]));
        let show = Command::ShowReservation(ReservationId(1));
        assert!(are_needed([&group(&[Command::Show]), &group(&[show])]));
        let mut out = Vec::new();
        wait(1, 1500, &mut out);
        assert_eq!(out, b"*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$4\r\n1500\r\n");
    }
}
