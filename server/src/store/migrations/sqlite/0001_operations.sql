-- What patchplane must not forget: operations, their targets and sends, and the requests that were answered.
-- Bodies are JSON of the domain's values; the columns beside them are what is searched for.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE operations (
    id         TEXT PRIMARY KEY,
    account    TEXT NOT NULL,
    region     TEXT NOT NULL,
    terminal   INTEGER NOT NULL,
    revision   INTEGER NOT NULL,
    written_by TEXT NOT NULL,
    body       TEXT NOT NULL
) STRICT;
CREATE INDEX operations_by_location ON operations (account, region, id);
CREATE INDEX operations_unfinished ON operations (id) WHERE terminal = 0;

CREATE TABLE targets (
    operation TEXT NOT NULL REFERENCES operations (id),
    instance  TEXT NOT NULL,
    state     TEXT NOT NULL,
    revision  INTEGER NOT NULL,
    body      TEXT NOT NULL,
    PRIMARY KEY (operation, instance)
) STRICT, WITHOUT ROWID;

CREATE TABLE dispatches (
    operation  TEXT NOT NULL REFERENCES operations (id),
    batch      INTEGER NOT NULL,
    command_id TEXT,
    body       TEXT NOT NULL,
    PRIMARY KEY (operation, batch)
) STRICT, WITHOUT ROWID;

-- `resource` is null while the mutation is under way, or after a crash in its midst.
CREATE TABLE requests (
    principal   TEXT NOT NULL,
    method      TEXT NOT NULL,
    request_id  TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    resource    TEXT,
    create_time TEXT NOT NULL,
    PRIMARY KEY (principal, method, request_id)
) STRICT, WITHOUT ROWID;
