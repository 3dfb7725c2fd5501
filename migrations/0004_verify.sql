-- A job may be another one run again, to see whether the same bytes come out: the id of that one.
ALTER TABLE jobs ADD COLUMN verifies TEXT;
CREATE INDEX jobs_by_verified ON jobs (verifies) WHERE verifies IS NOT NULL;
