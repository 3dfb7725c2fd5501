-- Notices that an ended job sends to its notify_url: written with the end, delivered at least once.
CREATE TABLE notices (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, -- the same at every attempt
    job INTEGER NOT NULL REFERENCES jobs (n) ON DELETE CASCADE,
    type TEXT NOT NULL,
    url TEXT NOT NULL,
    host TEXT NOT NULL,      -- of the url: one delivery a host at a time
    body TEXT NOT NULL,      -- as it is sent and signed
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'given_up')),
    attempts INTEGER NOT NULL DEFAULT 0,
    created_ms INTEGER NOT NULL,
    due_ms INTEGER NOT NULL  -- of the next attempt
) STRICT;
CREATE INDEX notices_waiting ON notices (due_ms) WHERE state='waiting';
CREATE INDEX notices_by_job ON notices (job);
-- What became of the job's notice, as it is shown: {"id","type","state","attempts","status","message","time"}.
ALTER TABLE jobs ADD COLUMN notice TEXT;
