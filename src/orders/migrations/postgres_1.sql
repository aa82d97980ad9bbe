-- One row per reservation, as its latest change left it. Most rows are written twice (held, then
-- confirmed): the free space in each page (fillfactor) keeps the second version in the same page, so
-- that no index is written. Ids are ASCII and compared as bytes.
CREATE TABLE orders (
    reservation     text COLLATE "C" PRIMARY KEY,
    sale            text COLLATE "C" NOT NULL,
    user_id         text,
    idempotency_key text,
    quantity        integer     NOT NULL CHECK (quantity > 0),
    status          text        NOT NULL CHECK (status IN ('held', 'confirmed', 'cancelled', 'expired', 'refunded')),
    expires_at      timestamptz NOT NULL,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    version         bigint      NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX orders_sale ON orders (sale);
CREATE INDEX orders_user_id ON orders (user_id) WHERE user_id IS NOT NULL;
COMMENT ON TABLE orders IS 'written by stampede; created_at is when the first change that got here was made';

-- The last change that was written, for each ledger that does not keep this position itself.
CREATE TABLE stampede_positions (
    source  text PRIMARY KEY,
    version bigint NOT NULL
);
