CREATE INDEX IF NOT EXISTS orders_expires_at ON orders (expires_at) WHERE status = 'held';
CREATE INDEX IF NOT EXISTS orders_idempotency_key ON orders (idempotency_key) WHERE idempotency_key IS NOT NULL;
