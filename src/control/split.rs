//! Commands to a split sale: they go to all of its places (head and parts), so that callers see one
//! sale.
//!
//! If a command reached only some places, repeating it completes it.

use crate::code::ErrorCode;
use crate::code::control::FOREIGN_PARTS;
use crate::engine::http::Problem;
use crate::ledger::LedgerError;
use crate::ledger::client::{Client, SaleAudit};
use crate::ledger::{Batch, Group};
use crate::limits::{LIMIT_COUNT_UNITS_MAX, SPLIT_ROUNDS_MAX, TIME_MS_MAX, TOTAL_MAX};
use crate::sale::{
    Command, Outcome, Places, SaleId, SaleSpec, SaleState, SaleView, SpecError, Split, Terms,
};
use crate::splits::{self, PartsCreation};

/// The outcome of a command to a sale that may be split, as if it had one place.
///
/// # Errors
/// The ledger does not answer, or parts are missing.
pub fn apply(client: &mut dyn Client, id: &SaleId, command: Command) -> Result<Outcome, Problem> {
    if !client.can_split() {
        return match command {
            Command::Create(spec) if spec.split != Split::Whole => Err(Problem::invalid(
                "splits",
                "An embedded ledger splits no sale: it has one core to sell from. Use redis://…",
            )),
            Command::Reset { total, force } => remove_and_create(client, id, total, force),
            command => Ok(one(client, id, command)?),
        };
    }
    if command.reservation().is_some() {
        let outcome = one(client, id, command.clone())?;
        return match (&outcome, command) {
            (Outcome::Expired, Command::Confirm(reservation)) if id.is_part() => {
                let mut client = client;
                splits::confirm_late(&mut client, id, reservation)?
                    .ok_or_else(|| Problem::of(ErrorCode::Unavailable))
            }
            _ => Ok(outcome),
        };
    }
    match command {
        Command::Create(spec) if spec.plan.is_some() => {
            let detail = "A sale with seats needs an embedded ledger: use embedded:…";
            return Err(Problem::invalid("seats", detail));
        }
        Command::Create(spec) => return create(client, id, &spec),
        Command::Reset { total, force } => return reset(client, id, total, force),
        _ => {}
    }
    let Outcome::Sale(view) = one(client, id, Command::Show)? else {
        return Ok(Outcome::UnknownSale);
    };
    let Split::Head { parts } = view.spec.split else { return Ok(one(client, id, command)?) };
    let Some(places) = look(client, id, parts)? else { return Ok(Outcome::UnknownSale) };
    match command {
        Command::Show => Ok(sale(whole(id, &places)?)),
        Command::AddStock(units) => {
            if places.view().spec.total.saturating_add(units) > TOTAL_MAX {
                return Ok(Outcome::TotalTooLarge);
            }
            note_stock(client, id, &places)?;
            // The head keeps the units until a part needs them.
            on_all(client, id, parts, &places, &[0], Command::AddStock(units))
        }
        Command::TakeStock { units, at_most } => {
            note_stock(client, id, &places)?;
            take_stock(client, id, parts, units, at_most)
        }
        Command::ChangeTerms(terms) => {
            whole(id, &places)?;
            if let Some(refusal) = refusal_of_terms(&places, parts, &terms) {
                return Ok(refusal);
            }
            on_all(client, id, parts, &places, &parts_then_head(parts), command)
        }
        Command::Open => {
            whole(id, &places)?;
            on_all(client, id, parts, &places, &parts_then_head(parts), Command::Open)
        }
        Command::Close => {
            on_all(client, id, parts, &places, &parts_then_head(parts), Command::Close)
        }
        Command::Remove => remove(client, id, parts, &places),
        command => Ok(one(client, id, command)?),
    }
}

/// The whole sale, from the view of its head if it is split.
pub fn view_of(
    client: &mut dyn Client,
    id: &SaleId,
    view: SaleView,
) -> Result<Option<SaleView>, LedgerError> {
    match view.spec.split {
        Split::Head { parts } => Ok(look(client, id, parts)?.map(|places| places.view())),
        Split::Whole | Split::Part { .. } => Ok(Some(view)),
    }
}

/// All reservations of a sale and of its parts, each part at one point in time. For a sale that is
/// over they are final. `None`: the sale does not exist.
pub fn reservations(
    client: &mut dyn Client,
    id: &SaleId,
    split: Split,
) -> Result<Option<SaleAudit>, LedgerError> {
    let Some(mut audit) = client.audit(id, None)? else { return Ok(None) };
    if let Split::Head { parts } = split {
        for number in 1..=parts as usize {
            if let Some(part) = client.audit(&splits::place_id(id, number, parts), None)? {
                audit.reservations.extend(part.reservations);
            }
        }
        audit.reservations.sort_unstable_by_key(|change| change.reservation.id);
    }
    Ok(Some(audit))
}

/// The head last, so that its state holds for all parts.
fn parts_then_head(parts: u32) -> Vec<usize> {
    (1..=parts as usize).chain([0]).collect()
}

/// Sends the same command to several places, one after the other. Returns the sale afterwards.
fn on_all(
    client: &mut dyn Client,
    id: &SaleId,
    parts: u32,
    places: &Places,
    numbers: &[usize],
    command: Command,
) -> Result<Outcome, Problem> {
    for &number in numbers.iter().filter(|&&number| places.get(number).is_some()) {
        let place = splits::place_id(id, number, parts);
        match one(client, &place, command.clone())? {
            Outcome::Sale(_) | Outcome::Removed | Outcome::UnknownSale => {}
            outcome => return Ok(outcome),
        }
    }
    Ok(look(client, id, parts)?.map_or(Outcome::Removed, |places| sale(places.view())))
}

/// 0.1.0 did not note the stock. If all transfers have ended, the places show it.
fn note_stock(client: &mut dyn Client, id: &SaleId, places: &Places) -> Result<(), LedgerError> {
    let ended = places.in_transit().is_empty() && places.received_but_not_sent(places).is_empty();
    if places.head().transfers.stock.is_none() && ended && places.missing().is_empty() {
        client.note_stock(id, places.head(), places.view().spec.total)?;
    }
    Ok(())
}

/// Takes units out of all places together, and returns the sale afterwards.
fn take_stock(
    mut client: &mut dyn Client,
    id: &SaleId,
    parts: u32,
    units: u64,
    at_most: bool,
) -> Result<Outcome, Problem> {
    let taken = splits::take_stock(&mut client, id, parts, units, at_most)?;
    let places = look(client, id, parts)?;
    match (taken, places) {
        (Some(Outcome::StockTaken { units, .. }), Some(places)) => {
            Ok(Outcome::StockTaken { units, view: Box::new(places.view()) })
        }
        (Some(outcome), _) => Ok(outcome),
        (None, None) => Ok(Outcome::UnknownSale),
        (None, Some(places)) => {
            whole(id, &places)?;
            let detail = "Other requests keep moving and buying units; nothing was taken.";
            Err(Problem::new(ErrorCode::Busy, detail))
        }
    }
}

/// Why one of the places would refuse new terms, checked before any place has them. A change
/// between this check and the command can leave some places with new terms and some with old ones;
/// repeating the command detects it.
fn refusal_of_terms(places: &Places, parts: u32, terms: &Terms) -> Option<Outcome> {
    let all = || (0..=parts as usize).filter_map(|number| places.get(number));
    let limits = |view: &SaleView| {
        let (is, will_be) = (&view.spec, terms.applied_to(&view.spec));
        is.limit_per_user == 0 && will_be.limit_per_user > 0
            || is.rules.reservations_per_user_max == 0
                && will_be.rules.reservations_per_user_max > 0
    };
    let units = |view: &&SaleView| view.held + view.confirmed;
    let opens_at_ms = all().map(|view| view.spec.opens_at_ms).max()?;
    if terms.closes_at_ms.is_some_and(|closes_at_ms| closes_at_ms <= opens_at_ms) {
        return Some(Outcome::ClosesTooEarly { opens_at_ms });
    }
    let defined = terms.applied_to(&places.head().spec);
    if let Some(refusal) = Outcome::refusal_of_quantities(terms, &defined) {
        return Some(refusal);
    }
    if defined.rules.reservations_max.is_some_and(|max| max > 0) {
        return Some(Outcome::BoundOfParts);
    }
    let counted = all().filter(|view| limits(view)).max_by_key(units)?;
    let units = units(&counted);
    (units > LIMIT_COUNT_UNITS_MAX).then_some(Outcome::TooManyToCount { units })
}

/// Nothing is removed unless all places may be. The head goes last: until then the sale exists, and
/// the command can be repeated.
fn remove(
    client: &mut dyn Client,
    id: &SaleId,
    parts: u32,
    places: &Places,
) -> Result<Outcome, Problem> {
    let view = places.view();
    if view.state() != SaleState::Closed {
        return Ok(Outcome::NotClosed);
    }
    if view.held > 0 {
        return Ok(Outcome::StillHeld { held: view.held });
    }
    for number in (1..=parts as usize).filter(|&number| places.get(number).is_some()) {
        match one(client, &splits::place_id(id, number, parts), Command::Remove)? {
            Outcome::Removed | Outcome::UnknownSale => {}
            outcome => return Ok(outcome),
        }
    }
    // Of two concurrent removals, one removes the sale, and the other one finds none.
    Ok(one(client, id, Command::Remove)?)
}

/// Creates a sale, or completes an earlier attempt.
fn create(client: &mut dyn Client, id: &SaleId, spec: &SaleSpec) -> Result<Outcome, Problem> {
    for _ in 0..SPLIT_ROUNDS_MAX {
        let outcome = one(client, id, Command::Create(spec.clone()))?;
        let (Outcome::Created(view) | Outcome::Sale(view)) = &outcome else { return Ok(outcome) };
        let Split::Head { parts } = view.spec.split else { return Ok(outcome) };
        let whole = make(client, id, parts)?.map(Box::new);
        match (outcome, whole) {
            (Outcome::Created(view), Some(whole)) if whole.creation == view.creation => {
                return Ok(Outcome::Created(whole));
            }
            // It was created, and removed by another request since.
            (outcome @ Outcome::Created(_), _) => return Ok(outcome),
            (_, Some(whole)) => return Ok(Outcome::Sale(whole)),
            // It existed, and was removed by another request before it was complete.
            (_, None) => {}
        }
    }
    Err(Problem::new(ErrorCode::Busy, "Other requests keep creating and removing the sale."))
}

/// Resets a sale. A split sale can't be reset in one step: it is removed, the head last, and then
/// created again. If that is interrupted, repeating the command completes it, or, once the head is
/// gone, creating the sale does.
fn reset(
    client: &mut dyn Client,
    id: &SaleId,
    total: Option<u64>,
    force: bool,
) -> Result<Outcome, Problem> {
    let shown = match one(client, id, Command::Show) {
        Ok(Outcome::Sale(view)) => Some(view),
        Ok(_) => None,
        // Damaged data of the sale is no obstacle. If the head is damaged, the number of parts is
        // unknown.
        Err(error @ LedgerError::Refused(_)) => {
            if client.sales()?.iter().any(|sale| sale.is_part() && sale.whole_str() == id.as_str())
            {
                return Err(error.into());
            }
            None
        }
        Err(error) => return Err(error.into()),
    };
    let Some((head, parts)) = shown.and_then(|view| match view.spec.split {
        Split::Head { parts } => Some((view, parts)),
        Split::Whole | Split::Part { .. } => None,
    }) else {
        return Ok(one(client, id, Command::Reset { total, force })?);
    };
    let places = match look(client, id, parts) {
        // A damaged part is no obstacle either, but its units can't be counted.
        Err(_) if force && total.is_some() => None,
        places => match places? {
            None => return Ok(Outcome::UnknownSale),
            Some(places) => Some(places),
        },
    };
    let mut spec = head.spec;
    if let Some(places) = places {
        let view = places.view();
        if !force && view.held + view.confirmed > 0 {
            return Ok(Outcome::HasSold { held: view.held, confirmed: view.confirmed });
        }
        if total.is_none() && !places.missing().is_empty() {
            return Ok(Outcome::TotalRequired);
        }
        spec.total = view.spec.total;
    }
    spec.total = total.unwrap_or(spec.total);
    for number in parts_then_head(parts) {
        let place = splits::place_id(id, number, parts);
        match one(client, &place, Command::Reset { total: None, force })? {
            Outcome::Removed | Outcome::UnknownSale => {}
            outcome => return Ok(outcome),
        }
    }
    create(client, id, &spec.for_another())
}

/// Resets a sale by removing and creating it: no units may be held.
fn remove_and_create(
    client: &mut dyn Client,
    id: &SaleId,
    total: Option<u64>,
    force: bool,
) -> Result<Outcome, Problem> {
    let Outcome::Sale(view) = one(client, id, Command::Show)? else {
        return Ok(Outcome::UnknownSale);
    };
    if view.held > 0 {
        return Ok(Outcome::StillHeld { held: view.held });
    }
    if view.confirmed > 0 && !force {
        return Ok(Outcome::HasSold { held: 0, confirmed: view.confirmed });
    }
    let mut spec = view.spec;
    if spec.plan.is_some() && total.is_some() {
        return Err(Problem::invalid("total", format!("{}.", SpecError::SeatsDiffer)));
    }
    spec.total = total.unwrap_or(spec.total);
    one(client, id, Command::Close)?;
    let removed = one(client, id, Command::Remove);
    if removed != Ok(Outcome::Removed) {
        if spec.closes_at_ms == TIME_MS_MAX {
            one(client, id, Command::Open)?;
        }
        return Ok(removed?);
    }
    Ok(one(client, id, Command::Create(spec.for_another()))?)
}

fn make(client: &mut dyn Client, id: &SaleId, parts: u32) -> Result<Option<SaleView>, Problem> {
    let mut client = client;
    match splits::create_parts(&mut client, id, parts)? {
        PartsCreation::Whole(places) => Ok(Some(places.view())),
        PartsCreation::Missing(numbers) => Err(missing(id, parts, &numbers)),
        PartsCreation::Foreign(numbers) => Err(foreign(id, parts, &numbers)),
        PartsCreation::Gone => Ok(None),
    }
}

fn look(client: &mut dyn Client, id: &SaleId, parts: u32) -> Result<Option<Places>, LedgerError> {
    let mut client = client;
    splits::view_places(&mut client, id, parts)
}

fn sale(view: SaleView) -> Outcome {
    Outcome::Sale(Box::new(view))
}

/// The view of a sale without missing parts; otherwise the counts would be wrong.
fn whole(id: &SaleId, places: &Places) -> Result<SaleView, Problem> {
    match &places.missing()[..] {
        [] => Ok(places.view()),
        numbers => Err(missing(id, places.head().spec.split.parts(), numbers)),
    }
}

fn names(id: &SaleId, parts: u32, numbers: &[usize]) -> String {
    let names = numbers.iter().map(|&n| splits::place_id(id, n, parts).to_string());
    names.collect::<Vec<_>>().join(", ")
}

fn foreign(id: &SaleId, parts: u32, numbers: &[usize]) -> Problem {
    let detail = format!(
        "There are parts of an earlier sale {id}, or parts with other terms: {}. \
         `stampede sale reset {id}` starts the sale again without them.",
        names(id, parts, numbers)
    );
    Problem::new(FOREIGN_PARTS, detail)
}

fn missing(id: &SaleId, parts: u32, numbers: &[usize]) -> Problem {
    Problem::new(
        ErrorCode::Unavailable,
        format!(
            "Parts of the sale are missing: {}. If the sale is being removed, remove it again; \
         otherwise restore the keys in Redis.",
            names(id, parts, numbers)
        ),
    )
}

/// Sends one command to one place.
fn one(client: &mut dyn Client, sale: &SaleId, command: Command) -> Result<Outcome, LedgerError> {
    let group = Group { sale: sale.clone(), commands: vec![command] };
    let mut reply = client.apply(&Batch { groups: vec![group] })?;
    let outcome = reply.pop().and_then(|mut group| group.outcomes.pop());
    outcome.ok_or_else(|| LedgerError::Lost("a reply without an outcome".into()))
}
