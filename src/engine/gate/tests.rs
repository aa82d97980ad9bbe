use rustix::event::{EventfdFlags, eventfd};

use super::*;

#[test]
fn tokens_survive_the_kernel() {
    for token in
        [Token { index: 0, generation: 0 }, Token { index: u32::MAX, generation: 0x7fff_ffff }]
    {
        assert_eq!(token.to_number() & SOURCE_BIT, 0);
        assert_eq!(Token::from_number(token.to_number()), token);
    }
}

#[test]
fn who_has_had_a_turn_comes_after_the_others_once_a_round() {
    let gate = Gate::new(0, may::config().get_workers()).unwrap();
    let token = |index| Token { index, generation: 0 };
    let round = || {
        gate.begin_round();
        let events = std::iter::from_fn(|| gate.next_event());
        events.map(|(token, readiness)| (token.index, readiness.turn)).collect::<Vec<_>>()
    };
    (1..=3).for_each(|index| gate.defer(token(index)));
    gate.unwatched.borrow_mut().push_back(token(10));
    assert_eq!(round(), [(10, false), (1, true)]);
    gate.defer(token(1));
    assert_eq!(round(), [(2, true)]);
    let descriptor = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    gate.watch_connection(&descriptor, token(20)).unwrap();
    assert_eq!(round(), [(20, false), (3, true)]);
    assert_eq!(round(), [(1, true)]);
    assert!(round().is_empty());
}

#[test]
fn few_newcomers_are_taken_in_a_round_and_after_the_others() {
    let gate = Gate::new(0, may::config().get_workers()).unwrap();
    let round = || {
        gate.begin_round();
        let events = std::iter::from_fn(|| gate.next_event());
        let events = events.map(|(token, _)| token.index).collect::<Vec<_>>();
        gate.end_round();
        events
    };
    let made = || eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    let token = |index| Token { index, generation: 0 };
    let crowd: Vec<_> = (0..2 * NEWCOMER_EVENTS_MAX as u32 + 3)
        .map(|index| (index, made()))
        .inspect(|(index, newcomer)| gate.watch_newcomer(newcomer, token(*index)).unwrap())
        .collect();
    let other = made();
    gate.watch_connection(&other, token(1_000)).unwrap();
    let first = round();
    assert_eq!(first.len(), 1 + NEWCOMER_EVENTS_MAX);
    assert_eq!(first[0], 1_000);
    let mut seen = first[1..].to_vec();
    seen.extend(round());
    assert_eq!(seen.len(), 2 * NEWCOMER_EVENTS_MAX);
    seen.extend(round());
    assert!(seen.into_iter().eq(crowd.iter().map(|(index, _)| *index)));
    assert!(round().is_empty());
    // One that is none any more is told of like the others, also of what is there already.
    let (index, admitted) = &crowd[2];
    rustix::io::write(admitted, &1_u64.to_ne_bytes()).unwrap();
    gate.forget_newcomer(admitted);
    gate.watch_connection(admitted, token(*index)).unwrap();
    assert_eq!(round(), [*index]);
    assert!(round().is_empty());
}

#[test]
fn who_rests_has_a_turn_after_the_tick() {
    let gate = Gate::new(0, may::config().get_workers()).unwrap();
    let token = Token { index: 7, generation: 0 };
    let next = || {
        gate.begin_round();
        gate.next_event().map(|(token, readiness)| (token.index, readiness.turn))
    };
    gate.rest(token);
    assert_eq!(next(), None);
    gate.wake_resting();
    assert_eq!(next(), Some((7, true)));
    gate.wake_resting();
    assert_eq!(next(), None);
}

#[test]
fn a_round_has_no_more_of_the_unwatched_than_it_has_events() {
    let gate = Gate::new(0, may::config().get_workers()).unwrap();
    let tokens = || (0..EVENTS_MAX as u32 + 3).map(|index| Token { index, generation: 0 });
    gate.unwatched.borrow_mut().extend(tokens());
    assert!(gate.next_event().is_none(), "they belong to the next round");
    let mut seen = Vec::new();
    while seen.len() < EVENTS_MAX + 3 {
        gate.begin_round();
        let round: Vec<_> =
            std::iter::from_fn(|| gate.next_event()).map(|(token, _)| token).collect();
        assert!((1..=EVENTS_MAX).contains(&round.len()));
        seen.extend(round);
    }
    assert!(seen.into_iter().eq(tokens()));
}

#[test]
fn a_descriptor_finds_its_worker() {
    for worker in 0..3 {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let placed = place(epoll, worker, 3).unwrap();
        assert_eq!(placed.as_raw_fd() as usize % 3, worker);
    }
}
