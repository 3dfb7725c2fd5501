-- What a corrected copy of a data set was made of: {"dataset","sha256","excluded","relabelled","changes"}; null of all others.
ALTER TABLE datasets ADD COLUMN corrected_from TEXT NOT NULL DEFAULT 'null';
