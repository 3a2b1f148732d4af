-- What is known of each tenant's users, and the journal. Times are milliseconds since the Unix epoch. Texts are compared
-- byte by byte, whatever the database's collation is.

CREATE TABLE snaptrade_sidecar.tenants (
    name TEXT COLLATE "C" PRIMARY KEY,
    paused BOOLEAN NOT NULL DEFAULT FALSE,
    -- Grows with each change to the tenant's users, in the order of the commits.
    version BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE snaptrade_sidecar.users (
    tenant TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    first_seen BIGINT NOT NULL,
    registered BIGINT,
    source TEXT,
    last_active BIGINT,
    calls BIGINT NOT NULL DEFAULT 0,
    -- Connections; NULL where no webhook told of any.
    working BIGINT,
    broken BIGINT,
    protected BOOLEAN NOT NULL DEFAULT FALSE,
    -- The tenant's version when this was last changed.
    version BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE INDEX users_by_version ON snaptrade_sidecar.users (tenant, version);

-- Users who are gone, for as long as somebody may ask what changed.
CREATE TABLE snaptrade_sidecar.departed (
    tenant TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);

CREATE INDEX departed_by_version ON snaptrade_sidecar.departed (tenant, version);

CREATE TABLE snaptrade_sidecar.connections (
    tenant TEXT COLLATE "C" NOT NULL,
    user_id TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    works BOOLEAN NOT NULL,
    PRIMARY KEY (tenant, user_id, id)
);

CREATE TABLE snaptrade_sidecar.journal (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at BIGINT NOT NULL,
    tenant TEXT COLLATE "C" NOT NULL,
    event TEXT NOT NULL,
    user_id TEXT,
    newcomer TEXT,
    outcome TEXT,
    reason TEXT,
    users BIGINT,
    user_limit BIGINT,
    request_id TEXT,
    intent BIGINT,
    replica TEXT NOT NULL,
    -- An intent without an outcome.
    is_open BOOLEAN NOT NULL,
    -- An intent that was withdrawn or refused: nobody was deleted.
    is_undone BOOLEAN NOT NULL DEFAULT FALSE
);

CREATE INDEX journal_by_tenant ON snaptrade_sidecar.journal (tenant, id);
CREATE INDEX journal_by_time ON snaptrade_sidecar.journal (at);
CREATE INDEX journal_open ON snaptrade_sidecar.journal (tenant, id) WHERE is_open;
CREATE INDEX journal_intents ON snaptrade_sidecar.journal (tenant, at) WHERE event = 'intent';

CREATE TABLE snaptrade_sidecar.webhooks (
    id TEXT COLLATE "C" PRIMARY KEY,
    at BIGINT NOT NULL
);

CREATE INDEX webhooks_by_time ON snaptrade_sidecar.webhooks (at);
