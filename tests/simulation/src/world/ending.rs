//! The end of a run: without faults, every client finds out what became of its wishes, every
//! request is answered, and one buyer takes what is left.

use stampede::ledger::Group;
use stampede::sale::{Command, Places, SaleId, SaleSpec, SaleState, SaleView, Split};
use stampede::splits::place_id;
use stampede::stock::StockSetting;

use super::{FOR_EVER, Phase, World};
use crate::call::Told;
use crate::client::Probe;
use crate::names::CoreId;
use crate::redis::Place;
use crate::schedule::Event;
use crate::server::Core;
use crate::time::{MS, SECOND, Us};

/// Time of the quiet end: longer than the patience of every client and than every delay.
const QUIET: Us = 12 * SECOND;
/// Time after that until the last buyer comes: every core knows by then what is left.
const PROBE_PAUSE: Us = SECOND;

impl World {
    pub(super) fn quiet(&mut self) {
        let now = self.now();
        self.trace.note(now, || "the faults end".to_owned());
        self.phase = Phase::Quiet;
        self.net.heal();
        self.end_failovers();
        for server in 0..self.servers.len() {
            self.servers[server].cores.iter_mut().for_each(|core| core.stalled_until = 0);
            self.start(server);
        }
        if let Some(embedded) = &self.embedded {
            embedded.machine.heal();
        }
        // As docs/internals/sales-in-parts.md says: who repeats a creation completes it.
        for (sale, spec) in self.half_made() {
            self.start_operators(&Group { sale, commands: vec![Command::Create(spec)] });
        }
        self.schedule.after(QUIET, Event::Probe);
    }

    /// The split sales of which a part is missing, or belongs to an earlier sale of that name.
    fn half_made(&self) -> Vec<(SaleId, SaleSpec)> {
        let heads = self.node.places().iter().filter_map(|(sale, place)| {
            let head = place.machine.view();
            let Split::Head { parts } = head.spec.split else { return None };
            let spec = head.spec.clone().for_another();
            self.whole(sale, head, parts).is_none().then(|| (sale.detached(), spec))
        });
        heads.collect()
    }

    /// All places of a split sale, if it has them all.
    fn whole(&self, sale: &SaleId, head: SaleView, parts: u32) -> Option<Places> {
        let places = self.node.places();
        let view =
            |number| places.get(&place_id(sale, number, parts)).map(|place| place.machine.view());
        let all = Places::new(head, (1..=parts as usize).map(view).collect())?;
        (all.missing().is_empty() && all.foreign().is_empty()).then_some(all)
    }

    pub(super) fn begin_probe(&mut self) {
        let now = self.now();
        self.trace.note(now, || "everything should be answered".to_owned());
        self.phase = Phase::Probe;
        // The sweeps stop, so that no unit comes back while the last buyer counts.
        self.end_clients();
        self.oracle.excuse_sweep(None, now + FOR_EVER);
        if let Some(embedded) = &self.embedded {
            embedded.times.freeze();
        }
        // A sale that stays half made is unavailable: an operator is told of the foreign parts.
        if self.half_made().is_empty() {
            self.check_all_is_answered();
        }
        self.schedule.after(PROBE_PAUSE, Event::Think(self.last_buyer()));
    }

    fn check_all_is_answered(&mut self) {
        let unsettled = self.clients.iter().filter(|client| !client.knows_all()).count();
        if unsettled > 0 {
            self.find(format!("{unsettled} clients do not know what became of their wishes"));
        }
        let cores = self.servers.iter().flat_map(|server| &server.cores);
        let unanswered: Vec<String> = cores.filter_map(Core::unanswered).collect();
        unanswered.into_iter().for_each(|what| self.find(what));
    }

    pub(super) fn probe_next(&mut self) {
        if self.probe.is_none() {
            self.probe = Some(Probe::new(self.units_left()));
        }
        let Some(wish) = self.probe.as_mut().and_then(Probe::next_wish) else {
            return self.schedule.after(1, Event::End);
        };
        let number = self.delays.below(self.servers.len() as u64) as usize;
        let core = self.delays.below(self.plan.cores as u64) as usize;
        let id = CoreId { server: number, start: self.servers[number].start, core };
        self.ask(self.last_buyer(), id, QUIET, wish);
    }

    pub(super) fn probe_hears(&mut self, told: &Told) {
        if let Some(wrong) = self.probe.as_mut().and_then(|probe| probe.hear(told)) {
            self.find(wrong);
        }
        self.schedule.after(1, Event::Think(self.last_buyer()));
    }

    /// The units that are left of each sale from which anybody can buy. None if the allowances of
    /// the servers may be used up.
    pub(super) fn units_left(&self) -> Vec<(SaleId, u64)> {
        if self.plan.stock != StockSetting::Auto {
            return Vec::new();
        }
        if let Some(embedded) = &self.embedded {
            let now_ms = embedded.times.ledger_now_ms();
            let left = self.plan.sales.iter().filter_map(|sale| {
                let place = self.oracle.place(&sale.sale)?;
                let is_open = place.header.spec.state(now_ms) == SaleState::Open;
                is_open.then(|| (sale.sale.clone(), place.free()))
            });
            return left.collect();
        }
        let now_ms = self.node.clocks.wall_ms(self.now());
        let stays_open = |place: &Place| {
            let (spec, now_ms) = (place.machine.view().spec, now_ms.max(place.now_ms));
            [now_ms, now_ms + QUIET / MS].map(|at_ms| spec.state(at_ms)) == [SaleState::Open; 2]
        };
        let places = self.node.places();
        let open = |sale: &SaleId| places.get(sale).filter(|place| stays_open(place));
        let wholes = places.keys().filter(|sale| !sale.is_part());
        let left = wholes.filter_map(|sale| {
            let place = open(sale)?;
            let head = place.machine.view();
            let Split::Head { parts } = head.spec.split else {
                return Some((sale.clone(), place.machine.free()));
            };
            let is_open = |number| open(&place_id(sale, number, parts)).is_some();
            let whole = self.whole(sale, head, parts)?;
            let in_transit = whole.in_transit().iter().map(|transfer| transfer.units).sum::<u64>();
            (1..=parts as usize).all(is_open).then(|| (sale.clone(), whole.free() + in_transit))
        });
        left.collect()
    }
}
