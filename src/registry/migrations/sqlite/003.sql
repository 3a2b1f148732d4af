-- When the user was gone, in milliseconds since the Unix epoch: a registration from before that is told late brings nobody back.

ALTER TABLE departed ADD COLUMN at INTEGER NOT NULL DEFAULT 0;

-- In which hours each user called, for as long as the journal is kept: what other policies would have done is told by it.
CREATE TABLE hours (
    tenant TEXT NOT NULL,
    -- When the hour began, and when the last call in it was answered.
    hour INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    last INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (tenant, hour, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX hours_by_time ON hours (hour);
