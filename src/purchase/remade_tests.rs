//! Sales that are removed and made again while buyers ask: whatever the order in which that and the
//! answers of the ledger come, nobody waits for ever, and the sale is shown and sold afterwards.

use std::rc::Rc;
use std::sync::Arc;

use super::*;
use crate::clock::Clock;
use crate::ledger::batch::{Asker, Batcher, Ticket};
use crate::ledger::fake::FakeLedger;
use crate::ledger::flight::Flight;
use crate::ledger::{Failure, Group, GroupReply};
use crate::limits::TICK_INTERVAL_MS;
use crate::patience::Patience;
use crate::sale::{Command, Creation, Key, Machine, Outcome, SaleId, SaleSpec, Split, User};
use crate::splits::place_id;
use crate::stock::StockSetting;
use crate::test_coroutines::{beside, run};

const ASKER: Asker = Asker(0);
const CORES: usize = 2;

struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

enum Request {
    Show(Ticket),
    Buy(Asked),
}

type Replies = Vec<Result<GroupReply, Failure>>;

struct OnCore {
    seller: &'static Seller,
    flight: Option<(Flight, Option<Replies>)>,
    requests: Vec<(Request, String)>,
}

struct World {
    clock: Rc<Clock>,
    ledger: FakeLedger,
    cores: Vec<OnCore>,
    making: u64,
    parts: u32,
    steps: Vec<Step>,
    trace: Vec<String>,
    number: usize,
    units: u64,
}

#[derive(Debug, Clone)]
enum Step {
    Close(String),
    Remove(String),
    Make(String, SaleSpec),
}

fn spec(total: u64, split: Split) -> SaleSpec {
    SaleSpec { split, ..SaleSpec::with_total(total) }
}

impl World {
    fn new() -> Self {
        let clock = Rc::new(Clock::default());
        clock.set(1_000_000);
        let selling = Arc::new(Selling::new(CORES, StockSetting::Auto, 50, Arc::default()));
        let core = |index| {
            let batcher = Batcher::new(Patience::new(None, 2_000).into());
            let seller = Seller::new(index, selling.clone(), clock.clone(), batcher, None);
            let seller: &'static Seller = Box::leak(Box::new(seller));
            seller.batcher.set_settle(Box::new(Settler(seller)));
            seller.batcher.set_available();
            seller.flows.set_spawn(Box::new(|flow| {
                beside(flow, |flow| flow());
                true
            }));
            OnCore { seller, flight: None, requests: Vec::new() }
        };
        let cores = (0..CORES).map(core).collect();
        let mut world = Self {
            clock,
            ledger: FakeLedger::default(),
            cores,
            making: 0,
            parts: 1,
            steps: Vec::new(),
            trace: Vec::new(),
            number: 0,
            units: 100_000,
        };
        world.make(1);
        world.finish_steps();
        world
    }

    fn place(number: usize, parts: u32) -> String {
        place_id(&SaleId::new("ticket").unwrap(), number, parts).to_string()
    }

    fn make(&mut self, parts: u32) {
        let places = |parts: u32| if parts > 1 { parts as usize } else { 0 };
        let old = self.parts;
        if self.making > 0 {
            for n in 0..=places(old) {
                self.steps.push(Step::Close(Self::place(n, old)));
            }
            for n in (0..=places(old)).rev() {
                self.steps.push(Step::Remove(Self::place(n, old)));
            }
        }
        self.making += 1;
        self.parts = parts;
        let whole = if parts > 1 { 0 } else { self.units };
        self.steps.push(Step::Make("ticket".into(), spec(whole, Split::into_parts(parts))));
        for n in 1..=places(parts) {
            let spec = spec(self.units, Split::Part { of: parts });
            self.steps.push(Step::Make(Self::place(n, parts), spec));
        }
        self.steps.reverse();
    }

    fn step(&mut self) {
        let Some(step) = self.steps.pop() else { return };
        self.trace.push(format!("ledger {step:?}"));
        let now_ms = self.clock.now_ms();
        match step {
            Step::Close(place) => {
                if let Some(machine) = self.ledger.sales.get_mut(&place) {
                    machine.apply(now_ms, &Command::Close);
                }
            }
            Step::Remove(place) => drop(self.ledger.sales.remove(&place)),
            Step::Make(place, spec) => {
                let machine = Machine::of_making(spec, Creation(self.making));
                self.ledger.sales.insert(place, machine);
            }
        }
    }

    fn finish_steps(&mut self) {
        while !self.steps.is_empty() {
            self.step();
        }
    }

    fn take(&mut self, at: usize) {
        let core = &mut self.cores[at];
        if core.flight.is_none() && core.seller.batcher.has_more() {
            let flight = core.seller.batcher.take_batch(self.clock.now_ms());
            let short = |c: &Command| format!("{c:?}").chars().take(14).collect::<String>();
            let groups: Vec<_> = flight
                .groups()
                .iter()
                .map(|g| (g.sale.to_string(), g.commands.iter().map(short).collect::<Vec<_>>()))
                .collect();
            self.trace.push(format!("{at} sends {groups:?}"));
            core.flight = Some((flight, None));
        }
    }

    fn execute(&mut self, at: usize) {
        let now_ms = self.clock.now_ms();
        let Some((flight, replies @ None)) = &mut self.cores[at].flight else { return };
        let sales = &mut self.ledger.sales;
        let answer = |group: &Group| {
            let mut outcomes = vec![Outcome::UnknownSale; group.commands.len()];
            let free = sales.get_mut(group.sale.as_str()).map(|machine| {
                outcomes = group.commands.iter().map(|c| machine.apply(now_ms, c)).collect();
                machine.free()
            });
            Ok(GroupReply { outcomes, free, now_ms })
        };
        let all: Replies = flight.groups().iter().map(answer).collect();
        self.trace.push(format!(
            "{at} executed {:?}",
            all.iter()
                .map(|r| r.as_ref().unwrap().outcomes.iter().map(|o| format!("{o:?}").chars().take(14).collect::<String>()).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        ));
        *replies = Some(all);
    }

    fn deliver(&mut self, at: usize) {
        match self.cores[at].flight.take() {
            Some((flight, Some(replies))) => {
                self.trace.push(format!("{at} delivers"));
                self.cores[at].seller.batcher.complete(flight, replies);
                may::coroutine::yield_now();
                may::coroutine::yield_now();
            }
            flight => self.cores[at].flight = flight,
        }
    }

    fn ask(&mut self, at: usize, kind: usize) {
        self.number += 1;
        let name = format!("#{} kind {kind} on {at}", self.number);
        self.trace.push(name.clone());
        let seller = self.cores[at].seller;
        let Ok(slot) = seller.sale("ticket") else { return };
        let request = if kind == 0 {
            if look(seller, &slot).is_some() {
                return;
            }
            match ask(seller, &slot, ASKER) {
                Ok(ticket) => Request::Show(ticket),
                Err(_) => return,
            }
        } else {
            let user = Some(User::new(&format!("user{}", self.number % 8)).unwrap());
            let key = (kind == 2).then(|| Key::new(&self.number.to_string()).unwrap());
            match begin(seller, &slot, Ask { quantity: 1, user, key, trace: None }, ASKER) {
                Progress::Waits(asked) => Request::Buy(asked),
                Progress::Done(_) => return,
            }
        };
        self.cores[at].requests.push((request, name));
    }

    fn go_on(&mut self, at: usize) {
        let core = &mut self.cores[at];
        for (request, name) in std::mem::take(&mut core.requests) {
            let left = match request {
                Request::Show(ticket) => core.seller.batcher.take(ticket).err().map(Request::Show),
                Request::Buy(asked) => match asked.go_on(core.seller, ASKER) {
                    Progress::Waits(asked) => Some(Request::Buy(asked)),
                    Progress::Done(_) => None,
                },
            };
            match left {
                Some(left) => core.requests.push((left, name)),
                None => self.trace.push(format!("{name} is answered")),
            }
        }
    }

    fn tick(&mut self, at: usize) {
        self.trace.push(format!("{at} ticks"));
        self.clock.set(self.clock.now_ms() + TICK_INTERVAL_MS / 2);
        self.cores[at].seller.tick();
    }

    fn round(&mut self) {
        for at in 0..CORES {
            self.tick(at);
            self.take(at);
            self.execute(at);
            self.deliver(at);
            self.go_on(at);
        }
    }

    fn settle(&mut self, seed: u64) {
        for _ in 0..30 {
            self.round();
        }
        for core in &self.cores {
            if !core.requests.is_empty() {
                let names: Vec<_> = core.requests.iter().map(|(_, name)| name).collect();
                let from = 0usize;
                panic!("seed {seed}: {names:?} wait for ever:\n{}", self.trace[from..].join("\n"));
            }
        }
    }
}

#[test]
fn simulate() {
    let from = std::env::var("SEED").ok().and_then(|s| s.parse().ok());
    let seeds = from.map_or(0..4_000, |s: u64| s..s + 1);
    for seed in seeds {
        run(move || one(seed));
    }
}

fn one(seed: u64) {
    {
        let mut chance = Chance(seed);
        let mut world = World::new();
        for _ in 0..300 {
            let at = chance.below(CORES);
            match chance.below(16) {
                0 => world.tick(at),
                1 | 2 => {
                    let kind = chance.below(3);
                    world.ask(at, kind);
                }
                3..=5 => world.take(at),
                6..=8 => world.execute(at),
                9..=11 => world.deliver(at),
                12 | 13 => world.go_on(at),
                _ if world.steps.is_empty() => {
                    if chance.below(8) == 0 {
                        let parts = [1, 2, 4, 4][chance.below(4)];
                        world.units = [3, 100_000][chance.below(2)];
                        world.make(parts);
                    }
                }
                _ => world.step(),
            }
        }
        world.finish_steps();
        world.settle(seed);
        for at in 0..CORES {
            world.ask(at, 0);
            world.ask(at, 1);
        }
        world.settle(seed);
        let total = world.units * u64::from(world.parts);
        for at in 0..CORES {
            let slot = world.cores[at].seller.sale("ticket").unwrap();
            let seen = slot.last_view().map(|seen| (seen.view.spec.total, seen.view.spec.split));
            assert_eq!(seen, Some((total, Split::into_parts(world.parts))), "seed {seed}: {}", world.trace.join("\n"));
        }
    }
}
