//! Totals and limits over time. For each reservation the answers say from when until when it had
//! its units for sure, and from when until when it may have had them. At no time have all sure ones
//! together more than there is, and whoever was refused was refused for a reason that may have been
//! so while he asked.

use std::collections::BTreeMap;

use stampede::sale::Status;

use crate::history::NEVER;
use crate::record::{Call, Field, Record, Told};
use crate::tally::Tally;

/// A hold is for sure only up to this long before its end, in nanoseconds: times in answers are
/// whole milliseconds.
const EDGE_NS: u64 = 5_000_000;

/// The sale.
pub struct Rules {
    /// Units.
    pub total: u64,
    /// Units per user.
    pub limit_per_user: u64,
    /// Time after which a hold that is over must have returned, while a server runs.
    pub return_ns_max: u64,
    /// Units move between the sale's parts: a refusal may miss one.
    pub is_split: bool,
}

/// The times in which something has units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: u64,
    until: u64,
    units: u64,
}

/// A reservation, or a key that may have one.
#[derive(Debug)]
struct Life<'a> {
    user: &'a str,
    sure: Vec<Span>,
    may: Span,
}

/// The requests about one key and its reservation.
#[derive(Default)]
struct Requests<'a> {
    user: &'a str,
    units: u64,
    id: Option<&'a str>,
    buys: Vec<&'a Record>,
    others: Vec<&'a Record>,
}

/// Checks a history. `outages`: when a fault was there, in order.
pub fn check(
    rules: &Rules,
    field: &Field,
    records: &[Record],
    outages: &[(u64, u64)],
    tally: &mut Tally,
) {
    let lives: Vec<Life<'_>> = requests(records)
        .into_iter()
        .filter_map(|requests| requests.life(rules, field, outages))
        .collect();
    let sure = |user: Option<&str>| {
        let of_user = lives.iter().filter(move |life| user.is_none_or(|user| life.user == user));
        of_user.flat_map(|life| life.sure.clone()).collect::<Vec<_>>()
    };
    let may = |user: Option<&str>| {
        let of_user = lives.iter().filter(move |life| user.is_none_or(|user| life.user == user));
        of_user.map(|life| life.may).collect::<Vec<_>>()
    };
    let most = Course::of(&sure(None)).most(0, NEVER);
    if most > rules.total {
        tally.oversold(format!("{most} of {} units were promised at a time", rules.total));
    }
    let mut users: Vec<&str> = lives.iter().map(|life| life.user).collect();
    users.sort_unstable();
    users.dedup();
    for &user in &users {
        let most = Course::of(&sure(Some(user))).most(0, NEVER);
        if most > rules.limit_per_user {
            tally.oversold(format!("{user} had {most} of {} units", rules.limit_per_user));
        }
    }
    if rules.is_split {
        return;
    }
    let all = Course::of(&may(None));
    let of_user: BTreeMap<&str, Course> =
        users.iter().map(|&user| (user, Course::of(&may(Some(user))))).collect();
    for record in records {
        let (Call::Buy { user, quantity, .. }, Told::Refused(code)) = (&record.call, &record.told)
        else {
            continue;
        };
        let (taken, most) = match code.as_str() {
            "sold_out" => (all.most(record.began, record.ended), rules.total),
            "limit_reached" => {
                let course = of_user.get(user.as_str());
                let taken = course.map_or(0, |course| course.most(record.began, record.ended));
                (taken, rules.limit_per_user)
            }
            _ => {
                tally.wrong(format!("{record:?}"));
                continue;
            }
        };
        if taken + u64::from(*quantity) <= most {
            tally.wrong(format!("at most {taken} of {most} were taken: {record:?}"));
        }
    }
}

fn requests(records: &[Record]) -> Vec<Requests<'_>> {
    let mut by_key: BTreeMap<(&str, &str), Requests<'_>> = BTreeMap::new();
    let mut owners: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for record in records {
        let Call::Buy { user, key, quantity } = &record.call else { continue };
        let requests = by_key.entry((user, key)).or_default();
        requests.user = user;
        requests.units = u64::from(*quantity);
        requests.buys.push(record);
        if let Some((id, _)) = record.told.reservation() {
            requests.id = Some(id);
            owners.insert(id, (user, key));
        }
    }
    for record in records {
        let (Call::Confirm(id) | Call::Cancel(id) | Call::Refund(id) | Call::Show(id)) =
            &record.call
        else {
            continue;
        };
        if let Some(requests) = owners.get(id.as_str()).and_then(|owner| by_key.get_mut(owner)) {
            requests.others.push(record);
        }
    }
    by_key.into_values().collect()
}

impl<'a> Requests<'a> {
    /// `None`: there was no reservation.
    fn life(self, rules: &Rules, field: &Field, outages: &[(u64, u64)]) -> Option<Life<'a>> {
        let made =
            |record: &&&Record| record.told.reservation().is_some() || record.told == Told::Unknown;
        let from = self.buys.iter().filter(made).map(|record| record.began).min()?;
        let until = if self.id.is_some() { self.may_until(rules, field, outages) } else { NEVER };
        let may = Span { from, until, units: self.units };
        Some(Life { user: self.user, sure: self.sure(field), may })
    }

    fn all(&self) -> impl Iterator<Item = &'a Record> + '_ {
        self.buys.iter().chain(&self.others).copied()
    }

    /// The end of the hold, if an answer has said it.
    fn expires(&self, field: &Field) -> Option<u64> {
        self.all().find_map(|record| match record.told {
            Told::Reservation { expires_at_ms, .. } => Some(field.at(expires_at_ms)),
            _ => None,
        })
    }

    /// The first time at which an answer showed one of these states.
    fn shown(&self, states: &[Status]) -> Option<u64> {
        let shows = |record: &&Record| {
            record.told.reservation().is_some_and(|(_, status)| states.contains(&status))
        };
        self.all().filter(shows).map(|record| record.ended).min()
    }

    /// The first time at which a request began that may have given the units back.
    fn release_began(&self, only_refunds: bool) -> u64 {
        let gives_back = |record: &&&Record| {
            let is_such = matches!(record.call, Call::Refund(_))
                || !only_refunds && matches!(record.call, Call::Cancel(_));
            is_such && record.told != Told::Nothing
        };
        self.others.iter().filter(gives_back).map(|record| record.began).min().unwrap_or(NEVER)
    }

    /// When it had its units for sure: while it was held, and while it was paid.
    fn sure(&self, field: &Field) -> Vec<Span> {
        let mut spans = Vec::new();
        let held_from = self.shown(&[Status::Held]);
        if let (Some(from), Some(expires)) = (held_from, self.expires(field)) {
            let until = self.release_began(false).min(expires.saturating_sub(EDGE_NS));
            spans.push(Span { from, until, units: self.units });
        }
        if let Some(from) = self.shown(&[Status::Confirmed]) {
            // From the end of the hold on: before that, it is in the span above.
            let from = from.max(self.expires(field).unwrap_or(0));
            spans.push(Span { from, until: self.release_began(true), units: self.units });
        }
        spans.retain(|span| span.from < span.until);
        spans
    }

    /// Until when it may have had its units.
    fn may_until(&self, rules: &Rules, field: &Field, outages: &[(u64, u64)]) -> u64 {
        let may_be_paid = self.others.iter().any(|record| {
            let may_be_done = matches!(record.told, Told::Reservation { .. } | Told::Unknown);
            matches!(record.call, Call::Confirm(_)) && may_be_done
        });
        let back = self.shown(&[Status::Cancelled, Status::Refunded]).or_else(|| {
            let says = |record: &&Record| {
                let codes = ["already_cancelled", "already_refunded"];
                matches!(&record.told, Told::Refused(code) if codes.contains(&code.as_str()))
            };
            self.all().filter(says).map(|record| record.ended).min()
        });
        if let Some(back) = back {
            return back;
        }
        match self.expires(field) {
            Some(expires) if !may_be_paid => {
                let mut until = expires + rules.return_ns_max;
                for (from, to) in outages {
                    // Nobody returned it while the fault was there.
                    if *from < until && to + rules.return_ns_max > until {
                        until = to + rules.return_ns_max;
                    }
                }
                until
            }
            _ => NEVER,
        }
    }
}

/// A sum of units over time.
struct Course {
    /// From each time on, this sum, in the order of times.
    sums: Vec<(u64, u64)>,
}

impl Course {
    /// The sum of these spans. A span that ends when another begins is over then.
    fn of(spans: &[Span]) -> Self {
        let mut changes: Vec<(u64, bool, u64)> = Vec::new();
        for span in spans.iter().filter(|span| span.from < span.until) {
            changes.push((span.from, true, span.units));
            changes.push((span.until, false, span.units));
        }
        changes.sort_unstable();
        let mut sums = vec![(0, 0)];
        let mut sum = 0;
        for (at, begins, units) in changes {
            if begins {
                sum += units;
            } else {
                sum -= units;
            }
            sums.push((at, sum));
        }
        Self { sums }
    }

    /// The greatest sum within a time, its ends included.
    fn most(&self, from: u64, until: u64) -> u64 {
        // The sum that the time begins with, and every later one within.
        let first = self.sums.partition_point(|(at, _)| *at < from).saturating_sub(1);
        let within = self.sums[first..].iter().take_while(|(at, _)| *at <= until);
        within.map(|(_, sum)| *sum).max().unwrap_or(0)
    }
}

/// Shows that the checks find what they are for: run before the scenarios.
pub fn try_out() {
    let field = Field::new(Vec::new(), Vec::new());
    let rules =
        Rules { total: 2, limit_per_user: 2, return_ns_max: 1_000_000_000, is_split: false };
    let told = |id: &str| Told::Reservation {
        id: id.to_owned(),
        status: Status::Held,
        is_new: true,
        // Long after everything here.
        expires_at_ms: u64::MAX / 2_000_000,
    };
    let buy = |user: &str, began: u64, told: Told| {
        let (user, key) = (user.to_owned(), format!("{user}{began}"));
        let call = Call::Buy { user, key, quantity: 1 };
        Record { client: 0, began, ended: began + 5, call, told }
    };
    let found = |records: &[Record]| {
        let mut tally = Tally::quiet();
        check(&rules, &field, records, &[], &mut tally);
        (tally.oversold, tally.wrong)
    };
    let sold_out = || Told::Refused("sold_out".to_owned());
    let two = [buy("a", 10, told("1")), buy("b", 20, told("2"))];
    assert_eq!(found(&two), (0, 0));
    assert_eq!(found(&[&two[..], &[buy("c", 30, sold_out())]].concat()), (0, 0));
    // A third one is promised.
    assert_eq!(found(&[&two[..], &[buy("c", 30, told("3"))]].concat()), (1, 0));
    // Refused while a unit was free.
    assert_eq!(found(&[two[0].clone(), buy("c", 30, sold_out())]), (0, 1));
    // It may have been taken by a purchase without an answer.
    let mut open = buy("b", 20, Told::Unknown);
    open.ended = NEVER;
    assert_eq!(found(&[two[0].clone(), open, buy("c", 30, sold_out())]), (0, 0));
    // It was given back, before and after.
    let cancel = |began: u64| {
        let told = Told::Reservation {
            id: "1".to_owned(),
            status: Status::Cancelled,
            is_new: false,
            expires_at_ms: u64::MAX / 2_000_000,
        };
        let call = Call::Cancel("1".to_owned());
        Record { client: 1, began, ended: began + 5, call, told }
    };
    assert_eq!(found(&[&two[..], &[cancel(30), buy("c", 40, told("3"))]].concat()), (0, 0));
    assert_eq!(found(&[&two[..], &[buy("c", 30, told("3")), cancel(40)]].concat()), (1, 0));
    let more = [&two[..], &[cancel(30), buy("c", 40, sold_out())]].concat();
    assert_eq!(found(&more), (0, 1));
    // More than the limit, of one user.
    let limit = Rules { total: 9, limit_per_user: 1, ..rules };
    let mut tally = Tally::quiet();
    let twice = [buy("a", 10, told("1")), buy("a", 20, told("2"))];
    check(&limit, &field, &twice, &[], &mut tally);
    assert_eq!((tally.oversold, tally.wrong), (1, 0));
}
