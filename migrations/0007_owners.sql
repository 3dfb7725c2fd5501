-- Keys see their own objects or all of them, belong to a team, expire and have quotas. Those that exist go on seeing all.
ALTER TABLE keys ADD COLUMN see TEXT NOT NULL DEFAULT 'all' CHECK (see IN ('own', 'all'));
ALTER TABLE keys ADD COLUMN team TEXT NOT NULL DEFAULT '';
ALTER TABLE keys ADD COLUMN expires_at TEXT;
ALTER TABLE keys ADD COLUMN max_bytes INTEGER;   -- of its data sets; NULL: no limit
ALTER TABLE keys ADD COLUMN max_queued INTEGER;  -- jobs
ALTER TABLE keys ADD COLUMN max_running INTEGER; -- jobs

-- A data set belongs to who uploaded it: the same bytes of two keys are two data sets that share one file.
CREATE TABLE owned_datasets (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL DEFAULT '', -- as in jobs
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
    provisional INTEGER NOT NULL DEFAULT 0,
    UNIQUE (owner, sha256, format, columns, on_error) -- the same upload twice is the same data set
) STRICT;
INSERT INTO owned_datasets (n,id,name,format,columns,tasks,rows,bytes,sha256,dropped,on_error,warnings,created_at,provisional)
    SELECT n,id,name,format,columns,tasks,rows,bytes,sha256,dropped,on_error,warnings,created_at,provisional FROM datasets;
-- Numbers are never given twice, not even those of data sets that are gone.
DELETE FROM sqlite_sequence WHERE name='owned_datasets';
INSERT INTO sqlite_sequence (name,seq) SELECT 'owned_datasets',seq FROM sqlite_sequence WHERE name='datasets';
DROP TABLE datasets;
ALTER TABLE owned_datasets RENAME TO datasets;
CREATE INDEX datasets_by_file ON datasets (sha256);

CREATE INDEX jobs_by_owner ON jobs (owner, status);
