-- A job may name rows that nothing of the run looks at until its end: their data set, and what was measured on them.
ALTER TABLE jobs ADD COLUMN test_dataset TEXT;
ALTER TABLE jobs ADD COLUMN test TEXT; -- {"step","rows","test_loss",...} once it is known
