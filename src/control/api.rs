//! Carries out the requests of the control port, with a blocking client of the ledger.
//!
//! It knows no connection. The control thread calls it for requests over HTTP, and an operator's
//! command for its own requests.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use serde::Serialize;
use serde_json::json;

use super::body;
use super::instances;
use super::pagination::Pagination;
use super::problem::not_found;
use super::refusal::{refusal, unexpected};
use super::request::{Reply, Request, Wanted};
use super::snapshot::Snapshot;
use super::split;
use crate::api_json::{ReservationJson, SaleJson};
use crate::audit::{AuditError, Mode, Report, audit};
use crate::background::{AuditCounts, Audited, LastAudit};
use crate::code::ErrorCode;
use crate::code::control::EXISTS;
use crate::engine::http::{Kind, Method, Problem, Remedy, Status};
use crate::ledger::client::Client;
use crate::ledger::format::needed_by;
use crate::ledger::{Batch, Group};
use crate::limits::{CONTROL_PAGE_DEFAULT, CONTROL_PAGE_MAX, CONTROL_RESERVATIONS_PAGE_MAX};
use crate::members::Instance;
use crate::orders::{DatabaseError, DatabaseUrl, Destination};
use crate::route::percent;
use crate::route::table::Operation;
use crate::sale::{Command, Outcome, ReservationId, SaleId, SaleState, SaleView};

/// Number of sales per ledger query of a list.
const SHOWN_AT_ONCE: usize = 256;

/// Carries out requests one after the other.
pub struct Api {
    client: Box<dyn Client>,
    orders: Option<Destination>,
    instance: Option<Arc<Instance>>,
    snapshot: Option<Snapshot>,
    /// The request must change nothing.
    read_only: bool,
}

/// The reply to taking stock back.
#[derive(Serialize)]
struct StockTakenJson {
    #[serde(flatten)]
    sale: SaleJson,
    taken: u64,
}

type Answer = Result<Reply, Problem>;

impl Api {
    /// With this client of the ledger.
    pub fn new(client: Box<dyn Client>) -> Self {
        Self { client, orders: None, instance: None, snapshot: None, read_only: false }
    }

    /// With the database that audits compare with.
    pub fn with_orders(self, orders: Option<Destination>) -> Self {
        Self { orders: orders.or(self.orders), ..self }
    }

    /// As part of this server.
    pub fn with_instance(self, instance: Arc<Instance>) -> Self {
        Self { instance: Some(instance), ..self }
    }

    /// Carries out a request.
    pub fn answer(&mut self, request: &Request) -> Reply {
        self.read_only = request.read_only;
        let routed = self.route(request);
        routed.unwrap_or_else(|problem| match problem.remedy {
            Some(Remedy::Allow(allow)) if request.method == Method::Options => {
                Reply::options(allow)
            }
            _ => problem.into(),
        })
    }

    /// Drops a list that no client has read from for a while.
    pub fn forget_old_snapshot(&mut self, now: Instant) {
        if self.snapshot.as_ref().is_some_and(|snapshot| snapshot.is_old(now)) {
            self.snapshot = None;
        }
    }

    fn route(&mut self, request: &Request) -> Answer {
        let (endpoint, name) = match &request.wanted {
            Wanted::Endpoint(endpoint, name) => (endpoint, name),
            Wanted::Path(methods) => return Err(Problem::method_not_allowed(&methods.allow)),
            Wanted::Nothing => return Err(Problem::of(Kind::NOT_FOUND)),
        };
        if !request.query().is_empty() && endpoint.parameters == Some(&[]) {
            return Err(Problem::invalid("query", "This path has no query parameters."));
        }
        match endpoint.operation {
            Operation::ListSales => self.list(request),
            Operation::CreateSale => self.create(request),
            Operation::ShowSale => self.on_sale(name, Command::Show),
            Operation::ChangeSale => {
                let terms = body::terms(request)?;
                self.on_sale(name, Command::ChangeTerms(terms))
            }
            Operation::RemoveSale => {
                self.record_orders_position()?;
                self.on_sale(name, Command::Remove)
            }
            Operation::ListReservations => self.reservations(name, request),
            Operation::OpenSale => self.on_sale(name, Command::Open),
            Operation::CloseSale => self.on_sale(name, Command::Close),
            Operation::ResetSale => {
                let (total, force) = body::reset(request)?;
                self.record_orders_position()?;
                self.on_sale(name, Command::Reset { total, force })
            }
            Operation::AddStock => {
                let units = body::units(request)?;
                self.on_sale(name, Command::AddStock(units))
            }
            Operation::TakeStock => {
                let (units, at_most) = body::units_to_take(request)?;
                self.on_sale(name, Command::TakeStock { units, at_most })
            }
            Operation::ShowReservation => self.on_reservation(name, Command::ShowReservation),
            Operation::Confirm => self.on_reservation(name, Command::Confirm),
            Operation::Extend => {
                let hold_ms = body::extension(request)?;
                self.on_reservation(name, |id| Command::Extend(id, hold_ms))
            }
            Operation::Cancel => {
                let remaining = body::remaining(request)?;
                self.on_reservation(name, |id| match remaining {
                    None => Command::Cancel(id),
                    Some(remaining) => Command::CancelTo(id, remaining),
                })
            }
            Operation::Refund => {
                let remaining = body::remaining(request)?;
                self.on_reservation(name, |id| match remaining {
                    None => Command::Refund(id),
                    Some(remaining) => Command::RefundTo(id, remaining),
                })
            }
            Operation::ListInstances => self.instances(),
            Operation::Audit => self.audit(request, Mode::Look),
            Operation::Repair => self.audit(request, Mode::Repair),
            // The port answers these without the ledger, or they belong to the public port.
            Operation::Describe
            | Operation::Livez
            | Operation::Readyz
            | Operation::Metrics
            | Operation::LivePage
            | Operation::Live
            | Operation::BuyTicket
            | Operation::Plaintext
            | Operation::Json
            | Operation::Reserve => Err(Problem::of(Kind::NOT_FOUND)),
        }
    }

    /// Sends one command to the ledger, or only shows its subject if the request must change
    /// nothing.
    fn ask(&mut self, sale: &SaleId, command: Command) -> Result<Outcome, Problem> {
        let command = match command {
            command if !self.read_only => command,
            command => command.reservation().map_or(Command::Show, Command::ShowReservation),
        };
        if let Some(why) = self.client.format_blocker(needed_by(&command))? {
            return Err(Problem::new(ErrorCode::Unavailable, why));
        }
        split::apply(&mut *self.client, sale, command)
    }

    fn create(&mut self, request: &Request) -> Answer {
        let (id, spec) = body::sale(request)?;
        if self.read_only {
            return self.list(request);
        }
        match self.ask(&id, Command::Create(spec.clone()))? {
            Outcome::Created(view) => Ok(Reply::json(Status::Created, &SaleJson::of(&id, &view))),
            Outcome::Sale(view) if view.spec == spec => {
                Ok(Reply::json(Status::Ok, &SaleJson::of(&id, &view)))
            }
            Outcome::Sale(view) => {
                let differences = view.spec.differences(&spec).join(", ");
                let detail = format!(
                    "The sale {id} exists with other terms and was not changed: {differences}."
                );
                let sale = serde_json::to_value(SaleJson::of(&id, &view)).unwrap_or_default();
                Err(Problem::new(EXISTS, detail).with("sale", sale))
            }
            outcome => Err(refusal(outcome)),
        }
    }

    fn on_sale(&mut self, sale: &str, command: Command) -> Answer {
        let id = sale_id(sale)?;
        match self.ask(&id, command)? {
            Outcome::Sale(view) | Outcome::Created(view) => {
                Ok(Reply::json(Status::Ok, &SaleJson::of(&id, &view)))
            }
            Outcome::StockTaken { units, view } => {
                let sale = SaleJson::of(&id, &view);
                Ok(Reply::json(Status::Ok, &StockTakenJson { sale, taken: units }))
            }
            Outcome::Removed => {
                Ok(Reply::json(Status::Ok, &json!({ "id": id.as_str(), "removed": true })))
            }
            Outcome::UnknownSale => Err(unknown_sale(&id)),
            outcome => Err(refusal(outcome)),
        }
    }

    /// The embedded ledger must know how far the orders are before it may forget changes.
    fn record_orders_position(&mut self) -> Result<(), Problem> {
        let (Some(orders), Some(source)) = (&self.orders, self.client.orders_source()) else {
            return Ok(());
        };
        let unavailable = |error: DatabaseError| {
            Problem::new(ErrorCode::Unavailable, format!("the orders: {error}"))
        };
        let position = orders.position(&source).map_err(unavailable)?;
        Ok(self.client.orders_have(position.unwrap_or(0))?)
    }

    fn on_reservation(
        &mut self,
        id: &str,
        command: impl FnOnce(ReservationId) -> Command,
    ) -> Answer {
        let (sale, id) = ReservationId::from_public(id)
            .map_err(|error| Problem::invalid("reservation", format!("{error}.")))?;
        match self.ask(&sale, command(id))? {
            Outcome::Reservation(reservation) => {
                Ok(Reply::json(Status::Ok, &ReservationJson::of(&sale, &reservation)))
            }
            Outcome::UnknownSale => Err(not_found("reservation")),
            outcome => Err(refusal(outcome)),
        }
    }

    /// A page of the sales, ordered by id.
    fn list(&mut self, request: &Request) -> Answer {
        let page = Pagination::read(request, CONTROL_PAGE_DEFAULT, CONTROL_PAGE_MAX)?;
        let after = page.after.as_deref().map(sale_id_of("after")).transpose()?;
        let all = self.ids()?;
        let from = after.map_or(0, |after| all.partition_point(|id| *id <= after));
        let rest = &all[from..];
        let ids = &rest[..rest.len().min(page.limit)];
        let sales = self.show_all(ids)?;
        let next = (rest.len() > ids.len()).then(|| ids.last().map(SaleId::as_str)).flatten();
        Ok(Reply::json(Status::Ok, &json!({ "sales": sales, "next": next })))
    }

    /// All sales, ordered by id.
    pub(super) fn all_sales(&mut self) -> Result<Vec<SaleJson>, Problem> {
        let ids = self.ids()?;
        self.show_all(&ids)
    }

    /// The ids of all sales, ordered.
    fn ids(&mut self) -> Result<Vec<SaleId>, Problem> {
        let mut all = self.client.sales()?;
        all.retain(|id| !id.is_part());
        Ok(all)
    }

    fn show_all(&mut self, ids: &[SaleId]) -> Result<Vec<SaleJson>, Problem> {
        let mut sales = Vec::with_capacity(ids.len());
        for ids in ids.chunks(SHOWN_AT_ONCE) {
            sales.extend(self.show(ids)?);
        }
        Ok(sales)
    }

    fn show(&mut self, ids: &[SaleId]) -> Result<Vec<SaleJson>, Problem> {
        let group = |id: &SaleId| Group { sale: id.clone(), commands: vec![Command::Show] };
        let reply = self.client.apply(&Batch { groups: ids.iter().map(group).collect() })?;
        let mut shown = Vec::with_capacity(ids.len());
        for (id, mut group) in ids.iter().zip(reply) {
            // A sale that was removed meanwhile is left out.
            if let Some(Outcome::Sale(view)) = group.outcomes.pop()
                && let Some(view) = split::view_of(&mut *self.client, id, *view)?
            {
                shown.push(SaleJson::of(id, &view));
            }
        }
        Ok(shown)
    }

    /// A page of a sale's reservations, of one user or of all. Consecutive pages show one point in
    /// time. All users are shown only when the sale is over and holds nothing, so that the list is
    /// final.
    fn reservations(&mut self, sale: &str, request: &Request) -> Answer {
        let id = sale_id(sale)?;
        let max = CONTROL_RESERVATIONS_PAGE_MAX;
        let page = Pagination::read(request, max, max)?;
        let user = page.user.as_ref();
        let after = match &page.after {
            None => None,
            Some(after) => match ReservationId::from_public(after) {
                Ok((sale, after)) if sale.whole() == id => Some(after),
                _ => {
                    return Err(Problem::invalid("after", "after is no reservation of this sale."));
                }
            },
        };
        let fits = self.snapshot.as_ref().is_some_and(|s| s.is_of(&id, user)) && after.is_some();
        if !fits {
            self.snapshot = None;
            let split = match self.ask(&id, Command::Show)? {
                Outcome::Sale(view) if user.is_some() => view.spec.split,
                Outcome::Sale(view) => check_final(&view).map(|()| view.spec.split)?,
                outcome => return Err(refusal(outcome)),
            };
            let audit = split::reservations(&mut *self.client, &id, split)?;
            let audit = audit.ok_or_else(|| not_found("sale"))?;
            self.snapshot = Some(Snapshot::new(id.clone(), user.cloned(), audit.reservations));
        }
        let Some(snapshot) = &mut self.snapshot else { return Err(unexpected(None)) };
        let (changes, more) = snapshot.page(after, page.limit);
        let reservations: Vec<_> = changes.iter().map(ReservationJson::of_change).collect();
        let last = changes.last().filter(|_| more);
        let next = last.map(|change| format!("{}~{}", change.sale, change.reservation.id));
        let reply = Reply::json(Status::Ok, &json!({ "reservations": reservations, "next": next }));
        if !more {
            self.snapshot = None;
        }
        Ok(reply)
    }

    /// The servers that share the ledger, or this one alone.
    fn instances(&mut self) -> Answer {
        let instances: Vec<_> = match self.client.members()? {
            Some(roll) => roll.leases.iter().map(instances::leased).collect(),
            None => self.instance.as_deref().map(instances::alone).into_iter().collect(),
        };
        Ok(Reply::json(Status::Ok, &json!({ "instances": instances })))
    }

    /// Audits the named sales or all, and repairs them if requested. Differences are not a failure
    /// of the request; an audit that could not read the data is one.
    fn audit(&mut self, request: &Request, mut mode: Mode) -> Answer {
        let mut sales = Vec::new();
        for (name, value) in percent::parameters(request.query()) {
            match (&*name, value) {
                ("sale", id) => sales.push(sale_id(&percent::decode(id).unwrap_or_default())?),
                ("release_units", "true") if mode != Mode::Look => mode = Mode::ReleaseUnits,
                ("release_units", "false") if mode != Mode::Look => {}
                ("release_units", _) if mode != Mode::Look => {
                    let detail = "release_units must be true or false.";
                    return Err(Problem::invalid("release_units", detail));
                }
                _ => {
                    let detail = "The parameters are sale and, with POST, release_units.";
                    return Err(Problem::invalid("query", detail));
                }
            }
        }
        if self.read_only {
            mode = Mode::Look;
        }
        let began = Instant::now();
        let audited = self.compare(&sales, mode);
        if let Some(instance) = &self.instance {
            note_audit(&instance.background().audits, sales.is_empty(), began, &audited);
        }
        let report = audited.map_err(|error| match error {
            AuditError::UnknownSale(ref id) => unknown_sale(id),
            AuditError::Ledger(error) => Problem::from(error),
            AuditError::Orders(_) => Problem::new(ErrorCode::Unavailable, error.to_string()),
        })?;
        Ok(Reply::json(Status::Ok, &report))
    }

    fn compare(&mut self, sales: &[SaleId], mode: Mode) -> Result<Report, AuditError> {
        let database = self.orders.as_ref().and_then(Destination::database);
        let mut orders = database.map(DatabaseUrl::open).transpose()?;
        let orders = orders.as_mut().map(|orders| &mut **orders as _);
        audit(&mut *self.client, orders, sales, mode)
    }
}

/// Counts an audit. An audit of some sales does not replace the result of the last one of all
/// sales.
fn note_audit(
    counts: &AuditCounts,
    of_all: bool,
    began: Instant,
    audited: &Result<Report, AuditError>,
) {
    let report = match audited {
        Ok(report) => report,
        // The caller has named it.
        Err(AuditError::UnknownSale(_)) => return,
        Err(_) => return counts.count(Audited::Failed),
    };
    counts.count(if report.agrees() { Audited::Agrees } else { Audited::Differs });
    if of_all {
        let (ended, took) = (SystemTime::now(), began.elapsed());
        counts.set_last(LastAudit { ended, took, differences: report.differences });
    }
}

fn sale_id_of(field: &'static str) -> impl Fn(&str) -> Result<SaleId, Problem> {
    move |text| SaleId::new(text).map_err(|error| Problem::invalid(field, format!("{error}.")))
}

fn sale_id(text: &str) -> Result<SaleId, Problem> {
    sale_id_of("sale")(text)
}

/// Reservations that may still change are no archive.
fn check_final(view: &SaleView) -> Result<(), Problem> {
    if view.state() != SaleState::Closed {
        return Err(refusal(Outcome::NotClosed));
    }
    if view.held > 0 { Err(refusal(Outcome::StillHeld { held: view.held })) } else { Ok(()) }
}

fn unknown_sale(id: &SaleId) -> Problem {
    Problem::new(Kind::NOT_FOUND, format!("There is no sale {id}."))
}
