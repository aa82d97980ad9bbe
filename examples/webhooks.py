"""Webhooks of stampede, for shop.py: verifies them, applies each once and in order (Standard Webhooks).

The id of a webhook and its change are written in one transaction, which is durable before the answer.
A webhook that comes twice changes nothing the second time. One that is older than the known state of
its reservation changes nothing at all.
"""

import base64
import hmac
import json
import time

AGE_MAX_S = 300  # an older webhook may be a replay of a recorded one
SCHEMA = """
    CREATE TABLE IF NOT EXISTS webhooks (id TEXT PRIMARY KEY, received_at INTEGER);
    CREATE TABLE IF NOT EXISTS reservations (id TEXT PRIMARY KEY, user TEXT, sale TEXT,
        quantity INTEGER, status TEXT, version INTEGER);
    CREATE INDEX IF NOT EXISTS of_user ON reservations (user);
"""


def secrets(path):
    """Returns the secrets in a file, one per line: two while one replaces the other."""
    with open(path) as file:
        return [base64.b64decode(line.strip().removeprefix("whsec_")) for line in file]


def is_genuine(secrets, headers, body):
    """Whether a holder of a secret sent this body within the last AGE_MAX_S."""
    id, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent_at.isdecimal() or abs(time.time() - int(sent_at)) > AGE_MAX_S:
        return False
    signed = f"{id}.{sent_at}.".encode() + body
    right = [b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256")) for key in secrets]
    given = headers.get("webhook-signature", "").encode().split()
    return any(hmac.compare_digest(one, other) for one in right for other in given)


def take(database, id, event):
    """Writes the change of a genuine webhook, in the caller's transaction. Returns its reservation, or
    None if this webhook or a newer change is known already."""
    new = database.execute("INSERT OR IGNORE INTO webhooks VALUES (?, ?)", (id, int(time.time())))
    if new.rowcount == 0:
        return None
    told = event["data"]
    values = [told[name] for name in ("reservation", "user_id", "sale", "quantity", "status")]
    changed = database.execute(
        "INSERT INTO reservations VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
        "quantity = excluded.quantity, status = excluded.status, version = excluded.version "
        "WHERE excluded.version > version",
        (*values, int(told["version"])),
    )
    return told if changed.rowcount else None


def of_user(sql, user):
    """Returns all reservations of a user, in the order of their first webhook."""
    columns = ("id", "sale", "quantity", "status")
    rows = sql(f"SELECT {', '.join(columns)} FROM reservations WHERE user = ? ORDER BY rowid", user)
    return [dict(zip(columns, row)) for row in rows]
