-- What the engine needs so that several may work, one at a time on each operation, and what callers ask of it.
-- `control` is written by calls only, the rest of the operation by the engine only: neither overwrites the other.
-- `fence` counts the takings of an operation; `lease_until` is in milliseconds of the database's clock, 0 is free.
-- `generation` is the store's when the operation was last known to be as AWS has it.
-- `told` is the content of the newest event.
ALTER TABLE operations ADD COLUMN control TEXT NOT NULL DEFAULT '{}';
ALTER TABLE operations ADD COLUMN owner TEXT;
ALTER TABLE operations ADD COLUMN fence INTEGER NOT NULL DEFAULT 0;
ALTER TABLE operations ADD COLUMN lease_until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE operations ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE operations ADD COLUMN told TEXT NOT NULL DEFAULT '';
ALTER TABLE targets ADD COLUMN told TEXT NOT NULL DEFAULT '';
CREATE INDEX operations_by_revision ON operations (revision);
CREATE INDEX operations_by_owner ON operations (owner) WHERE owner IS NOT NULL;

-- Every change of state, reason or explanation, of the operation or of a target.
CREATE TABLE events (
    operation TEXT NOT NULL,
    revision  INTEGER NOT NULL,
    seq       INTEGER NOT NULL,
    time      TEXT NOT NULL,
    body      TEXT NOT NULL,
    PRIMARY KEY (operation, revision, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE freezes (
    id   TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

-- Which operation has an instance to itself; past `until` (null: never) another may take it.
CREATE TABLE locks (
    account   TEXT NOT NULL,
    region    TEXT NOT NULL,
    instance  TEXT NOT NULL,
    operation TEXT NOT NULL,
    until     TEXT,
    PRIMARY KEY (account, region, instance)
) STRICT, WITHOUT ROWID;
CREATE INDEX locks_by_operation ON locks (operation);
