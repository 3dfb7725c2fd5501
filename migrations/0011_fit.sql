-- The last verdict on the job's fit: {"step","verdict","health","summary","best_step","provisional"}; NULL of jobs that tell none.
ALTER TABLE jobs ADD COLUMN fit TEXT;
