#!/usr/bin/env python3
"""A small shop: tokens of admission, payments, webhooks. Needs Python 3.9 or later, no library.

    examples/shop.py keys.json shop.token webhooks.secret shop.db 8000

    POST /token/SALE         an admission token, with which the user buys
    POST /pay/RESERVATION    takes the payment and confirms: payments.py
    GET  /mine               the user's reservations, from the webhooks: webhooks.py
    GET  /mine/SALE          the same from the ledger, for customer service
    POST /hooks              receives the webhooks of stampede

README.md in this folder shows how to create the files and start the server. The header X-Login stands
for your login.
"""

import base64
import hmac
import http.server
import json
import sqlite3
import sys
import threading
import time
from urllib.parse import quote, unquote

import payments
import webhooks
from buyer import ask

KEYS, TOKEN_FILE, SECRET_FILE, DATABASE, PORT = sys.argv[1:]
KEY = next(key for key in json.load(open(KEYS))["keys"] if key["alg"] == "HS256")
TOKEN, SECRETS = open(TOKEN_FILE).read().strip(), webhooks.secrets(SECRET_FILE)
BODY_BYTES_MAX, TOKEN_S = 64 * 1024, 600
LOCK, DB = threading.Lock(), sqlite3.connect(DATABASE, check_same_thread=False)
DB.executescript(webhooks.SCHEMA + payments.SCHEMA)


def sql(statement, *values):
    """Runs one statement in a transaction. Returns its rows."""
    with LOCK, DB:
        return DB.execute(statement, values).fetchall()


def mint(user, sale):
    """Returns an admission token: a JSON Web Token (RFC 7519), signed with HS256."""
    claims = {"sub": user, "aud": "stampede", "sales": [sale], "exp": int(time.time()) + TOKEN_S}
    base64url = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=")
    parts = {"alg": "HS256", "kid": KEY["kid"]}, claims
    text = b".".join(base64url(json.dumps(part).encode()) for part in parts)
    secret = base64.urlsafe_b64decode(KEY["k"] + "==")
    return (text + b"." + base64url(hmac.digest(secret, text, "sha256"))).decode()


def take_webhook(headers, body):
    """Returns the HTTP status. 200: the webhook's change is durable."""
    if not webhooks.is_genuine(SECRETS, headers, body):
        return 401
    with LOCK, DB:
        told = webhooks.take(DB, headers["webhook-id"], json.loads(body))
        if told and told["status"] == "refunded":
            PAYMENTS.refunded(DB, told["reservation"])
    return 200


class Shop(http.server.BaseHTTPRequestHandler):
    """Answers the shop's requests."""

    timeout = 30  # seconds for a client to send its request

    def do_GET(self):
        what, _, subject = unquote(self.path)[1:].partition("/")
        asked, user = f"{self.command} {what}", self.headers.get("X-Login")
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), BODY_BYTES_MAX))
        status, said = 404, None
        if asked == "POST hooks":
            status = take_webhook(self.headers, body)
        elif not user:
            status = 401
        elif asked == "POST token":
            status, said = 200, mint(user, subject)
        elif asked == "POST pay":
            status, said = PAYMENTS.pay(user, subject)
        elif asked == "GET mine" and not subject:
            status, said = 200, webhooks.of_user(sql, user)
        elif asked == "GET mine":
            path = f"/v1/sales/{quote(subject)}/reservations?user={quote(user)}"
            said = ask("GET", path, token=TOKEN)[1].get("reservations")
            status = 503 if said is None else 200
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    do_POST = do_GET


PAYMENTS = payments.Payments(sql, TOKEN)
threading.Thread(target=PAYMENTS.settle_all, daemon=True).start()
http.server.ThreadingHTTPServer(("127.0.0.1", int(PORT)), Shop).serve_forever()
