//! The choice of seats beside one that looks at each seat and each leg in loops.

use std::collections::BTreeSet;

use super::super::block::{Block, Letters};
use super::super::seat::{Seat, Seats};
use super::super::stop::StopName;
use super::*;
use crate::sale::types::TypeName;
use proptest::prelude::*;

/// Seats in the order in which they are sold, with what the rules say of each.
#[derive(Clone, Copy, PartialEq)]
struct Known {
    seat: Seat,
    class: usize,
    /// Numbers of the column and the row, so that equal ones are the same.
    column: usize,
    row: usize,
    window: bool,
    aisle: bool,
    withdrawn: bool,
}

fn known(plan: &Plan) -> Vec<Known> {
    let (mut all, mut column, mut row) = (Vec::new(), 0, 0);
    for block in plan.blocks() {
        let text = block.letters.as_str();
        let width = text.replace(' ', "").len();
        for n in block.first_row..=block.last_row {
            let in_block = usize::from(n - block.first_row);
            if in_block % (30 / width) == 0 {
                column += 1;
            }
            row += 1;
            for (at, letter) in text.char_indices().filter(|(_, c)| *c != ' ') {
                all.push(Known {
                    seat: Seat { coach: block.coach, row: n, letter: letter as u8 },
                    class: plan.classes().position(&block.class).unwrap(),
                    column,
                    row,
                    window: at == 0 || at + 1 == text.len(),
                    aisle: text[..at].ends_with(' ') || text[at + 1..].starts_with(' '),
                    withdrawn: block.is_withdrawn,
                });
            }
        }
    }
    all
}

/// The sold seat-legs.
type Sold = BTreeSet<(Seat, u8)>;

struct Naive<'a> {
    seats: &'a [Known],
    legs_all: u8,
    sold: Sold,
}

impl Naive<'_> {
    fn is_sold(&self, known: &Known, leg: u8) -> bool {
        known.withdrawn || self.sold.contains(&(known.seat, leg))
    }

    fn is_free(&self, known: &Known, legs: Legs) -> bool {
        (legs.from..legs.to).all(|leg| !self.is_sold(known, leg))
    }

    fn fit(&self, known: &Known, legs: Legs) -> u32 {
        let before = legs.from == 0 || self.is_sold(known, legs.from - 1);
        let after = legs.to == self.legs_all || self.is_sold(known, legs.to);
        u32::from(before) + u32::from(after)
    }

    fn is_wished(known: &Known, wish: Wish) -> bool {
        match wish {
            Wish::Any => true,
            Wish::Window => known.window,
            Wish::Aisle => known.aisle,
        }
    }

    /// The best run among the first six columns that have one.
    fn best(&self, among: &[Known], legs: Legs, length: usize, wish: Wish) -> Option<Vec<Seat>> {
        let mut runs: Vec<(&[Known], u32, bool)> = Vec::new();
        for run in among.windows(length) {
            let same_row = run.iter().all(|known| known.row == run[0].row);
            if same_row && run.iter().all(|known| self.is_free(known, legs)) {
                let fit = run.iter().map(|known| self.fit(known, legs)).min().unwrap();
                runs.push((run, fit, run.iter().any(|known| Self::is_wished(known, wish))));
            }
        }
        let mut columns: Vec<usize> = runs.iter().map(|(run, ..)| run[0].column).collect();
        columns.dedup();
        columns.truncate(6);
        runs.retain(|(run, ..)| columns.contains(&run[0].column));
        let value = |(_, fit, wished): &(&[Known], u32, bool)| (*fit, *wished);
        let greatest = runs.iter().map(value).max()?;
        let first = runs.iter().find(|run| value(run) == greatest)?;
        Some(first.0.iter().map(|known| known.seat).collect())
    }

    fn each(
        &self,
        among: &[Known],
        legs: Legs,
        quantity: usize,
        wish: Wish,
    ) -> Result<Vec<Seat>, u32> {
        let mut next =
            Naive { seats: self.seats, legs_all: self.legs_all, sold: self.sold.clone() };
        let mut chosen = Vec::new();
        for _ in 0..quantity {
            let one = next.best(among, legs, 1, wish).ok_or(chosen.len() as u32)?;
            next.sold.extend((legs.from..legs.to).map(|leg| (one[0], leg)));
            chosen.extend(one);
        }
        Ok(chosen)
    }

    fn choose(
        &self,
        legs: Legs,
        class: usize,
        quantity: usize,
        asked: &Asked,
    ) -> Result<Vec<Seat>, SeatRefusal> {
        let of: Vec<Known> = self.seats.iter().copied().filter(|k| k.class == class).collect();
        let free = of.iter().filter(|known| self.is_free(known, legs)).count() as u32;
        let few = SeatRefusal::TooFew { free };
        let mut chosen = match &asked.kind {
            Kind::Named(seats) => {
                for seat in seats.iter() {
                    let Some(known) = of.iter().find(|known| known.seat == seat) else {
                        return Err(SeatRefusal::UnknownSeat(seat));
                    };
                    if !self.is_free(known, legs) {
                        return Err(SeatRefusal::Taken(seat));
                    }
                }
                seats.iter().collect()
            }
            Kind::Any => self.each(&of, legs, quantity, asked.wish).map_err(|_| few)?,
            kind => {
                let run = self.best(&of, legs, quantity, asked.wish);
                match (run, kind) {
                    (Some(run), _) => run,
                    (None, Kind::TogetherOrNone) if free < quantity as u32 => return Err(few),
                    (None, Kind::TogetherOrNone) => return Err(SeatRefusal::Apart),
                    (None, _) => {
                        let coaches = of.iter().map(|known| known.seat.coach);
                        let in_coach = |coach| -> Vec<Known> {
                            of.iter().copied().filter(|k| k.seat.coach == coach).collect()
                        };
                        let mut whole = coaches.filter_map(|coach| {
                            self.each(&in_coach(coach), legs, quantity, asked.wish).ok()
                        });
                        match whole.next() {
                            Some(chosen) => chosen,
                            None => self.each(&of, legs, quantity, asked.wish).map_err(|_| few)?,
                        }
                    }
                }
            }
        };
        chosen.sort_by_key(|seat| self.seats.iter().position(|known| known.seat == *seat));
        Ok(chosen)
    }
}

#[derive(Debug, Clone)]
enum Step {
    Buy { from: u8, to: u8, class: u8, quantity: u32, kind: u8, wish: u8, named: u16 },
    Return(usize),
}

fn plans() -> impl Strategy<Value = Plan> {
    let letters =
        prop::sample::select(vec!["A", "AB", "A B", "A CF", "ABC DF", "AC DF", "ABCDEFGHIJKLMNOP"]);
    let block = (1..4u8, 0..3u8, 1..9u8, letters, prop::bool::weighted(0.1));
    let blocks = prop::collection::vec(block, 1..6);
    (blocks, 0..6usize).prop_map(|(blocks, stops)| {
        let mut next = [1u8; 4];
        let blocks = blocks.into_iter().map(|(coach, class, rows, letters, is_withdrawn)| {
            let first_row = next[usize::from(coach)];
            next[usize::from(coach)] += rows;
            let class = TypeName::new(&format!("c{class}")).unwrap();
            let (last_row, letters) = (first_row + rows - 1, Letters::new(letters).unwrap());
            Block { coach, class, first_row, last_row, letters, is_withdrawn }
        });
        let stops = if stops == 1 { 2 } else { stops };
        let stops = (0..stops).map(|n| StopName::new(&format!("S{n}")).unwrap()).collect();
        Plan::new(stops, Vec::new(), blocks.collect()).unwrap()
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let buy = (0..6u8, 1..6u8, 0..3u8, 1..7u32, 0..4u8, 0..3u8, any::<u16>());
    let buy = buy.prop_map(|(from, to, class, quantity, kind, wish, named)| Step::Buy {
        from,
        to,
        class,
        quantity,
        kind,
        wish,
        named,
    });
    let back = (0..40usize).prop_map(Step::Return);
    prop::collection::vec(prop_oneof![3 => buy, 1 => back], 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn seats_are_chosen_as_loops_over_seats_and_legs_choose_them(plan in plans(), steps in steps()) {
        let seats = known(&plan);
        let mut naive = Naive { seats: &seats, legs_all: plan.legs(), sold: Sold::new() };
        let mut map = SeatMap::new(&plan);
        let mut tickets: Vec<(Vec<Place>, Legs)> = Vec::new();
        for step in steps {
            match step {
                Step::Buy { from, to, class, quantity, kind, wish, named } => {
                    let from = from % plan.legs();
                    let legs = Legs { from, to: from + 1 + to % (plan.legs() - from) };
                    let class = usize::from(class) % plan.classes().len();
                    let kind = match kind {
                        0 => Kind::Any,
                        1 => Kind::Together,
                        2 => Kind::TogetherOrNone,
                        _ => {
                            let at = |n: u32| seats[(usize::from(named) + n as usize * 3) % seats.len()].seat;
                            let Ok(list) = Seats::new((0..quantity).map(at)) else { continue };
                            Kind::Named(list)
                        }
                    };
                    let wish = [Wish::Any, Wish::Window, Wish::Aisle][usize::from(wish)];
                    let asked = Asked { kind, wish };
                    let got = choose(&plan, &map, Pool::Free, legs, class, quantity, &asked);
                    let expected = naive.choose(legs, class, quantity as usize, &asked);
                    let seat = |place: &Place| plan.columns().seat_at(plan.blocks(), *place);
                    let named = got.clone().map(|places| places.iter().map(seat).collect::<Vec<_>>());
                    prop_assert_eq!(&named, &expected, "{:?} {:?} {} {:?}", legs, class, quantity, asked);
                    if let (Ok(places), Ok(named)) = (got, named) {
                        map.sell(&places, legs);
                        for seat in named {
                            for leg in legs.from..legs.to {
                                prop_assert!(naive.sold.insert((seat, leg)), "sold twice");
                            }
                        }
                        tickets.push((places, legs));
                    }
                }
                Step::Return(at) if !tickets.is_empty() => {
                    let (places, legs) = tickets.swap_remove(at % tickets.len());
                    let back = |map: &mut SeatMap| map.give_back(plan.columns(), |_| false, &places, legs, false);
                    prop_assert_eq!(back(&mut map), Ok(()));
                    prop_assert!(back(&mut map).is_err(), "given back twice");
                    for place in &places {
                        let seat = plan.columns().seat_at(plan.blocks(), *place);
                        (legs.from..legs.to).for_each(|leg| _ = naive.sold.remove(&(seat, leg)));
                    }
                }
                Step::Return(_) => {}
            }
        }
        for class in 0..plan.classes().len() {
            let legs = Legs { from: 0, to: plan.legs() };
            let free = seats.iter().filter(|k| k.class == class && naive.is_free(k, legs)).count();
            prop_assert_eq!(map.count(&plan, Pool::Free, legs, class) as usize, free);
        }
    }
}
