#!/usr/bin/env python3
"""Buys from stampede. Needs only Python 3.9 or later.

    BUYER=ann examples/buyer.py buy ticket      # then: show ticket~…, cancel ticket~…

README.md in this folder describes the server, environment, output and exit codes of all buyers.
"""

import http.client
import json
import os
import random
import sys
import time
import urllib.error
import urllib.request
import uuid
from urllib.parse import quote

SERVER = os.environ.get("SERVER", "http://127.0.0.1:3005")
PATIENCE_S = float(os.environ.get("PATIENCE_S", "30"))  # for all attempts together
ANSWER_S, PAUSE_MAX_S = 10, 8  # per attempt; between attempts, unless the server asks for more
NOTHING_DONE = ["busy", "unavailable", "allowance_exhausted", "rate_limited"]
UNKNOWN = "It may have succeeded. Repeat it with the same key."
MEMBERS = "id quantity expires_at opens_at limit_per_user free max field detail".split()
# Method, path, and the outcomes that mean success.
COMMANDS = {
    "buy": ("POST", "/v1/sales/{}/reservations", ["held", "confirmed"]),
    "show": ("GET", "/v1/reservations/{}", ["held", "confirmed", "cancelled", "expired", "refunded"]),
    "cancel": ("POST", "/v1/reservations/{}/cancel", ["cancelled", "already_cancelled"]),
}


def attempt(request):
    """One attempt. Returns status, answer, seconds of Retry-After. Status 0: no valid answer."""
    try:
        try:
            response = urllib.request.urlopen(request, timeout=ANSWER_S)
        except urllib.error.HTTPError as refusal:
            response = refusal
        with response:
            answer, wait_s = dict(json.load(response)), response.headers.get("Retry-After", 0)
            return response.status, answer, float(wait_s)
    except (OSError, http.client.HTTPException, TypeError, ValueError):
        return 0, {}, 0


def ask(method, path, body=None, key=None, token=None):
    """Repeats the request until the outcome is known, for at most PATIENCE_S. Returns the outcome (the
    status of a reservation, or a code) and the answer.

    Repeating is safe: a purchase has its key, and other requests change nothing the second time."""
    data, headers = None, {}
    if body is not None:
        data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
    if key:
        headers["Idempotency-Key"] = key
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(SERVER + path, data, headers, method=method)
    end, pause_s, perhaps_done = time.monotonic() + PATIENCE_S, 0.25, False
    while True:
        status, answer, wait_s = attempt(request)
        if 200 <= status < 500 and status != 429:
            return str(answer.get("code") or answer.get("status")), answer
        if perhaps_done := perhaps_done or answer.get("code") not in NOTHING_DONE:
            answer = {"code": "unknown", "detail": UNKNOWN}
        pause_s = min(2 * pause_s, PAUSE_MAX_S)
        wait_s = max(wait_s, pause_s) * random.uniform(1, 1.25)  # spreads the buyers
        if time.monotonic() + wait_s > end:
            return answer["code"], answer
        print(f"{answer['code']}: again in {wait_s:.1f} s", file=sys.stderr)
        time.sleep(wait_s)


def main(command, subject):
    """Runs one command. Returns the exit code."""
    method, path, done = COMMANDS[command]
    token, buyer, key, body = os.environ.get("TOKEN"), os.environ.get("BUYER"), None, None
    if command == "buy":
        key = os.environ.get("KEY") or str(uuid.uuid4())
        print(f"key {key}", file=sys.stderr)  # keep it until the outcome is known
        body = {"quantity": int(os.environ.get("QUANTITY", "1"))}
        if buyer and not token:  # an admission token names the buyer
            body["user"] = buyer
    outcome, answer = ask(method, path.format(quote(subject, safe="")), body, key, token)
    print("; ".join([outcome] + [f"{name} {answer[name]}" for name in MEMBERS if name in answer]))
    return 0 if outcome in done else 1


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in COMMANDS:
        print("usage: buyer.py buy SALE | show ID | cancel ID", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(*sys.argv[1:]))
