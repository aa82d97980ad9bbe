use super::super::block::Letters;
use super::*;
use crate::limits::{COLUMN_SEATS_MAX, ROW_LETTERS_MAX, SEAT_NUMBER_MAX};

fn block(coach: u8, class: &str, rows: (u8, u8), letters: &str) -> Block {
    Block {
        coach,
        class: TypeName::new(class).unwrap(),
        first_row: rows.0,
        last_row: rows.1,
        letters: Letters::new(letters).unwrap(),
        is_withdrawn: false,
    }
}

fn stops(count: usize) -> Vec<StopName> {
    (0..count).map(|n| StopName::new(&format!("S{n}")).unwrap()).collect()
}

fn plan(blocks: Vec<Block>) -> Result<Plan, PlanError> {
    Plan::new(stops(3), Vec::new(), blocks)
}

fn letters(count: usize) -> String {
    (0..count).map(|n| char::from(b'A' + n as u8)).collect()
}

#[test]
fn every_wrong_plan_has_its_error() {
    let good = || vec![block(1, "second", (1, 9), "ABC DF")];
    assert!(plan(good()).is_ok());
    assert_eq!(Plan::new(stops(1), vec![], good()), Err(PlanError::Stops(1)));
    assert!(Plan::new(stops(STOPS_MAX), vec![], good()).is_ok());
    assert_eq!(Plan::new(stops(65), vec![], good()), Err(PlanError::Stops(65)));
    let twice = [stops(2), stops(1)].concat();
    assert_eq!(Plan::new(twice, vec![], good()), Err(PlanError::StopTwice(stops(1).remove(0))));
    let wrong = PlanError::Departures { given: 3, stops: 3 };
    assert_eq!(Plan::new(stops(3), vec![1, 2, 3], good()), Err(wrong));
    let wrong = PlanError::DepartureOrder(stops(2).remove(1));
    assert_eq!(Plan::new(stops(3), vec![2, 1], good()), Err(wrong.clone()));
    assert_eq!(Plan::new(stops(3), vec![2, TIME_MS_MAX + 1], good()), Err(wrong));
    assert!(Plan::new(stops(3), vec![2, 2], good()).is_ok());
    assert_eq!(plan(vec![]), Err(PlanError::Blocks(0)));
    let many = (0..=BLOCKS_MAX).map(|n| block(n as u8 % 2 + 1, "a", (1, 1), "A")).collect();
    assert_eq!(plan(many), Err(PlanError::Blocks(BLOCKS_MAX + 1)));
    for coach in [0, SEAT_NUMBER_MAX + 1] {
        assert_eq!(plan(vec![block(coach, "a", (1, 1), "A")]), Err(PlanError::Coach(coach.into())));
    }
    for (first, last) in [(0, 1), (2, 1), (1, 100)] {
        let wrong = PlanError::Rows(first.into(), last.into());
        assert_eq!(plan(vec![block(1, "a", (first, last), "A")]), Err(wrong));
    }
    for text in ["", " ", "BA", "AA", "A  B", " A", "A ", "a", "A-B", "Ä", &"A B".repeat(30)] {
        assert!(matches!(Letters::new(text), Err(PlanError::Letters(_))), "{text:?}");
    }
    let twice =
        vec![block(1, "a", (1, 5), "AB"), block(2, "a", (1, 5), "AB"), block(1, "b", (5, 6), "C")];
    assert_eq!(plan(twice), Err(PlanError::RowTwice { coach: 1, row: 5 }));
    let rows = |coaches: u8| (1..=coaches).map(|c| block(c, "a", (1, 99), &letters(10))).collect();
    assert_eq!(plan(rows(5)), Err(PlanError::Seats(4950)));
    assert!(plan(rows(4)).is_ok());
    let classes =
        |count: u8| (1..=count).map(|c| block(c, &format!("c{c}"), (1, 1), "A")).collect();
    assert!(plan(classes(8)).is_ok());
    assert_eq!(plan(classes(9)), Err(PlanError::Classes(9)));
    let wide = (1..=3).map(|c| block(c, "a", (1, 86), &letters(15 + 1))).collect::<Vec<_>>();
    assert!(matches!(plan(wide), Err(PlanError::Seats(_) | PlanError::Columns(_))));
}

#[test]
fn a_plan_round_trips_as_text() {
    let blocks = vec![
        block(1, "business", (1, 2), "A CF"),
        Block { is_withdrawn: true, ..block(7, "second", (3, 17), "ABC DF") },
    ];
    let whole = Plan::new(stops(3), vec![5, 6], blocks.clone()).unwrap();
    let text = "1;S0,S1,S2;5,6;1:business:1-2:A CF;7:second:3-17:ABC DF:withdrawn";
    assert_eq!(whole.to_text(), text);
    assert_eq!(Plan::from_text(text), Some(whole));
    let theatre = Plan::new(vec![], vec![], blocks[..1].to_vec()).unwrap();
    assert_eq!(theatre.to_text(), "1;;;1:business:1-2:A CF");
    assert_eq!((theatre.legs(), theatre.units()), (1, 6));
    assert_eq!(Plan::from_text(&theatre.to_text()), Some(theatre));
    for bad in [
        "",
        "1",
        "1;;",
        "2;;;1:a:1-1:A",
        "1;;;01:a:1-1:A",
        "1;;;1:a:1-1:A:",
        "1;;;1:a:1-1:A:withdrawn:",
        "1;;;1:a:1:A",
        "1;S0;;1:a:1-1:A",
        "1;;5;1:a:1-1:A",
    ] {
        assert_eq!(Plan::from_text(bad), None, "{bad:?}");
    }
}

#[test]
fn every_seat_has_one_place_and_every_place_its_seat() {
    let plan = plan(vec![
        block(3, "second", (1, 17), "ABC DF"),
        block(1, "first", (1, 13), "AC DF"),
        block(3, "first", (20, 99), &letters(ROW_LETTERS_MAX)),
        block(2, "second", (5, 40), "A"),
    ])
    .unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for block in plan.blocks() {
        for row in block.first_row..=block.last_row {
            for (letter, _) in block.letters.iter() {
                let seat = Seat { coach: block.coach, row, letter };
                let place = plan.columns().place_of(plan.blocks(), seat).unwrap();
                let column = plan.columns().get(place.column);
                assert!(column.seats & 1 << place.bit != 0);
                assert_eq!(plan.columns().seat_at(plan.blocks(), place), seat);
                assert_eq!(plan.block_of(seat), Some(block));
                assert!(seen.insert(place));
            }
        }
    }
    assert_eq!(seen.len(), plan.seats());
    let bits: u32 = plan.columns().iter().map(|column| column.seats.count_ones()).sum();
    assert_eq!(bits as usize, plan.seats());
    assert!(plan.columns().iter().all(|c| c.seats >> COLUMN_SEATS_MAX == 0));
    for text in ["03-18A", "03-01E", "04-01A", "02-04A", "02-41A", "01-14A", "03-19A"] {
        let seat = Seat::from_text(text).unwrap();
        assert_eq!(plan.columns().place_of(plan.blocks(), seat), None, "{text}");
    }
    assert_eq!(plan.width_max(&TypeName::new("second").unwrap()), 5);
}
