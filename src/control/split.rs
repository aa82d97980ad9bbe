//! What the control port does to a split sale: to all its places, so that it is one sale to whoever asks.
//!
//! What is done to some places and not to others is finished by asking for the same again.

use super::problem::Problem;
use crate::http::Code;
use crate::ledger::LedgerError;
use crate::ledger::client::{Client, SaleAudit};
use crate::ledger::{Batch, Group};
use crate::limits::TOTAL_MAX;
use crate::sale::{Command, Outcome, Places, SaleId, SaleView, Split, State};
use crate::splits::{self, Made};

/// The outcome of a command to a sale that may be split, as if it were one place.
///
/// # Errors
/// The ledger gives no answer, or parts are missing.
pub fn apply(client: &mut dyn Client, id: &SaleId, command: Command) -> Result<Outcome, Problem> {
    if !client.can_split() {
        return match command {
            Command::Create(spec) if spec.split != Split::Whole => Err(Problem::invalid(
                "splits",
                "An embedded ledger splits no sale: it has one core to sell from. Use redis://…",
            )),
            command => Ok(one(client, id, command)?),
        };
    }
    if let Command::Confirm(_) | Command::Cancel(_) | Command::ShowReservation(_) = command {
        let outcome = one(client, id, command.clone())?;
        return match (&outcome, command) {
            (Outcome::Expired, Command::Confirm(reservation)) if id.is_part() => {
                let mut client = client;
                splits::confirm_late(&mut client, id, reservation)?
                    .ok_or_else(|| Problem::of(Code::Unavailable))
            }
            _ => Ok(outcome),
        };
    }
    if let Command::Create(spec) = &command {
        return match (one(client, id, command.clone())?, spec.split) {
            (Outcome::Created(view), Split::Head { parts }) => {
                Ok(Outcome::Created(Box::new(make(client, id, parts)?.unwrap_or(*view))))
            }
            (Outcome::Sale(view), Split::Head { .. } | Split::Whole) => match view.spec.split {
                // Whoever created it may not have come to its end.
                Split::Head { parts } => {
                    Ok(make(client, id, parts)?.map_or(Outcome::UnknownSale, sale))
                }
                _ => Ok(Outcome::Sale(view)),
            },
            (outcome, _) => Ok(outcome),
        };
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
            // 0.1.0 noted no stock. If every move has ended, the places show it.
            let ended = places.under_way().is_empty() && places.from_nowhere(&places).is_empty();
            if places.head().moves.stock.is_none() && ended && places.missing().is_empty() {
                client.note_stock(id, places.head(), places.view().spec.total)?;
            }
            // The head has it until a part needs it.
            on_all(client, id, parts, &places, &[0], Command::AddStock(units))
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

/// The sale as people know it, from the view of its head if it is one.
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

/// Every reservation of a sale, also of its parts, at one point in time of each; those of a sale that
/// is over are final. `None`: there is no such sale.
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

/// The head last, so that what it says holds for all.
fn parts_then_head(parts: u32) -> Vec<usize> {
    (1..=parts as usize).chain([0]).collect()
}

/// The same command to several places, one after the other. The sale as it stands then.
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

/// Nothing is removed unless all may be, and the head goes last: until then the sale is known, and
/// the same can be asked again.
fn remove(
    client: &mut dyn Client,
    id: &SaleId,
    parts: u32,
    places: &Places,
) -> Result<Outcome, Problem> {
    let view = places.view();
    if view.state() != State::Closed {
        return Ok(Outcome::NotClosed);
    }
    if view.held > 0 {
        return Ok(Outcome::StillHeld { held: view.held });
    }
    on_all(client, id, parts, places, &parts_then_head(parts), Command::Remove)
}

fn make(client: &mut dyn Client, id: &SaleId, parts: u32) -> Result<Option<SaleView>, Problem> {
    let mut client = client;
    match splits::make(&mut client, id, parts)? {
        Made::Whole(places) => Ok(Some(places.view())),
        Made::Missing(numbers) => Err(missing(id, parts, &numbers)),
        Made::Gone => Ok(None),
    }
}

fn look(client: &mut dyn Client, id: &SaleId, parts: u32) -> Result<Option<Places>, LedgerError> {
    let mut client = client;
    splits::look(&mut client, id, parts)
}

fn sale(view: SaleView) -> Outcome {
    Outcome::Sale(Box::new(view))
}

/// The view of a sale of which no part is missing: without it the counts would be wrong.
fn whole(id: &SaleId, places: &Places) -> Result<SaleView, Problem> {
    match &places.missing()[..] {
        [] => Ok(places.view()),
        numbers => Err(missing(id, places.head().spec.split.parts(), numbers)),
    }
}

fn missing(id: &SaleId, parts: u32, numbers: &[usize]) -> Problem {
    let names: Vec<String> =
        numbers.iter().map(|&n| splits::place_id(id, n, parts).to_string()).collect();
    Problem::of(Code::Unavailable).saying(format!(
        "Parts of the sale are not there: {}. One that is being removed is to be removed again; \
         otherwise restore their keys in Redis.",
        names.join(", ")
    ))
}

/// Has the ledger carry out one command at one place.
fn one(client: &mut dyn Client, sale: &SaleId, command: Command) -> Result<Outcome, LedgerError> {
    let group = Group { sale: sale.clone(), commands: vec![command] };
    let mut reply = client.apply(&Batch { groups: vec![group] })?;
    let outcome = reply.pop().and_then(|mut group| group.outcomes.pop());
    outcome.ok_or_else(|| LedgerError::Lost("a reply without an outcome".into()))
}
