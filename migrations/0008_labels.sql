-- What the labels of rows are taken as, each with its rows (of many the first), and how many there are; what a job's plan warned of.
ALTER TABLE datasets ADD COLUMN problem TEXT;
ALTER TABLE datasets ADD COLUMN label_count INTEGER;
ALTER TABLE datasets ADD COLUMN labels TEXT NOT NULL DEFAULT 'null';
ALTER TABLE jobs ADD COLUMN problem TEXT;
ALTER TABLE jobs ADD COLUMN label_count INTEGER;
ALTER TABLE jobs ADD COLUMN labels TEXT;
ALTER TABLE jobs ADD COLUMN warnings TEXT;
