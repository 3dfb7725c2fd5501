-- The first shape of the store. Times are RFC 3339 text in UTC: text order is time order. JSON is kept as the text that
-- the API answers with; columns of their own exist for what is searched, sorted or summed.

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('read', 'submit', 'admin')),
    hash TEXT NOT NULL UNIQUE, -- sha256 of the secret; the secret itself is shown once and kept nowhere
    created_at TEXT NOT NULL,
    revoked_at TEXT
) STRICT;

CREATE TABLE datasets (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    format TEXT NOT NULL,
    columns TEXT NOT NULL,
    tasks TEXT NOT NULL,
    rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    dropped INTEGER NOT NULL,
    on_error TEXT NOT NULL,
    warnings TEXT NOT NULL,
    created_at TEXT NOT NULL,
    UNIQUE (sha256, format, columns, on_error) -- the same upload twice is the same data set
) STRICT;

CREATE TABLE models (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    family TEXT NOT NULL,
    format TEXT NOT NULL,
    quantisation TEXT,
    parameters INTEGER NOT NULL,
    context INTEGER NOT NULL,
    vocab INTEGER NOT NULL,
    tasks TEXT NOT NULL,
    source TEXT,
    sha256 TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    chat_template INTEGER NOT NULL,
    entry TEXT NOT NULL,    -- below STATE/models/<name>/: a file, or "" for the folder itself
    files TEXT NOT NULL,    -- [{"name","size","mtime","inode"}]: a linked file that was changed in place is noticed
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE jobs (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT,
    owner TEXT NOT NULL,    -- key id, '' without keys
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')),
    requested TEXT,
    reason_code TEXT,
    reason_message TEXT,
    task TEXT NOT NULL,
    method TEXT NOT NULL,
    model TEXT NOT NULL,
    dataset TEXT NOT NULL,
    validation_dataset TEXT,
    validation TEXT,
    request TEXT NOT NULL,
    hyperparameters TEXT NOT NULL,
    auto_why TEXT NOT NULL,
    counts TEXT NOT NULL,
    plan TEXT NOT NULL,
    run TEXT NOT NULL,      -- spec.json's parts, as the helper resolved them
    host TEXT NOT NULL,
    metadata TEXT NOT NULL,
    priority INTEGER NOT NULL,
    peak_bytes INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    deaths INTEGER NOT NULL DEFAULT 0,          -- since the last new checkpoint
    not_before INTEGER NOT NULL DEFAULT 0,      -- milliseconds since 1970
    blocked_since INTEGER NOT NULL DEFAULT 0,   -- since when it is first in line and does not fit
    ingested_bytes INTEGER NOT NULL DEFAULT 0,  -- of events.jsonl; moves in the transaction of the events themselves
    ingested_n INTEGER NOT NULL DEFAULT 0,
    next_seq INTEGER NOT NULL DEFAULT 1,
    next_metric INTEGER NOT NULL DEFAULT 1,
    verdict TEXT,           -- type of the trainer's last event of this attempt
    verdict_data TEXT,
    step INTEGER NOT NULL DEFAULT 0,
    total_steps INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER NOT NULL DEFAULT 0,
    epoch REAL,
    tokens_per_second REAL,
    step_seconds REAL,
    loss REAL,
    val_loss REAL,
    best TEXT,
    kernels TEXT,
    verification TEXT NOT NULL DEFAULT '[]',
    exported_step INTEGER,
    checkpoint_step INTEGER,
    checkpoint_bytes INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL,
    started_at TEXT,
    finished_at TEXT
) STRICT;
CREATE INDEX jobs_by_status ON jobs (status, n);
CREATE INDEX jobs_by_dataset ON jobs (dataset);

-- Round-robin over keys: whoever was served longest ago comes first among equals.
CREATE TABLE shares (owner TEXT PRIMARY KEY, last INTEGER NOT NULL) STRICT;

CREATE TABLE events (
    job INTEGER NOT NULL REFERENCES jobs (n) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    time TEXT NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE metrics (
    job INTEGER NOT NULL REFERENCES jobs (n) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    step INTEGER NOT NULL,
    epoch REAL,
    tokens INTEGER,
    loss REAL,
    learning_rate REAL,
    grad_norm REAL,
    tokens_per_second REAL,
    val TEXT,               -- {"val_loss":…} of an evaluation, NULL in a training row
    time TEXT NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;

-- Per level k the training rows with the least and the greatest loss of each run of 8^k rows: a plot of a million rows
-- reads a few thousand, and no spike is lost.
CREATE TABLE metric_levels (
    job INTEGER NOT NULL REFERENCES jobs (n) ON DELETE CASCADE,
    level INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    min_seq INTEGER NOT NULL,
    min_loss REAL NOT NULL,
    max_seq INTEGER NOT NULL,
    max_loss REAL NOT NULL,
    PRIMARY KEY (job, level, bucket)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
    job INTEGER NOT NULL REFERENCES jobs (n) ON DELETE CASCADE,
    step INTEGER NOT NULL,
    epoch REAL,
    bytes INTEGER NOT NULL,
    best INTEGER NOT NULL,
    metrics TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (job, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE artifacts (
    job INTEGER NOT NULL REFERENCES jobs (n) ON DELETE CASCADE,
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    verified INTEGER,       -- NULL: not (yet) read back
    PRIMARY KEY (job, path)
) STRICT, WITHOUT ROWID;

-- Idempotency-Key of POST /jobs; kept 24 hours.
CREATE TABLE idempotency (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    body TEXT NOT NULL,     -- sha256 of the canonical request
    job TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;
