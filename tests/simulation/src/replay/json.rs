//! Histories as text: one line of JSON per step, so that people can read and shorten them.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use stampede::ledger::Group;
use stampede::sale::seats::Seats;
use stampede::sale::{
    Command, Creation, Details, Key, Lines, Remaining, ReservationId, Reserve, Rules, SaleId,
    SaleSpec, Split, Terms, Types, User,
};
use stampede::trace::Trace;

use super::history::{Call, Fault, History, Step, What};
use crate::redis::Now;

type Object = Map<String, Value>;

/// A history: its seed, and then a line per step.
pub fn of_history(history: &History) -> String {
    let mut text = format!("{}\n", json!({ "seed": history.seed }));
    for step in &history.steps {
        text += &of_step(step);
        text.push('\n');
    }
    text
}

/// A step.
pub fn of_step(step: &Step) -> String {
    let mut object = match &step.what {
        What::Call(call) => of_call(call),
        What::Fault(fault) => of_fault(fault),
    };
    object["step"] = step.number.into();
    object.to_string()
}

/// Commands, each as text.
pub fn of_commands(commands: &[Command]) -> Vec<String> {
    commands.iter().map(|command| of_command(command).to_string()).collect()
}

/// Reads a history. The error says which line is wrong.
pub fn to_history(text: &str) -> Result<History, String> {
    let mut history = History::default();
    for (number, line) in (1..).zip(text.lines()) {
        let object: Option<Object> = serde_json::from_str(line).ok();
        let wrong = || format!("line {number} is no step: {line}");
        let object = object.ok_or_else(wrong)?;
        match object.get("seed") {
            Some(seed) => history.seed = seed.as_u64().ok_or_else(wrong)?,
            None => history.steps.push(to_step(&object).ok_or_else(wrong)?),
        }
    }
    Ok(history)
}

fn to_step(object: &Object) -> Option<Step> {
    let what = match object.get("fault") {
        Some(name) => What::Fault(to_fault(name.as_str()?, object)?),
        None => What::Call(to_call(object)?),
    };
    Some(Step { number: small(object, "step")?, what })
}

fn of_fault(fault: &Fault) -> Value {
    let mut object = json!({ "fault": fault.name() });
    match fault {
        Fault::Forgot(number) => object["before"] = (*number).into(),
        Fault::Evicted(sale) => object["sale"] = sale.as_str().into(),
        Fault::Lost(sale, commands) => {
            object["sale"] = sale.as_str().into();
            object["commands"] = (*commands).into();
        }
        Fault::Killed | Fault::Reloaded | Fault::ScriptsFlushed | Fault::HalfSent => {}
    }
    object
}

fn to_fault(name: &str, object: &Object) -> Option<Fault> {
    let sale = || SaleId::from_ledger(text(object, "sale")?).ok();
    let plain = [Fault::Killed, Fault::Reloaded, Fault::ScriptsFlushed, Fault::HalfSent];
    match name {
        "forgot" => Some(Fault::Forgot(small(object, "before")?)),
        "evicted" => Some(Fault::Evicted(sale()?)),
        "lost" => Some(Fault::Lost(sale()?, small(object, "commands")?)),
        name => plain.into_iter().find(|fault| fault.name() == name),
    }
}

fn of_call(call: &Call) -> Value {
    let groups = call.groups.iter().map(|group| {
        let commands: Vec<Value> = group.commands.iter().map(of_command).collect();
        json!({ "sale": group.sale.as_str(), "commands": commands })
    });
    let groups: Vec<Value> = groups.collect();
    let mut object = json!({ "ms": call.now.ms, "us": call.now.us, "groups": groups });
    if let Some(epoch) = call.epoch {
        object["epoch"] = epoch.into();
    }
    if call.is_unread {
        object["unread"] = true.into();
    }
    object
}

fn to_call(object: &Object) -> Option<Call> {
    let groups = object.get("groups")?.as_array()?.iter().map(|group| {
        let group = group.as_object()?;
        let commands = group.get("commands")?.as_array()?.iter();
        let commands = commands.map(|command| to_command(command.as_object()?));
        let sale = SaleId::from_ledger(text(group, "sale")?).ok()?;
        Some(Group { sale, commands: commands.collect::<Option<_>>()? })
    });
    Some(Call {
        now: Now { ms: number(object, "ms")?, us: number(object, "us")? },
        epoch: number(object, "epoch"),
        groups: groups.collect::<Option<_>>()?,
        is_unread: object.contains_key("unread"),
    })
}

fn of_command(command: &Command) -> Value {
    match command {
        Command::Reserve(reserve) => of_reserve("reserve", reserve),
        Command::FindClaim(reserve, creation) => {
            let mut object = of_reserve("find_claim", reserve);
            object["creation"] = creation.0.into();
            object
        }
        Command::Confirm(id) => of_one("confirm", *id),
        Command::ConfirmElsewhere(id) => of_one("confirm_elsewhere", *id),
        Command::Cancel(id) => of_one("cancel", *id),
        Command::Refund(id) => of_one("refund", *id),
        Command::ShowReservation(id) => of_one("show_reservation", *id),
        Command::Extend(id, ms) => {
            let mut object = of_one("extend", *id);
            put(&mut object, "ms", *ms);
            object
        }
        Command::CancelTo(id, remaining) => of_remaining("cancel_to", *id, remaining),
        Command::RefundTo(id, remaining) => of_remaining("refund_to", *id, remaining),
        Command::Expire { batch_max } => json!({ "do": "expire", "batch_max": batch_max }),
        Command::AddStock(units) => json!({ "do": "add_stock", "units": units }),
        Command::TakeStock { units, at_most } => {
            json!({ "do": "take_stock", "units": units, "at_most": at_most })
        }
        Command::ChangeTerms(terms) => of_terms(terms),
        Command::Open => json!({ "do": "open" }),
        Command::Close => json!({ "do": "close" }),
        Command::Remove => json!({ "do": "remove" }),
        Command::Create(spec) => of_spec("create", spec),
        Command::CreatePart { spec, creation } => {
            let mut object = of_spec("create_part", spec);
            object["creation"] = creation.0.into();
            object
        }
        Command::Reset { total, force } => {
            let mut object = json!({ "do": "reset", "force": force });
            put(&mut object, "total", *total);
            object
        }
        Command::Show => json!({ "do": "show" }),
        Command::Peek { parts } => json!({ "do": "peek", "parts": parts }),
        Command::TransferOut { to, gave, units } => {
            json!({ "do": "transfer_out", "to": to, "gave": gave, "units": units })
        }
        Command::TransferIn { from, gave } => {
            json!({ "do": "transfer_in", "from": from, "gave": gave })
        }
    }
}

fn to_command(object: &Object) -> Option<Command> {
    let id = || to_id(object);
    let creation = || number(object, "creation").map(Creation);
    Some(match text(object, "do")? {
        "reserve" => Command::Reserve(to_reserve(object)?),
        "find_claim" => Command::FindClaim(to_reserve(object)?, creation()?),
        "confirm_elsewhere" => Command::ConfirmElsewhere(id()?),
        "confirm" => Command::Confirm(id()?),
        "cancel" => Command::Cancel(id()?),
        "refund" => Command::Refund(id()?),
        "show_reservation" => Command::ShowReservation(id()?),
        "extend" => Command::Extend(id()?, number(object, "ms")),
        "cancel_to" => Command::CancelTo(id()?, to_remaining(object)?),
        "refund_to" => Command::RefundTo(id()?, to_remaining(object)?),
        "expire" => Command::Expire { batch_max: small(object, "batch_max")? },
        "add_stock" => Command::AddStock(number(object, "units")?),
        "take_stock" => Command::TakeStock {
            units: number(object, "units")?,
            at_most: object.get("at_most")?.as_bool()?,
        },
        "change_terms" => Command::ChangeTerms(to_terms(object)),
        "open" => Command::Open,
        "close" => Command::Close,
        "remove" => Command::Remove,
        "create" => Command::Create(to_spec(object)?),
        "create_part" => Command::CreatePart { spec: to_spec(object)?, creation: creation()? },
        "reset" => Command::Reset {
            total: number(object, "total"),
            force: object.get("force")?.as_bool()?,
        },
        "show" => Command::Show,
        "peek" => Command::Peek { parts: small(object, "parts")? },
        "transfer_out" => Command::TransferOut {
            to: small(object, "to")?,
            gave: number(object, "gave")?,
            units: number(object, "units")?,
        },
        "transfer_in" => {
            Command::TransferIn { from: small(object, "from")?, gave: number(object, "gave")? }
        }
        _ => return None,
    })
}

fn of_reserve(name: &str, reserve: &Reserve) -> Value {
    let mut object = of_one(name, reserve.id);
    object["quantity"] = reserve.quantity.into();
    put(&mut object, "user", reserve.user.as_ref().map(User::as_str));
    put(&mut object, "key", reserve.key.as_ref().map(Key::as_str));
    put(&mut object, "details", reserve.details.as_deref().map(Details::to_text));
    if let Some(trace) = &reserve.trace {
        put(&mut object, "request_id", trace.request_id());
        put(&mut object, "parent", trace.parent());
    }
    object
}

fn to_reserve(object: &Object) -> Option<Reserve> {
    let (request_id, parent) = (text(object, "request_id"), text(object, "parent"));
    let details = text(object, "details").map(|text| Details::from_text(text).map(Box::new));
    Some(Reserve {
        id: to_id(object)?,
        quantity: small(object, "quantity")?,
        user: text(object, "user").and_then(|user| User::new(user).ok()),
        key: text(object, "key").and_then(|key| Key::new(key).ok()),
        details: details.unwrap_or_default(),
        trace: Trace::from_texts(request_id.unwrap_or_default(), parent.unwrap_or_default())
            .map(Arc::new),
    })
}

fn of_one(name: &str, id: ReservationId) -> Value {
    json!({ "do": name, "id": id.to_string() })
}

fn to_id(object: &Object) -> Option<ReservationId> {
    ReservationId::from_text(text(object, "id")?.as_bytes()).ok()
}

fn of_remaining(name: &str, id: ReservationId, remaining: &Remaining) -> Value {
    let mut object = of_one(name, id);
    match remaining {
        Remaining::Units(units) => object["units"] = (*units).into(),
        Remaining::Lines(lines) => object["lines"] = lines.to_text().into(),
        Remaining::Seats(seats) => object["seats"] = seats.to_text().into(),
    }
    object
}

fn to_remaining(object: &Object) -> Option<Remaining> {
    if let Some(seats) = text(object, "seats") {
        return Seats::from_text(seats).map(Remaining::Seats);
    }
    match text(object, "lines") {
        // There are no lines without units: 0 units of each type have no text.
        Some("") => Some(Remaining::Lines(Lines::default())),
        Some(lines) => Some(Remaining::Lines(Lines::from_text(lines)?)),
        None => Some(Remaining::Units(small(object, "units")?)),
    }
}

/// What is as by default is left out.
fn of_spec(name: &str, spec: &SaleSpec) -> Value {
    let plain = SaleSpec::with_total(spec.total);
    let mut object = json!({ "do": name, "total": spec.total });
    let mut differs = |name: &str, number: u64, default: u64| {
        put(&mut object, name, (number != default).then_some(number));
    };
    differs("opens_at_ms", spec.opens_at_ms, plain.opens_at_ms);
    differs("closes_at_ms", spec.closes_at_ms, plain.closes_at_ms);
    differs("limit_per_user", spec.limit_per_user.into(), plain.limit_per_user.into());
    differs("hold_ms", spec.hold_ms, plain.hold_ms);
    differs("quantity_max", spec.quantity_max.into(), plain.quantity_max.into());
    let (rules, default) = (&spec.rules, Rules::default());
    differs("extend_max_ms", rules.extend_max_ms, default.extend_max_ms);
    differs("quantity_min", rules.quantity_min.into(), default.quantity_min.into());
    differs("reservations_per_user_max", rules.reservations_per_user_max.into(), 0);
    put(&mut object, "reservations_max", rules.reservations_max);
    put(&mut object, "split", spec.split.to_text());
    put(&mut object, "types", Some(spec.types.to_text()).filter(|text| !text.is_empty()));
    object
}

fn to_spec(object: &Object) -> Option<SaleSpec> {
    let mut spec = SaleSpec::with_total(number(object, "total")?);
    let set = |name: &str, to: &mut u64| *to = number(object, name).unwrap_or(*to);
    let set_small = |name: &str, to: &mut u32| *to = small(object, name).unwrap_or(*to);
    set("opens_at_ms", &mut spec.opens_at_ms);
    set("closes_at_ms", &mut spec.closes_at_ms);
    set_small("limit_per_user", &mut spec.limit_per_user);
    set("hold_ms", &mut spec.hold_ms);
    set_small("quantity_max", &mut spec.quantity_max);
    set("extend_max_ms", &mut spec.rules.extend_max_ms);
    set_small("quantity_min", &mut spec.rules.quantity_min);
    set_small("reservations_per_user_max", &mut spec.rules.reservations_per_user_max);
    spec.rules.reservations_max = number(object, "reservations_max");
    spec.split = text(object, "split").map_or(Some(Split::Whole), Split::from_text)?;
    spec.types = text(object, "types").map_or(Some(Types::default()), Types::from_text)?;
    Some(spec)
}

fn of_terms(terms: &Terms) -> Value {
    let mut object = json!({ "do": "change_terms" });
    put(&mut object, "closes_at_ms", terms.closes_at_ms);
    put(&mut object, "hold_ms", terms.hold_ms);
    put(&mut object, "limit_per_user", terms.limit_per_user);
    put(&mut object, "quantity_max", terms.quantity_max);
    put(&mut object, "quantity_min", terms.quantity_min);
    put(&mut object, "extend_max_ms", terms.extend_max_ms);
    // `null`: the default of a sale.
    put(&mut object, "reservations_max", terms.reservations_max);
    put(&mut object, "reservations_per_user_max", terms.reservations_per_user_max);
    object
}

fn to_terms(object: &Object) -> Terms {
    Terms {
        closes_at_ms: number(object, "closes_at_ms"),
        hold_ms: number(object, "hold_ms"),
        limit_per_user: small(object, "limit_per_user"),
        quantity_max: small(object, "quantity_max"),
        quantity_min: small(object, "quantity_min"),
        extend_max_ms: number(object, "extend_max_ms"),
        reservations_max: object.get("reservations_max").map(Value::as_u64),
        reservations_per_user_max: small(object, "reservations_per_user_max"),
    }
}

/// Sets a member, if there is a value.
fn put(object: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object[name] = value.into();
    }
}

fn text<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object.get(name)?.as_str()
}

fn number(object: &Object, name: &str) -> Option<u64> {
    object.get(name)?.as_u64()
}

fn small(object: &Object, name: &str) -> Option<u32> {
    number(object, name)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use stampede::sale::Note;

    use super::*;

    fn commands() -> Vec<Command> {
        let id = ReservationId(7 << 100 | 3);
        let lines = Lines::from_text("adult:2,child:1").unwrap();
        let reserve = Reserve {
            id,
            quantity: 3,
            user: User::new("李 雷").ok(),
            key: Key::new("k \"1\"").ok(),
            details: Details {
                lines: Some(lines.clone()),
                note: Note::new("row 7").ok(),
                ..Details::default()
            }
            .boxed(),
            trace: Trace::from_texts("r5", "").map(Arc::new),
        };
        let plain = Reserve {
            user: None,
            key: None,
            details: None,
            trace: None,
            quantity: 1,
            ..reserve.clone()
        };
        let rules = Rules {
            extend_max_ms: 9,
            quantity_min: 2,
            reservations_max: Some(0),
            reservations_per_user_max: 4,
        };
        let types = Types::from_text("adult:9,child:8").unwrap();
        let spec = SaleSpec { opens_at_ms: 5, rules, types, ..SaleSpec::with_total(20) };
        let part = SaleSpec { split: Split::Part { of: 3 }, ..SaleSpec::with_total(0) };
        let terms = Terms { hold_ms: Some(5), reservations_max: Some(None), ..Terms::default() };
        vec![
            Command::Reserve(reserve.clone()),
            Command::Reserve(plain),
            Command::FindClaim(reserve, Creation(u64::MAX >> 12)),
            Command::Confirm(id),
            Command::ConfirmElsewhere(id),
            Command::Cancel(id),
            Command::Refund(id),
            Command::Extend(id, None),
            Command::Extend(id, Some(4)),
            Command::CancelTo(id, Remaining::Units(0)),
            Command::CancelTo(id, Remaining::Lines(Lines::default())),
            Command::RefundTo(id, Remaining::Lines(lines)),
            Command::Expire { batch_max: 9 },
            Command::AddStock(u64::MAX),
            Command::TakeStock { units: 3, at_most: true },
            Command::ChangeTerms(terms),
            Command::ChangeTerms(Terms {
                reservations_max: Some(Some(3)),
                closes_at_ms: Some(0),
                ..Terms::default()
            }),
            Command::Open,
            Command::Close,
            Command::Remove,
            Command::Create(spec),
            Command::CreatePart { spec: part, creation: Creation(5) },
            Command::Reset { total: None, force: true },
            Command::Reset { total: Some(3), force: false },
            Command::Show,
            Command::Peek { parts: 3 },
            Command::ShowReservation(id),
            Command::TransferOut { to: 1, gave: 2, units: 3 },
            Command::TransferIn { from: 1, gave: 2 },
        ]
    }

    #[test]
    fn a_history_is_read_as_it_was_written() {
        let group =
            |sale: &str| Group { sale: SaleId::from_ledger(sale).unwrap(), commands: commands() };
        let call = Call {
            now: Now { ms: 1_700_000_000_000, us: 1_700_000_000_000_123 },
            epoch: None,
            groups: vec![group("s1"), group("s2~1of3")],
            is_unread: false,
        };
        let other = Call { epoch: Some(4), is_unread: true, ..call.clone() };
        let faults = [
            Fault::Killed,
            Fault::Reloaded,
            Fault::ScriptsFlushed,
            Fault::HalfSent,
            Fault::Forgot(1),
            Fault::Evicted(SaleId::from_ledger("s2~1of3").unwrap()),
            Fault::Lost(SaleId::from_ledger("s2~1of3").unwrap(), 3),
        ];
        let calls = [What::Call(call), What::Call(other)];
        let history = History::new(9, calls.into_iter().chain(faults.map(What::Fault)));
        let text = of_history(&history);
        assert_eq!(to_history(&text), Ok(history));
        assert_eq!(text.lines().count(), 10);
        assert!(to_history("{\"seed\":1}\n{\"step\":0}").is_err_and(|why| why.contains("line 2")));
    }
}
