//! Histories of a seat sale beside a second model that keeps every seat of every reservation and
//! compares all of them with each other.

use std::collections::BTreeMap;

use super::super::Machine;
use crate::limits::QUANTITY_MAX_DEFAULT;
use crate::sale::command::{Command, Outcome, Reserve};
use crate::sale::details::Details;
use crate::sale::id::{Key, ReservationId, User};
use crate::sale::remaining::Remaining;
use crate::sale::reservation::{Reservation, Status};
use crate::sale::seats::{
    Asked, Journey, Kind, Plan, Ride, Seat, SeatRefusal, Seats, StopName, Wish,
};
use crate::sale::spec::SaleSpec;
use crate::sale::types::{Lines, TypeName};
use proptest::prelude::*;

const STOPS: u8 = 5;
const HOLD_MS: u64 = 100;

fn plan() -> Plan {
    let text =
        "1;S0,S1,S2,S3,S4;900,1000,1100,1200;2:second:1-7:AB CD;1:first:1-2:A C;3:second:1-1:ABCD";
    Plan::from_text(text).unwrap()
}

fn spec() -> SaleSpec {
    SaleSpec { hold_ms: HOLD_MS, limit_per_user: 9, ..SaleSpec::with_plan(plan()) }
}

fn stop(n: u8) -> StopName {
    StopName::new(&format!("S{n}")).unwrap()
}

fn request(id: u128, from: u8, to: u8, class: &str, quantity: u32, asked: Asked) -> Reserve {
    let journey = Some(Journey { from: stop(from), to: stop(to) });
    let lines = Lines::new([(TypeName::new(class).unwrap(), quantity)]).ok();
    let ride = Some(Box::new(Ride { journey, asked, seats: None }));
    Reserve {
        id: ReservationId(id),
        quantity,
        user: User::new(&format!("u{}", id % 7)).ok(),
        key: Key::new(&format!("k{id}")).ok(),
        details: Details { lines, ride, ..Details::default() }.boxed(),
        trace: None,
    }
}

fn buy(id: u128, from: u8, to: u8, quantity: u32) -> Command {
    Command::Reserve(request(id, from, to, "second", quantity, Asked::default()))
}

fn seated(outcome: Outcome) -> Vec<String> {
    match outcome {
        Outcome::Seated(reservation) | Outcome::Reservation(reservation) => {
            let seats = reservation.ride().unwrap().seats.as_ref().unwrap();
            seats.iter().map(|seat| seat.to_string()).collect()
        }
        outcome => panic!("no seats: {outcome:?}"),
    }
}

#[test]
fn a_seat_is_sold_again_on_the_legs_that_are_left() {
    let mut sale = Machine::new(spec());
    assert_eq!(sale.free(), (28 + 4 + 4) * 4);
    assert_eq!(seated(sale.apply(1, &buy(1, 0, 2, 1))), ["02-01A"]);
    assert_eq!(seated(sale.apply(1, &buy(2, 2, 4, 1))), ["02-01A"]);
    assert_eq!(seated(sale.apply(1, &buy(3, 1, 3, 2))), ["02-01B", "02-01C"]);
    let view = sale.view();
    assert_eq!((view.held, view.free()), (2 + 2 + 4, 144 - 8));
    // The gap that fits exactly, although an earlier seat is free.
    assert_eq!(seated(sale.apply(1, &buy(4, 3, 4, 1))), ["02-01B"]);
    assert!(sale.seats_agree());
}

#[test]
fn a_late_confirmation_gets_its_seats_or_others_if_they_will_do() {
    let mut sale = Machine::new(spec());
    let named = |id, to, quantity| {
        let seats = (0..quantity).map(|n| Seat { coach: 1, row: 1, letter: b"AC"[n as usize] });
        let kind = Kind::Named(Seats::new(seats).unwrap());
        let asked = Asked { kind, wish: Wish::Any };
        Command::Reserve(request(id, 0, to, "first", quantity, asked))
    };
    assert_eq!(seated(sale.apply(1, &named(1, 2, 2))), ["01-01A", "01-01C"]);
    let taken = Seat::from_text("01-01A").unwrap();
    let refused = Outcome::NoSeats(SeatRefusal::Taken(taken));
    assert_eq!(sale.apply(2, &named(2, 1, 1)), refused);
    sale.apply(101, &Command::Expire { batch_max: 9 });
    assert_eq!(sale.free(), 144);
    assert_eq!(seated(sale.apply(102, &named(2, 1, 1))), ["01-01A"]);
    // One seat is sold on one leg: none of them is confirmed.
    let first = ReservationId(1);
    assert_eq!(sale.apply(103, &Command::Confirm(first)), Outcome::Expired);
    let elsewhere = sale.apply(103, &Command::ConfirmElsewhere(first));
    assert_eq!(seated(elsewhere), ["01-02A", "01-02C"]);
    assert!(sale.seats_agree());
    let mut other = Machine::new(spec());
    other.apply(1, &named(1, 2, 2));
    other.apply(101, &Command::Expire { batch_max: 9 });
    assert_eq!(seated(other.apply(102, &Command::Confirm(first))), ["01-01A", "01-01C"]);
    // The train has left.
    let mut late = Machine::new(spec());
    late.apply(800, &named(1, 2, 2));
    late.apply(900, &Command::Expire { batch_max: 9 });
    assert_eq!(late.apply(900, &Command::ConfirmElsewhere(first)), Outcome::Expired);
    let gone = Outcome::NoSeats(SeatRefusal::Departed(stop(0)));
    assert_eq!(late.apply(900, &named(2, 2, 2)), gone);
}

#[test]
fn some_seats_of_a_reservation_are_given_back() {
    let mut sale = Machine::new(spec());
    sale.apply(1, &buy(1, 0, 4, 4));
    let id = ReservationId(1);
    let to = |text: &str| Command::CancelTo(id, Remaining::Seats(Seats::from_text(text).unwrap()));
    let unknown = Outcome::NoSeats(SeatRefusal::UnknownSeat(Seat::from_text("02-02A").unwrap()));
    assert_eq!(sale.apply(2, &to("02-01A,02-02A")), unknown);
    let required = Outcome::NoSeats(SeatRefusal::SeatsRequired);
    assert_eq!(sale.apply(2, &Command::CancelTo(id, Remaining::Units(2))), required);
    assert_eq!(sale.view().held, 16);
    for _ in 0..2 {
        assert_eq!(seated(sale.apply(3, &to("02-01D,02-01A"))), ["02-01A", "02-01D"]);
        assert_eq!((sale.view().held, sale.view().by_type[1].held), (8, 8));
    }
    // A repeated key finds what is left of it, and a request for other seats is another one.
    let again = sale.apply(4, &buy(1, 0, 4, 4));
    assert!(matches!(again, Outcome::Replayed(has) if has.quantity == 2 && has.asked() == 4));
    assert_eq!(sale.apply(4, &buy(1, 0, 3, 4)), Outcome::KeyReused);
    assert_eq!(seated(sale.apply(4, &buy(2, 0, 4, 1))), ["02-01B"]);
    sale.apply(5, &Command::Confirm(id));
    let refund = Command::RefundTo(id, Remaining::Seats(Seats::from_text("02-01D").unwrap()));
    assert_eq!(seated(sale.apply(5, &refund)), ["02-01D"]);
    sale.apply(6, &Command::Refund(id));
    assert_eq!((sale.view().confirmed, sale.view().held), (0, 4));
    assert!(sale.seats_agree());
}

#[test]
fn every_wrong_request_is_refused_and_changes_nothing() {
    let mut sale = Machine::new(spec());
    let any = Asked::default;
    let none = |kind| Asked { kind, wish: Wish::Any };
    let named = |text| none(Kind::Named(Seats::from_text(text).unwrap()));
    let unknown_stop = StopName::new("S5").unwrap();
    let back = Journey { from: stop(2), to: stop(1) };
    let seat = |text| SeatRefusal::UnknownSeat(Seat::from_text(text).unwrap());
    for (from, to, class, quantity, asked, refusal) in [
        (0, 5, "second", 1, any(), SeatRefusal::UnknownStop(unknown_stop)),
        (2, 1, "second", 1, any(), SeatRefusal::WrongWay(Box::new(back))),
        (0, 1, "second", 5, none(Kind::TogetherOrNone), SeatRefusal::GroupTooLarge { row_max: 4 }),
        (0, 1, "second", 1, named("02-08A"), seat("02-08A")),
        (0, 1, "second", 1, named("01-01A"), seat("01-01A")),
        (0, 1, "first", 5, any(), SeatRefusal::TooFew { free: 4 }),
    ] {
        let command = Command::Reserve(request(1, from, to, class, quantity, asked));
        assert_eq!(sale.apply(1, &command), Outcome::NoSeats(refusal));
    }
    let mut bare = request(1, 0, 1, "second", 1, any());
    bare.details.as_mut().unwrap().ride = None;
    let refusal = SeatRefusal::JourneyRequired;
    assert_eq!(sale.apply(1, &Command::Reserve(bare.clone())), Outcome::NoSeats(refusal));
    bare.details = None;
    assert_eq!(sale.apply(1, &Command::Reserve(bare)), Outcome::LinesRequired);
    for stock in [Command::AddStock(1), Command::TakeStock { units: 1, at_most: true }] {
        assert_eq!(sale.apply(1, &stock), Outcome::NoSeats(SeatRefusal::CoachesOnly));
    }
    assert_eq!((sale.view().held, sale.rows().len()), (0, 0));
    let mut plain = Machine::new(SaleSpec::with_total(5));
    let mut ride = request(1, 0, 1, "second", 1, any());
    ride.details.as_mut().unwrap().lines = None;
    let refusal = Outcome::NoSeats(SeatRefusal::Unexpected);
    assert_eq!(plain.apply(1, &Command::Reserve(ride)), refusal);
    assert_eq!(QUANTITY_MAX_DEFAULT, 10);
}

/// What the second model keeps: the reservations as they were told, and nothing computed from them.
#[derive(Default)]
struct Told(BTreeMap<u128, Reservation>);

impl Told {
    /// Whether a seat is sold on a leg, by looking at all reservations.
    fn owners(&self, seat: Seat, leg: u8) -> usize {
        let has = |reservation: &&Reservation| {
            let ride = reservation.ride().unwrap();
            let journey = ride.journey.as_ref().unwrap();
            let number = |stop: &StopName| stop.as_str()[1..].parse::<u8>().unwrap();
            reservation.status.has_units()
                && ride.seats.as_ref().unwrap().iter().any(|other| other == seat)
                && (number(&journey.from)..number(&journey.to)).contains(&leg)
        };
        self.0.values().filter(has).count()
    }

    fn units(&self, status: Status) -> u64 {
        let units = |reservation: &Reservation| {
            let journey = reservation.ride().unwrap().journey.clone().unwrap();
            let number = |stop: &StopName| stop.as_str()[1..].parse::<u64>().unwrap();
            u64::from(reservation.quantity) * (number(&journey.to) - number(&journey.from))
        };
        self.0.values().filter(|r| r.status == status).map(units).sum()
    }

    fn hear(&mut self, outcome: &Outcome) {
        if let Outcome::Seated(told) | Outcome::Reservation(told) = outcome {
            self.0.insert(told.id.0, (**told).clone());
        }
    }

    fn check(&self, sale: &Machine) -> Result<(), TestCaseError> {
        let view = sale.view();
        prop_assert_eq!(view.held, self.units(Status::Held));
        prop_assert_eq!(view.confirmed, self.units(Status::Confirmed));
        for block in plan().blocks() {
            for row in block.first_row..=block.last_row {
                for (letter, _) in block.letters.iter() {
                    let seat = Seat { coach: block.coach, row, letter };
                    for leg in 0..STOPS - 1 {
                        prop_assert!(self.owners(seat, leg) <= 1, "{} is sold twice", seat);
                    }
                }
            }
        }
        prop_assert!(sale.seats_agree());
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Step {
    Buy { from: u8, to: u8, first: bool, quantity: u32, kind: u8, wish: u8 },
    Settle { which: usize, what: u8, kept: u8 },
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let buy = (0..STOPS - 1, 1..STOPS, prop::bool::weighted(0.2), 1..5u32, 0..4u8, 0..3u8)
        .prop_map(|(from, to, first, quantity, kind, wish)| Step::Buy {
            from,
            to,
            first,
            quantity,
            kind,
            wish,
        });
    let settle = (0..60usize, 0..7u8, any::<u8>()).prop_map(|(which, what, kept)| Step::Settle {
        which,
        what,
        kept,
    });
    let step = prop_oneof![5 => buy, 4 => settle, 1 => (1..60u64).prop_map(Step::Wait)];
    prop::collection::vec(step, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_seat_is_sold_twice_and_units_are_conserved(steps in steps()) {
        let (mut sale, mut told) = (Machine::new(spec()), Told::default());
        let (mut now_ms, mut next) = (1, 0u128);
        for step in steps {
            match step {
                Step::Buy { from, to, first, quantity, kind, wish } => {
                    next += 1;
                    let kind = match kind {
                        0 | 1 => Kind::Any,
                        2 => Kind::Together,
                        _ => Kind::TogetherOrNone,
                    };
                    let wish = [Wish::Any, Wish::Window, Wish::Aisle][usize::from(wish)];
                    let class = if first { "first" } else { "second" };
                    let asked = Asked { kind, wish };
                    let reserve = request(next, from, to, class, quantity, asked.clone());
                    let before = (sale.view().held, sale.view().by_type);
                    let outcome = sale.apply(now_ms, &Command::Reserve(reserve));
                    match &outcome {
                        Outcome::Seated(granted) => {
                            let seats = granted.ride().unwrap().seats.clone().unwrap();
                            prop_assert_eq!(seats.count(), quantity);
                            let one_row = seats.iter().all(|s| {
                                let first = seats.iter().next().unwrap();
                                (s.coach, s.row) == (first.coach, first.row)
                            });
                            prop_assert!(asked.kind != Kind::TogetherOrNone || one_row);
                        }
                        _ => prop_assert_eq!((sale.view().held, sale.view().by_type), before),
                    }
                    told.hear(&outcome);
                }
                Step::Settle { which, what, kept } => {
                    let Some(id) = told.0.keys().nth(which % told.0.len().max(1)).copied() else { continue };
                    let has: Vec<Seat> =
                        told.0[&id].ride().unwrap().seats.as_ref().unwrap().iter().collect();
                    let kept = has.iter().enumerate().filter(|(n, _)| kept >> n & 1 == 1);
                    let remaining = Seats::new(kept.map(|(_, seat)| *seat))
                        .map_or(Remaining::Units(0), Remaining::Seats);
                    let id = ReservationId(id);
                    let command = match what {
                        0 => Command::Confirm(id),
                        1 => Command::ConfirmElsewhere(id),
                        2 => Command::Cancel(id),
                        3 => Command::Refund(id),
                        4 => Command::CancelTo(id, remaining),
                        5 => Command::RefundTo(id, remaining),
                        _ => Command::Extend(id, None),
                    };
                    let outcome = sale.apply(now_ms, &command);
                    told.hear(&outcome);
                }
                Step::Wait(ms) => {
                    now_ms += ms;
                    sale.apply(now_ms, &Command::Expire { batch_max: u32::MAX });
                    for held in told.0.values_mut().filter(|r| r.status == Status::Held) {
                        if held.expires_at_ms <= now_ms {
                            held.status = Status::Expired;
                        }
                    }
                }
            }
            told.check(&sale)?;
        }
    }
}
