-- Experiments. A sweep's trials are jobs: `sweep` is the id of theirs. A job with `stop_at` pauses once it has done that step.
CREATE TABLE sweeps (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT,
    owner TEXT NOT NULL,    -- as in jobs; with what follows, on whose behalf trials are submitted
    scope TEXT NOT NULL,
    sees_all INTEGER NOT NULL,
    team TEXT NOT NULL,
    kind TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')),
    reason_code TEXT,
    reason_message TEXT,
    request TEXT NOT NULL,  -- as sent
    plan TEXT NOT NULL,     -- what it was resolved to: axes, rungs, metric, trials, costs
    result TEXT NOT NULL DEFAULT 'null',
    next_seq INTEGER NOT NULL DEFAULT 1,
    created_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT
) STRICT;
CREATE INDEX sweeps_by_status ON sweeps (status, n);

CREATE TABLE trials (
    sweep INTEGER NOT NULL REFERENCES sweeps (n) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    role TEXT NOT NULL,     -- what it is for: auto, trial, seed, fold, …
    settings TEXT NOT NULL, -- what it changes in the job's request
    point TEXT NOT NULL,    -- the same as numbers, one an axis; null where the axis does not apply
    rungs TEXT NOT NULL,    -- steps at which it pauses
    job TEXT,               -- id; NULL: it could not be planned, and `why` says why
    why TEXT,
    PRIMARY KEY (sweep, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE sweep_events (
    sweep INTEGER NOT NULL REFERENCES sweeps (n) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    time TEXT NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (sweep, seq)
) STRICT, WITHOUT ROWID;

ALTER TABLE jobs ADD COLUMN sweep TEXT;
CREATE INDEX jobs_by_sweep ON jobs (sweep) WHERE sweep IS NOT NULL;
-- The step at which a job's trainer stops until it is told to go on; NULL: it runs to its end.
ALTER TABLE jobs ADD COLUMN stop_at INTEGER;
