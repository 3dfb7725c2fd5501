-- Evaluations of a long series, and the queue in its order, are found without walking through everything else.
CREATE INDEX metrics_evaluated ON metrics (job, seq) WHERE val IS NOT NULL;
CREATE INDEX jobs_waiting ON jobs (priority DESC, n) WHERE status = 'queued';
