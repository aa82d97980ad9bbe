-- Counts the attempts of all workers that have used this file, by result.
ALTER TABLE worker ADD COLUMN delivered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE worker ADD COLUMN failed    INTEGER NOT NULL DEFAULT 0;
-- Finds the oldest waiting event, however many dead letters there are.
CREATE INDEX events_waiting ON events (number) WHERE state < 2;
