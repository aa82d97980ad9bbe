-- One row per reservation, as its latest change left it. Times are ms since 1970.
CREATE TABLE orders (
    reservation     TEXT    NOT NULL PRIMARY KEY,
    sale            TEXT    NOT NULL,
    user_id         TEXT,
    idempotency_key TEXT,
    quantity        INTEGER NOT NULL CHECK (quantity > 0),
    status          TEXT    NOT NULL CHECK (status IN ('held', 'confirmed', 'cancelled', 'expired', 'refunded')),
    expires_at      INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    version         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX orders_sale ON orders (sale);
CREATE INDEX orders_user_id ON orders (user_id) WHERE user_id IS NOT NULL;

-- The last change that was written, for each ledger that does not keep this position itself.
CREATE TABLE stampede_positions (
    source  TEXT    NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
