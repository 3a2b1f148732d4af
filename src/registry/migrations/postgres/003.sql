-- When the user was gone, in milliseconds since the Unix epoch: a registration from before that is told late brings nobody back.

ALTER TABLE snaptrade_sidecar.departed ADD COLUMN at BIGINT NOT NULL DEFAULT 0;
