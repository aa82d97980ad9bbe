-- Undelivered events and dead letters. Times are ms since 1970.
CREATE TABLE events (
    number      INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    reservation TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    body        TEXT    NOT NULL,
    -- 0: an earlier event of the reservation comes first; 1: it is tried when its time has come; 2: a
    -- dead letter.
    state       INTEGER NOT NULL CHECK (state IN (0, 1, 2)),
    attempts    INTEGER NOT NULL DEFAULT 0,
    -- Not tried before.
    retry_at    INTEGER NOT NULL,
    -- Why the last attempt failed, and when.
    failure     TEXT,
    failed_at   INTEGER
) STRICT;
CREATE UNIQUE INDEX events_reservation ON events (reservation, version);
CREATE INDEX events_due ON events (retry_at, number) WHERE state = 1;
CREATE INDEX events_dead ON events (number) WHERE state = 2;

-- Changes that were taken over and that the ledger may deliver again, since their acknowledgement may
-- have been lost. earlier = 1: taken by a worker that has ended.
CREATE TABLE taken (
    number      INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    reservation TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    earlier     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX taken_reservation ON taken (reservation, version);

-- The last change that was taken over, for each ledger that does not keep this position itself.
CREATE TABLE positions (
    source  TEXT    NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The name under which the worker with this file reads the streams: one row.
CREATE TABLE worker (
    name TEXT NOT NULL
) STRICT;
INSERT INTO worker (name) VALUES ('webhooks-' || lower(hex(randomblob(8))));
