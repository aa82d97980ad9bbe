-- For people: the times as text, in UTC.
DROP VIEW IF EXISTS orders_readable;
CREATE VIEW orders_readable AS
SELECT reservation, sale, user_id, idempotency_key, quantity, status,
       strftime('%Y-%m-%dT%H:%M:%fZ', expires_at / 1000.0, 'unixepoch') AS expires_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch') AS created_at,
       strftime('%Y-%m-%dT%H:%M:%fZ', updated_at / 1000.0, 'unixepoch') AS updated_at,
       request_id, traceparent, note, lines
FROM orders;
