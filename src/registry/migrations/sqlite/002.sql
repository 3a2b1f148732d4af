-- Of a registration: the status of its reply, and how long it took, in milliseconds.

ALTER TABLE journal ADD COLUMN status INTEGER;
ALTER TABLE journal ADD COLUMN took_ms INTEGER;
