"""The payments of shop.py: each is taken, confirmed at stampede, and paid back if it was too late.

A payment is `open` before anything is charged, so a shop that was killed finds it and goes on. Then it
is `paid`, or `lost` (the units went to somebody else, or the shop has refunded) and `paid_back`.
"""

import threading
import time
from urllib.parse import quote

from buyer import ask

AGAIN_S = 2  # between two looks at what is left to do
SCHEMA = "CREATE TABLE IF NOT EXISTS payments (reservation TEXT PRIMARY KEY, state TEXT)"
LOST = ("expired", "limit_reached", "already_cancelled", "already_refunded", "not_found")
NOT_NOW = ("unknown", "busy", "unavailable")


def charge(reservation):
    """Takes the money, once: the reservation is the key of the payment at your provider."""
    print(f"charged {reservation}", flush=True)


def pay_back(reservation):
    """Returns the money, once, by the same key."""
    print(f"paid back {reservation}", flush=True)


class Payments:
    """All payments. `sql` runs one statement in a transaction and returns its rows."""

    def __init__(self, sql, token):
        self.sql, self.token = sql, token
        self.settling = [threading.Lock() for _ in range(64)]  # one thread per payment

    def pay(self, user, reservation):
        """Takes a payment for a reservation of this user. Returns an HTTP status and the state."""
        outcome, found = ask("GET", f"/v1/reservations/{quote(reservation)}", token=self.token)
        if outcome in NOT_NOW:
            return 503, None
        if found.get("user") != user:
            return 404, None
        if outcome in ("held", "expired"):  # late, but there may be units left for it
            self.sql("INSERT OR IGNORE INTO payments VALUES (?, 'open')", reservation)
        state = self.settle(reservation)
        return {"paid": 200, "open": 202}.get(state, 409), state

    def settle(self, reservation):
        """Brings a payment to its end, if that is possible now. Returns its state, or None."""
        with self.settling[hash(reservation) % len(self.settling)]:
            if self.state(reservation) == "open":
                self.change(reservation, "extend")  # while the money is taken, if it can be
                charge(reservation)
                outcome = self.change(reservation, "confirm")
                if outcome == "confirmed":
                    self.become("paid", "open", reservation)
                elif outcome in LOST:
                    self.become("lost", "open", reservation)  # from here on it is never confirmed
            if self.state(reservation) == "lost":
                pay_back(reservation)
                self.become("paid_back", "lost", reservation)
            return self.state(reservation)

    def change(self, reservation, what):
        path = f"/v1/reservations/{quote(reservation)}/{what}"
        return ask("POST", path, token=self.token)[0]

    def state(self, reservation):
        rows = self.sql("SELECT state FROM payments WHERE reservation = ?", reservation)
        return rows[0][0] if rows else None

    def become(self, new, old, reservation):
        """Changes a state, unless a webhook has done so meanwhile: a refund may overtake us."""
        update = "UPDATE payments SET state = ? WHERE reservation = ? AND state = ?"
        self.sql(update, new, reservation, old)

    def refunded(self, database, reservation):
        """The shop has refunded it. In the transaction of the caller."""
        update = "UPDATE payments SET state = 'lost' WHERE reservation = ? AND state <> 'paid_back'"
        database.execute(update, (reservation,))

    def settle_all(self):
        """Goes on with what a crash or an outage has left, without end."""
        while True:
            left = self.sql("SELECT reservation FROM payments WHERE state IN ('open', 'lost')")
            for (reservation,) in left:
                self.settle(reservation)
            time.sleep(AGAIN_S)
