//! The places of a split sale: its head, its parts, and the units that move between them.

use stampede::limits::{MOVED_MAX, TOTAL_MAX};
use stampede::sale::{Creation, Outcome, Reserve, SaleSpec, Split};

use super::{Change, Says, Verdict};
use crate::oracle::place::{Header, Place};

/// docs/internals/sales-in-parts.md: the head sells nothing, also to a key.
pub fn sells_nothing(place: &Place, _now_ms: u64, _reserve: &Reserve) -> Option<Outcome> {
    match place.header.spec.split {
        Split::Head { parts } => Some(Outcome::Split { parts }),
        Split::Whole | Split::Part { .. } => None,
    }
}

/// The part to which a purchase belongs, from 1: CRC-32 (IEEE 802.3) of the user, or of an
/// anonymous buyer's key, scaled to the number of parts. `None`: the parts take turns.
pub fn home(reserve: &Reserve, parts: u32) -> Option<u32> {
    let owner = match reserve.user_text() {
        "" => reserve.key.as_ref()?.as_str(),
        user => user,
    };
    let mut crc = u32::MAX;
    for byte in owner.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    Some(1 + ((u64::from(!crc) * u64::from(parts)) >> 32) as u32)
}

/// "Creation": a part that exists stays, unless an earlier creation has left it and nothing ever
/// happened to it. Then it becomes part of this creation.
pub fn create(place: &Place, spec: &SaleSpec, creation: Creation) -> Verdict {
    let Header { spec: old, transfers, .. } = &place.header;
    let has_moved = transfers.sent.iter().chain(&transfers.received).any(|units| *units > 0);
    let is_untouched = !has_moved && old.total == 0 && place.rows().is_empty();
    let is_earlier = place.header.creation < creation;
    if old.split != Split::Whole && is_untouched && is_earlier {
        let header = Header { term: place.header.term, ..Header::of(spec, creation) };
        Verdict { says: Says::Created, changes: vec![Change::Begin(Box::new(header))] }
    } else {
        Verdict { says: Says::Sale, changes: Vec::new() }
    }
}

/// "Transfers": free units go, if the sender of the command knows what went before. The answer is
/// all that ever went.
pub fn transfer_out(place: &Place, to: u32, known: u64, units: u64) -> Verdict {
    let Some(sent) = place.header.transfers.sent.get(to as usize).copied() else {
        return Verdict::only(Outcome::NotSplit);
    };
    let units = if sent == known { units.min(place.free()).min(MOVED_MAX - sent) } else { 0 };
    let gave = sent + units;
    if units == 0 {
        return Verdict::only(Outcome::Sent { gave });
    }
    let mut header = place.header.clone();
    header.transfers.sent[to as usize] = gave;
    header.spec.total -= units;
    let changes = vec![Change::Header(Box::new(header))];
    Verdict { says: Says::This(Outcome::Sent { gave }), changes }
}

/// What the other place ever sent, less what came before, arrives.
pub fn transfer_in(place: &Place, from: u32, gave: u64) -> Verdict {
    let Some(received) = place.header.transfers.received.get(from as usize).copied() else {
        return Verdict::only(Outcome::NotSplit);
    };
    let units = gave.min(MOVED_MAX).saturating_sub(received);
    if units == 0 {
        return Verdict::only(Outcome::Received { units });
    }
    let mut header = place.header.clone();
    if header.spec.total + units > TOTAL_MAX {
        return Verdict::only(Outcome::TotalTooLarge);
    }
    header.transfers.received[from as usize] = received + units;
    header.spec.total += units;
    let changes = vec![Change::Header(Box::new(header))];
    Verdict { says: Says::This(Outcome::Received { units }), changes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::testing::{ask, outcomes};
    use stampede::sale::{Command, home_part};

    fn part(total: u64) -> SaleSpec {
        SaleSpec { split: Split::Part { of: 2 }, ..SaleSpec::with_total(total) }
    }

    #[test]
    fn every_server_knows_the_same_home() {
        for (user, key) in [("ann", ""), ("李雷", "k"), ("", "k1"), ("bob", "")] {
            let Command::Reserve(reserve) = ask(1, 1, user, key) else { unreachable!() };
            let owner = if user.is_empty() { key } else { user };
            for parts in [2, 3, 4, 32] {
                assert_eq!(home(&reserve, parts), Some(home_part(owner, parts)), "{owner}");
            }
        }
        let Command::Reserve(nobody) = ask(1, 1, "", "") else { unreachable!() };
        assert_eq!(home(&nobody, 4), None);
    }

    #[test]
    fn the_head_sells_nothing_and_keeps_its_stock() {
        let split = Split::Head { parts: 2 };
        let told = outcomes(
            SaleSpec { split, ..SaleSpec::with_total(9) },
            &[(0, ask(1, 1, "ann", "k")), (0, Command::AddStock(2)), (0, Command::Show)],
        );
        assert_eq!(told[0], Outcome::Split { parts: 2 });
        assert!(matches!(&told[2], Outcome::Sale(view) if view.transfers.stock == Some(11)));
    }

    #[test]
    fn a_repeated_or_late_transfer_moves_nothing() {
        let out = |to, gave, units| Command::TransferOut { to, gave, units };
        let told = outcomes(
            part(5),
            &[
                (0, ask(1, 2, "", "")),
                (0, out(2, 0, 9)),
                (0, out(2, 0, 9)),
                (0, out(3, 0, 1)),
                (0, Command::TransferIn { from: 2, gave: 4 }),
                (0, Command::TransferIn { from: 2, gave: 4 }),
                (0, Command::TransferIn { from: 2, gave: 3 }),
                (0, ask(2, 5, "", "")),
                (0, ask(2, 4, "", "")),
            ],
        );
        assert_eq!((&told[1], &told[2]), (&Outcome::Sent { gave: 3 }, &Outcome::Sent { gave: 3 }));
        assert_eq!(told[3], Outcome::NotSplit);
        let received = [4, 0, 0].map(|units| Outcome::Received { units });
        assert_eq!(told[4..7], received);
        assert_eq!(told[7], Outcome::SoldOut { free: 4 });
        assert!(matches!(told[8], Outcome::Granted { .. }));
    }

    #[test]
    fn only_an_untouched_part_of_an_earlier_creation_is_adopted() {
        let create = |number, total| Command::CreatePart {
            spec: SaleSpec { limit_per_user: 7, ..part(total) },
            creation: Creation(number),
        };
        let limit = |outcome: &Outcome| match outcome {
            Outcome::Created(view) => (true, view.spec.limit_per_user),
            Outcome::Sale(view) => (false, view.spec.limit_per_user),
            outcome => panic!("{outcome:?}"),
        };
        let told = outcomes(part(0), &[(0, create(3, 0)), (0, create(3, 0)), (0, create(2, 0))]);
        assert_eq!(told.iter().map(limit).collect::<Vec<_>>(), [(true, 7), (false, 7), (false, 7)]);
        let touched = (0, Command::TransferIn { from: 0, gave: 1 });
        let told = outcomes(part(0), &[touched, (0, create(3, 0))]);
        assert_eq!(limit(&told[1]), (false, 0));
    }
}
