-- When the user was gone, in milliseconds since the Unix epoch: a registration from before that is told late brings nobody back.

ALTER TABLE snaptrade_sidecar.departed ADD COLUMN at BIGINT NOT NULL DEFAULT 0;

-- In which hours each user called, for as long as the journal is kept: what other policies would have done is told by it.
CREATE TABLE snaptrade_sidecar.hours (
    tenant TEXT COLLATE "C" NOT NULL,
    -- When the hour began, and when the last call in it was answered.
    hour BIGINT NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    last BIGINT NOT NULL,
    calls BIGINT NOT NULL,
    PRIMARY KEY (tenant, hour, user_id)
);

CREATE INDEX hours_by_time ON snaptrade_sidecar.hours (hour);
