-- Lists of jobs by these are read in order, page by page. The expressions are those of order_keys in server/store/store_jobs.c.
CREATE INDEX jobs_by_finished ON jobs (finished_at);
CREATE INDEX jobs_by_metric ON jobs (json_extract(best, '$.value'));
CREATE INDEX jobs_by_duration ON jobs (julianday(finished_at) - julianday(started_at));
