-- Of a registration: the status of its reply, and how long it took, in milliseconds.

ALTER TABLE snaptrade_sidecar.journal ADD COLUMN status BIGINT, ADD COLUMN took_ms BIGINT;
