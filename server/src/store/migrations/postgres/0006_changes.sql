-- What changed of an operation since a revision is read again and again, also of operations with thousands of targets.
CREATE INDEX targets_by_revision ON targets (operation, revision);
