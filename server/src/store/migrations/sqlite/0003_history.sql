-- What others did has its place in the history too: `place` is a ULID that sorts by the time of creation.
ALTER TABLE operations ADD COLUMN place TEXT NOT NULL DEFAULT '';
ALTER TABLE operations ADD COLUMN origin TEXT NOT NULL DEFAULT 'PATCHPLANE';
UPDATE operations SET place = id;
DROP INDEX operations_by_location;
CREATE INDEX operations_by_place ON operations (account, region, place);
CREATE INDEX dispatches_by_command ON dispatches (command_id);
