-- A job may train on several data sets, each with a weight: [{"dataset","weight"}], NULL where there is one alone.
-- `dataset` then names the first of them.
ALTER TABLE jobs ADD COLUMN datasets TEXT;
