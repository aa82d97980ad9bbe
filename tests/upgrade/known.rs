//! What is known of a shop: its sales, and every reservation as it stands. The file lies beside
//! data that a release left, and a test that continues from there keeps it up to date.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::asking::{self, reservation_of};
use crate::server::Server;

/// A time in RFC 3339.
pub fn time(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// One reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// As buyers know it.
    pub id: String,
    /// None: anonymous.
    pub user: Option<String>,
    /// Its idempotency key.
    pub key: Option<String>,
    /// Units.
    pub quantity: u64,
    /// `held`, `confirmed`, `cancelled` or `expired`.
    pub status: String,
    /// The end of its hold time (RFC 3339).
    pub expires_at: String,
}

/// One sale.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sale {
    /// As the control port showed it.
    pub shows: Value,
    /// Every reservation, in no order.
    pub reservations: Vec<Reservation>,
}

/// A shop.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Known {
    /// The ledger's time when all of this was true (RFC 3339).
    pub at: String,
    /// Its sales.
    pub sales: Vec<Sale>,
}

impl Sale {
    /// Its id.
    pub fn id(&self) -> &str {
        self.shows["id"].as_str().expect("an id")
    }

    fn units(&self, is: impl Fn(&Reservation) -> bool) -> u64 {
        self.reservations.iter().filter(|r| is(r)).map(|r| r.quantity).sum()
    }

    /// Units in reservations of this status.
    pub fn units_in(&self, status: &str) -> u64 {
        self.units(|r| r.status == status)
    }

    /// Units for sale.
    pub fn free(&self) -> u64 {
        let total = self.shows["total"].as_u64().expect("a total");
        total - self.units_in("held") - self.units_in("confirmed")
    }

    /// Units that count towards the user's limit.
    pub fn units_of(&self, user: &str) -> u64 {
        let counts = |r: &Reservation| ["held", "confirmed"].contains(&&*r.status);
        self.units(|r| counts(r) && r.user.as_deref() == Some(user))
    }

    /// The first reservation that matches.
    pub fn find(&self, is: impl Fn(&Reservation) -> bool) -> Option<Reservation> {
        self.reservations.iter().find(|r| is(r)).cloned()
    }

    /// How the sale must be shown now: as it was, with today's counts.
    fn must_show(&self) -> Value {
        let mut shows = self.shows.clone();
        shows["held"] = self.units_in("held").into();
        shows["confirmed"] = self.units_in("confirmed").into();
        shows["free"] = self.free().into();
        shows
    }

    /// What is wrong with how a sale is shown, or nothing. More members of a later release are not
    /// wrong, nor is the state, which time changes.
    pub fn differs_from(&self, shown: &Value) -> Option<String> {
        let must = self.must_show();
        let wrong = must.as_object().expect("an object").iter().find(|(name, value)| {
            *name != "state" && shown.get(name).unwrap_or(&Value::Null) != *value
        });
        wrong.map(|(name, value)| format!("{}: {name} must be {value}: {shown}", self.id()))
    }
}

impl Known {
    /// A shop that has just opened: these sales, as a server shows them.
    pub fn new(server: &Server, sales: &[&str]) -> Self {
        let sale = |id: &&str| Sale { shows: asking::show(server, id), reservations: Vec::new() };
        Self { at: String::new(), sales: sales.iter().map(sale).collect() }
    }

    /// Reads what is known of a fixture.
    pub fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
    }

    /// Writes it, one line per reservation.
    pub fn write(&self, file: &Path) {
        let mut text = format!("{{\"at\": \"{}\", \"sales\": [", self.at);
        for (number, sale) in self.sales.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            let _ = write!(text, "{comma}\n{{\"shows\": {},\n \"reservations\": [", sale.shows);
            for (number, reservation) in sale.reservations.iter().enumerate() {
                let comma = if number == 0 { "" } else { "," };
                let line = serde_json::to_string(reservation).expect("JSON");
                let _ = write!(text, "{comma}\n  {line}");
            }
            text += "]}";
        }
        text += "]}\n";
        fs::write(file, text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }

    /// A sale.
    pub fn sale(&mut self, id: &str) -> &mut Sale {
        self.sales.iter_mut().find(|sale| sale.id() == id).expect("a sale")
    }

    /// Every reservation.
    pub fn reservations(&self) -> impl Iterator<Item = &Reservation> {
        self.sales.iter().flat_map(|sale| &sale.reservations)
    }

    /// A reservation.
    pub fn reservation(&mut self, id: &str) -> &mut Reservation {
        let mut all = self.sales.iter_mut().flat_map(|sale| &mut sale.reservations);
        all.find(|reservation| reservation.id == id).expect("a reservation")
    }

    /// Buys, which must succeed. Returns the reservation's id.
    pub fn buy(
        &mut self,
        server: &Server,
        sale: &str,
        user: Option<&str>,
        quantity: u64,
        key: Option<&str>,
    ) -> String {
        let answer = asking::reserve(server, sale, user, quantity, key);
        let id = reservation_of(&answer).unwrap_or_else(|| panic!("{sale} {user:?}: {answer:?}"));
        let shown = asking::reservation(server, &id);
        let made = Reservation {
            id: id.clone(),
            user: user.map(str::to_owned),
            key: key.map(str::to_owned),
            quantity,
            status: "held".into(),
            expires_at: shown["expires_at"].as_str().expect("a time").to_owned(),
        };
        asking::assert_shown(&made, &shown);
        self.sale(sale).reservations.push(made);
        id
    }

    /// Confirms a reservation, which must succeed.
    pub fn confirm(&mut self, server: &Server, id: &str) {
        self.settle(server, id, "confirm", "confirmed");
    }

    /// Cancels a reservation, which must succeed.
    pub fn cancel(&mut self, server: &Server, id: &str) {
        self.settle(server, id, "cancel", "cancelled");
    }

    /// Refunds a reservation, which must succeed.
    pub fn refund(&mut self, server: &Server, id: &str) {
        self.settle(server, id, "refund", "refunded");
    }

    /// Sets the hold time of a sale from now on.
    pub fn hold_for(&mut self, server: &Server, id: &str, hold_ms: u64) {
        asking::hold_for(server, id, hold_ms);
        self.sale(id).shows["hold_ms"] = hold_ms.into();
    }

    fn settle(&mut self, server: &Server, id: &str, verb: &str, status: &str) {
        let answer = asking::settle(server, id, verb);
        assert_eq!(answer.status, 200, "{verb} {id}: {answer:?}");
        self.reservation(id).status = status.into();
        asking::assert_shown(self.reservation(id), &answer.json());
    }

    /// Marks as expired what is past its deadline at this time.
    pub fn expire(&mut self, now: Timestamp) {
        let all = self.sales.iter_mut().flat_map(|sale| &mut sale.reservations);
        for reservation in all.filter(|r| r.status == "held" && time(&r.expires_at) <= now) {
            reservation.status = "expired".into();
        }
    }
}
