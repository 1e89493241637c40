-- The same schema as SQLite's after its step of this number. Texts are compared byte by byte, as there: places, revisions'
-- neighbours and instance ids must come in one order everywhere.
CREATE TABLE meta (
    key   TEXT COLLATE "C" PRIMARY KEY,
    value TEXT NOT NULL
) WITH (fillfactor = 10);

CREATE TABLE operations (
    id          TEXT COLLATE "C" PRIMARY KEY,
    account     TEXT COLLATE "C" NOT NULL,
    region      TEXT COLLATE "C" NOT NULL,
    place       TEXT COLLATE "C" NOT NULL,
    origin      TEXT COLLATE "C" NOT NULL,
    terminal    BIGINT NOT NULL,
    revision    BIGINT NOT NULL,
    written_by  TEXT COLLATE "C" NOT NULL,
    control     TEXT NOT NULL DEFAULT '{}',
    owner       TEXT COLLATE "C",
    fence       BIGINT NOT NULL DEFAULT 0,
    lease_until BIGINT NOT NULL DEFAULT 0,
    generation  BIGINT NOT NULL DEFAULT 0,
    told        TEXT NOT NULL DEFAULT '',
    body        TEXT NOT NULL
);
CREATE INDEX operations_by_place ON operations (account, region, place);
CREATE INDEX operations_by_revision ON operations (revision);
CREATE INDEX operations_by_owner ON operations (owner) WHERE owner IS NOT NULL;
CREATE INDEX operations_unfinished ON operations (id) WHERE terminal = 0;

CREATE TABLE targets (
    operation TEXT COLLATE "C" NOT NULL REFERENCES operations (id),
    instance  TEXT COLLATE "C" NOT NULL,
    state     TEXT NOT NULL,
    revision  BIGINT NOT NULL,
    told      TEXT NOT NULL DEFAULT '',
    body      TEXT NOT NULL,
    PRIMARY KEY (operation, instance)
);

CREATE TABLE dispatches (
    operation  TEXT COLLATE "C" NOT NULL REFERENCES operations (id),
    batch      BIGINT NOT NULL,
    command_id TEXT COLLATE "C",
    body       TEXT NOT NULL,
    PRIMARY KEY (operation, batch)
);
CREATE INDEX dispatches_by_command ON dispatches (command_id);

CREATE TABLE requests (
    principal   TEXT COLLATE "C" NOT NULL,
    method      TEXT COLLATE "C" NOT NULL,
    request_id  TEXT COLLATE "C" NOT NULL,
    fingerprint TEXT NOT NULL,
    resource    TEXT,
    intent      TEXT,
    create_time TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (principal, method, request_id)
);

CREATE TABLE events (
    operation TEXT COLLATE "C" NOT NULL,
    revision  BIGINT NOT NULL,
    seq       BIGINT NOT NULL,
    time      TEXT NOT NULL,
    body      TEXT NOT NULL,
    PRIMARY KEY (operation, revision, seq)
);

CREATE TABLE freezes (
    id   TEXT COLLATE "C" PRIMARY KEY,
    body TEXT NOT NULL
);

CREATE TABLE locks (
    account   TEXT COLLATE "C" NOT NULL,
    region    TEXT COLLATE "C" NOT NULL,
    instance  TEXT COLLATE "C" NOT NULL,
    operation TEXT COLLATE "C" NOT NULL,
    until     TEXT COLLATE "C",
    PRIMARY KEY (account, region, instance)
);
CREATE INDEX locks_by_operation ON locks (operation);

-- As SQLite's function of this name gives the elements of an array, so that one text of SQL serves both.
CREATE FUNCTION json_each(elements TEXT, OUT value JSON) RETURNS SETOF JSON
    LANGUAGE sql IMMUTABLE AS 'SELECT json_array_elements(CAST(elements AS JSON))';

-- Tells the other replicas of each commit that changes what readers are shown.
CREATE FUNCTION announce_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('patchplane', NEW.value);
    RETURN NULL;
END
$$;
CREATE TRIGGER announce_revision AFTER UPDATE ON meta FOR EACH ROW
    WHEN (NEW.key = 'revision' AND NEW.value <> OLD.value) EXECUTE FUNCTION announce_revision();
