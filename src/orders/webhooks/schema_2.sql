-- What came of the attempts of all workers that had this file.
ALTER TABLE worker ADD COLUMN delivered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE worker ADD COLUMN failed    INTEGER NOT NULL DEFAULT 0;
-- The event that has waited longest, beside however many dead letters.
CREATE INDEX events_waiting ON events (number) WHERE state < 2;
