-- The store's own name. STATE/store.json has it too, and so has every file of STATE/records: folders know whose they are.
CREATE TABLE identity (id TEXT NOT NULL) STRICT;
-- A data set that came in with a submission which is not yet accepted; nobody was told of it. It goes away with a refusal, and
-- stays as soon as anybody else gets its id.
ALTER TABLE datasets ADD COLUMN provisional INTEGER NOT NULL DEFAULT 0;
