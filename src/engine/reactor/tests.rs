use rustix::event::{EventfdFlags, eventfd};

use super::*;

#[test]
fn tokens_round_trip_through_kernel_numbers() {
    for token in
        [Token { index: 0, generation: 0 }, Token { index: u32::MAX, generation: 0x7fff_ffff }]
    {
        assert_eq!(token.to_number() & NOTIFY_BIT, 0);
        assert_eq!(Token::from_number(token.to_number()), token);
    }
}

#[test]
fn deferred_connections_come_last_one_per_round() {
    let reactor = Reactor::new(0, may::config().get_workers()).unwrap();
    let token = |index| Token { index, generation: 0 };
    let round = || {
        reactor.begin_round();
        let events = std::iter::from_fn(|| reactor.next_event());
        events.map(|(token, readiness)| (token.index, readiness.turn)).collect::<Vec<_>>()
    };
    (1..=3).for_each(|index| reactor.defer(token(index)));
    reactor.first_reads.borrow_mut().push_back(token(10));
    assert_eq!(round(), [(10, false), (1, true)]);
    reactor.defer(token(1));
    assert_eq!(round(), [(2, true)]);
    let descriptor = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    reactor.watch_connection(&descriptor, token(20)).unwrap();
    assert_eq!(round(), [(20, false), (3, true)]);
    assert_eq!(round(), [(1, true)]);
    assert!(round().is_empty());
}

#[test]
fn handshaking_connections_come_last_and_few_per_round() {
    let reactor = Reactor::new(0, may::config().get_workers()).unwrap();
    let round = || {
        reactor.begin_round();
        let events = std::iter::from_fn(|| reactor.next_event());
        let events = events.map(|(token, _)| token.index).collect::<Vec<_>>();
        reactor.end_round();
        events
    };
    let made = || eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    let token = |index| Token { index, generation: 0 };
    let crowd: Vec<_> = (0..2 * HANDSHAKING_EVENTS_MAX as u32 + 3)
        .map(|index| (index, made()))
        .inspect(|(index, newcomer)| reactor.watch_handshaking(newcomer, token(*index)).unwrap())
        .collect();
    let other = made();
    reactor.watch_connection(&other, token(1_000)).unwrap();
    let first = round();
    assert_eq!(first.len(), 1 + HANDSHAKING_EVENTS_MAX);
    assert_eq!(first[0], 1_000);
    let mut seen = first[1..].to_vec();
    seen.extend(round());
    assert_eq!(seen.len(), 2 * HANDSHAKING_EVENTS_MAX);
    seen.extend(round());
    assert!(seen.into_iter().eq(crowd.iter().map(|(index, _)| *index)));
    assert!(round().is_empty());
    // A connection that has completed its handshake is watched like the others; earlier events too are reported.
    let (index, admitted) = &crowd[2];
    rustix::io::write(admitted, &1_u64.to_ne_bytes()).unwrap();
    reactor.forget_handshaking(admitted);
    reactor.watch_connection(admitted, token(*index)).unwrap();
    assert_eq!(round(), [*index]);
    assert!(round().is_empty());
}

#[test]
fn a_resting_connection_has_a_turn_after_the_tick() {
    let reactor = Reactor::new(0, may::config().get_workers()).unwrap();
    let token = Token { index: 7, generation: 0 };
    let next = || {
        reactor.begin_round();
        reactor.next_event().map(|(token, readiness)| (token.index, readiness.turn))
    };
    reactor.defer_until_tick(token);
    assert_eq!(next(), None);
    reactor.end_tick_wait();
    assert_eq!(next(), Some((7, true)));
    reactor.end_tick_wait();
    assert_eq!(next(), None);
}

#[test]
fn first_reads_per_round_are_bounded() {
    let reactor = Reactor::new(0, may::config().get_workers()).unwrap();
    let tokens = || (0..EVENTS_MAX as u32 + 3).map(|index| Token { index, generation: 0 });
    reactor.first_reads.borrow_mut().extend(tokens());
    assert!(reactor.next_event().is_none(), "they belong to the next round");
    let mut seen = Vec::new();
    while seen.len() < EVENTS_MAX + 3 {
        reactor.begin_round();
        let round: Vec<_> =
            std::iter::from_fn(|| reactor.next_event()).map(|(token, _)| token).collect();
        assert!((1..=EVENTS_MAX).contains(&round.len()));
        seen.extend(round);
    }
    assert!(seen.into_iter().eq(tokens()));
}

#[test]
fn a_descriptor_number_maps_to_its_worker() {
    for worker in 0..3 {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let moved = dup_onto_worker(epoll, worker, 3).unwrap();
        assert_eq!(moved.as_raw_fd() as usize % 3, worker);
    }
}
