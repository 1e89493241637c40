-- The oldest that have ended, which are forgotten first.
CREATE INDEX operations_ended ON operations (place) WHERE terminal = 1;
