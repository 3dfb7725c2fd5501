-- The step at which a job's trainer stops until it is told to go on; NULL: it runs to its end.
ALTER TABLE jobs ADD COLUMN stop_at INTEGER;
