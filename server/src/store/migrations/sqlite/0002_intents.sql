-- What a mutation that takes several steps means to do, so that it can be completed after a crash without its caller.
ALTER TABLE requests ADD COLUMN intent TEXT;
