"""The payments of shop.py: takes each, confirms it at stampede, and pays it back if it was too late.

A payment is `open` before anything is charged, so a shop that was killed finds and continues it. Then
it is `paid`, or `lost` (other buyers got the units, or the shop has refunded) and then `paid_back`.
"""

import threading
import time
from urllib.parse import quote

from buyer import ask

AGAIN_S = 2  # between two checks for unfinished payments
SCHEMA = "CREATE TABLE IF NOT EXISTS payments (reservation TEXT PRIMARY KEY, state TEXT)"
LOST = ("expired", "limit_reached", "already_cancelled", "already_refunded", "not_found")
NOT_NOW = ("unknown", "busy", "unavailable")


def charge(reservation):
    """Takes the money, once: the reservation is the idempotency key at your payment provider."""
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
        if outcome in ("held", "expired"):  # an expired one can be confirmed if units are left
            self.sql("INSERT OR IGNORE INTO payments VALUES (?, 'open')", reservation)
        state = self.settle(reservation)
        return {"paid": 200, "open": 202}.get(state, 409), state

    def settle(self, reservation):
        """Brings a payment to its end, if that is possible now. Returns its state, or None."""
        with self.settling[hash(reservation) % len(self.settling)]:
            if self.state(reservation) == "open":
                self.change(reservation, "extend")  # if possible, for the time of the charge
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
        """Changes a state, unless a webhook has changed it meanwhile: a refund may come first."""
        update = "UPDATE payments SET state = ? WHERE reservation = ? AND state = ?"
        self.sql(update, new, reservation, old)

    def refunded(self, database, reservation):
        """Notes that the shop has refunded it, in the caller's transaction."""
        update = "UPDATE payments SET state = 'lost' WHERE reservation = ? AND state <> 'paid_back'"
        database.execute(update, (reservation,))

    def settle_all(self):
        """Continues unfinished payments, such as after a crash or an outage, forever."""
        while True:
            left = self.sql("SELECT reservation FROM payments WHERE state IN ('open', 'lost')")
            for (reservation,) in left:
                self.settle(reservation)
            time.sleep(AGAIN_S)
