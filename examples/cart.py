#!/usr/bin/env python3
"""Buys a cart from several sales in the shop's back end, all or nothing. Needs Python 3.9 or later.

    examples/cart.py shop.token ann ticket=2 poster=1 festival=adult:2+child:1

Holds each line. If one is refused, cancels the held ones. Then takes the payment, confirms each line.
If one has expired and its units are sold, refunds the confirmed lines, cancels the others, and pays
back. CART names the cart: after a crash or `unknown`, run the same command again. See README.md.
"""

import os
import sys
import uuid
from urllib.parse import quote

from buyer import ask

LOST = ("expired", "limit_reached", "already_cancelled", "already_refunded", "not_found")


def pay(user, cart):
    """Takes the money, once: the cart's name is the idempotency key at your payment provider."""
    print(f"charged {user} for {cart}")


def pay_back(user, cart):
    """Returns the money if it was taken, once, by the same key."""
    print(f"paid back {user} for {cart}")


def units(text):  # "2", or by ticket type "adult:2+child:1"
    if ":" not in text:
        return {"quantity": int(text or 1)}
    return {"lines": {name: int(n) for name, n in (one.split(":") for one in text.split("+"))}}


class Cart:
    """The cart of a user, by the shop's token."""

    def __init__(self, token, user, name):
        self.token, self.user, self.name = token, user, name
        self.ids = []  # of its held and confirmed reservations

    def hold(self, sale, wanted):
        """Holds units of a sale. Keys belong to a user and a sale, so one serves all lines."""
        path, body = f"/v1/sales/{quote(sale)}/reservations", {"user": self.user, **wanted}
        outcome, answer = ask("POST", path, body, key=self.name, token=self.token)
        if outcome in ("held", "confirmed"):  # confirmed: by an earlier run
            self.ids.append(answer["id"])
        return outcome

    def change(self, id, what):
        """Confirms, cancels or refunds one."""
        return ask("POST", f"/v1/reservations/{quote(id)}/{what}", token=self.token)[0]

    def give_back(self):
        """Gives back all reservations. Returns the ids for which that is not certain."""
        left = []
        for id in self.ids:
            if (outcome := self.change(id, "cancel")) == "already_confirmed":
                outcome = self.change(id, "refund")
            if outcome not in (*LOST, "cancelled", "refunded"):
                left.append(id)
        return left

    def fail(self, why):
        """Gives back reservations and money. Returns the exit code."""
        left = self.give_back()
        if not left:  # otherwise a person must check before money is returned
            pay_back(self.user, self.name)
        print("; ".join([why, *(f"not given back {id}" for id in left)]))
        return 1


def main(token_file, user, *lines):
    """Buys all lines. Returns the exit code."""
    name = os.environ.get("CART") or str(uuid.uuid4())
    print(f"cart {name}", file=sys.stderr)  # keep it until the outcome is known
    cart = Cart(open(token_file).read().strip(), user, name)
    for line in lines:
        sale, _, wanted = line.partition("=")
        if (outcome := cart.hold(sale, units(wanted))) not in ("held", "confirmed"):
            return cart.fail(f"{outcome}; sale {sale}")
    pay(user, name)
    for id in cart.ids:
        if (outcome := cart.change(id, "confirm")) in LOST:
            return cart.fail(f"{outcome}; id {id}")
        if outcome != "confirmed":
            print(f"{outcome}; id {id}; run again with the same CART")
            return 1
    print("; ".join(["confirmed", *(f"id {id}" for id in cart.ids)]))
    return 0


if __name__ == "__main__":
    if len(sys.argv) < 4:
        print("usage: cart.py TOKEN_FILE USER SALE[=QUANTITY|=TYPE:QUANTITY+...]...", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
