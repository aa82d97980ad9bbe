//! What a server of the present build must do with a shop that an older one left in mid-sale.

use jiff::{SignedDuration, Timestamp};

use crate::asking::{self, again, assert_shown, buy_one, reservation_of};
use crate::eventually;
use crate::faked_clock::Clock;
use crate::known::{Known, Reservation, Sale, time};
use crate::server::Server;

/// Sets a clock to this time after the shop was left.
pub fn set_after(clock: &Clock, known: &Known, later: SignedDuration) -> Timestamp {
    let then = time(&known.at) + later;
    let offset = then.as_second() - Timestamp::now().as_second();
    clock.set(&format!("{offset:+}"));
    then
}

/// Waits until every sale shows the known counts, after everything that is overdue at this time has
/// returned to stock.
pub fn returns_what_is_overdue(server: &Server, known: &mut Known, now: Timestamp) {
    known.expire(now);
    for sale in &known.sales {
        let mut differs = None;
        eventually(&format!("{} is shown as it is", sale.id()), || {
            differs = sale.differs_from(&asking::show(server, sale.id()));
            differs.is_none()
        });
    }
    agrees(server, known);
}

/// Checks every count and every reservation.
pub fn agrees(server: &Server, known: &Known) {
    for sale in &known.sales {
        let differs = sale.differs_from(&asking::show(server, sale.id()));
        assert_eq!(differs, None);
    }
    for reservation in known.reservations() {
        assert_shown(reservation, &asking::reservation(server, &reservation.id));
    }
}

/// Every key leads to the reservation that it was used for, whatever its state.
pub fn replays_every_key(server: &Server, known: &Known) {
    let mut keys = 0;
    for sale in &known.sales {
        for reservation in sale.reservations.iter().filter(|r| r.key.is_some()) {
            let answer = again(server, sale.id(), reservation);
            let replayed = reservation_of(&answer);
            assert_eq!(replayed.as_ref(), Some(&reservation.id), "{reservation:?}: {answer:?}");
            assert_eq!(answer.status, status_of_replay(reservation), "{reservation:?}: {answer:?}");
            keys += 1;
        }
    }
    assert!(keys > 10, "only {keys} keys");
    agrees(server, known);
}

/// A repeated key is 200 with the reservation under `/v1`; `/buy/ticket` returns its state.
fn status_of_replay(reservation: &Reservation) -> u16 {
    let is_lost = ["cancelled", "expired", "refunded"].contains(&&*reservation.status);
    if reservation.user.is_none() && is_lost { 409 } else { 200 }
}

/// No user gets more than the limit, counting earlier purchases.
pub fn holds_limits(server: &Server, known: &Known) {
    let mut full = 0;
    for sale in known.sales.iter().filter(|sale| sale.shows["state"] == "open") {
        let Some(limit) = sale.shows["limit_per_user"].as_u64() else { continue };
        let users = sale.reservations.iter().filter_map(|r| r.user.as_deref());
        for user in users.filter(|user| sale.units_of(user) == limit) {
            let bought = buy_one(server, sale.id(), user, &format!("one more for {user}"));
            assert!(bought.is("limit_reached"), "{} {user}: {bought:?}", sale.id());
            full += 1;
        }
    }
    assert!(full > 0, "no user is at his limit");
}

/// In each sale one held reservation is confirmed, one is cancelled, an expired one is confirmed
/// late, and one that the older server confirmed is refunded. What is settled stays settled. From
/// now on holds last ten minutes.
pub fn settles(server: &Server, known: &mut Known) {
    let mut settled = [0; 4];
    let ids: Vec<String> = known.sales.iter().map(|sale| sale.id().to_owned()).collect();
    for id in ids {
        let of_status = |sale: &Sale, status: &str| sale.find(|r| r.status == status);
        if let Some(paid) = of_status(known.sale(&id), "confirmed") {
            known.refund(server, &paid.id);
            known.refund(server, &paid.id);
            settled[3] += 1;
        }
        known.hold_for(server, &id, 600_000);
        if let Some(held) = of_status(known.sale(&id), "held") {
            known.confirm(server, &held.id);
            known.confirm(server, &held.id);
            settled[0] += 1;
        }
        if let Some(held) = of_status(known.sale(&id), "held") {
            known.cancel(server, &held.id);
            settled[1] += 1;
        }
        let sale = known.sale(&id).clone();
        let limit = sale.shows["limit_per_user"].as_u64().unwrap_or(u64::MAX);
        let fits = |r: &Reservation| {
            let has = r.user.as_deref().map_or(0, |user| sale.units_of(user));
            r.quantity <= sale.free() && has + r.quantity <= limit
        };
        if let Some(late) = sale.find(|r| r.status == "expired" && fits(r)) {
            known.confirm(server, &late.id);
            settled[2] += 1;
        }
        for (status, verb) in [
            ("confirmed", "cancel"),
            ("cancelled", "confirm"),
            ("cancelled", "refund"),
            ("refunded", "confirm"),
        ] {
            if let Some(settled) = of_status(known.sale(&id), status) {
                let answer = asking::settle(server, &settled.id, verb);
                let code = format!("already_{status}");
                assert_eq!((answer.status, answer.json()["code"].as_str()), (409, Some(&*code)));
            }
        }
    }
    assert!(
        settled.iter().all(|count| *count > 0),
        "confirmed, cancelled, late, refunded: {settled:?}"
    );
    agrees(server, known);
}

/// Sells everything that is left, to the last unit and not one more. The tag distinguishes the
/// buyers of one sale from those of another time.
pub fn sells_the_rest(server: &Server, known: &mut Known, tag: &str) {
    let mut open = 0;
    for sale in known.clone().sales {
        let id = sale.id();
        let state = asking::show(server, id)["state"].as_str().expect("a state").to_owned();
        let refused = match &*state {
            "open" => "sold_out",
            "scheduled" => "not_open",
            _ => "closed",
        };
        if state == "open" {
            open += 1;
            for number in 0..sale.free() {
                let (user, key) = (format!("{tag}{number}"), format!("{tag} {number}"));
                known.buy(server, id, Some(&user), 1, Some(&key));
            }
            assert_eq!(known.sale(id).free(), 0);
        }
        let bought = buy_one(server, id, &format!("{tag} too late"), "");
        assert!(bought.is(refused), "{id}: {bought:?}");
    }
    assert!(open > 0, "nothing is for sale");
    agrees(server, known);
}
