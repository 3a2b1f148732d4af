-- When the user was gone, in milliseconds since the Unix epoch: a registration from before that is told late brings nobody back.

ALTER TABLE departed ADD COLUMN at INTEGER NOT NULL DEFAULT 0;
