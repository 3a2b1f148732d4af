-- What is known of each tenant's users, and the journal. Times are milliseconds since the Unix epoch.

CREATE TABLE tenants (
    name TEXT PRIMARY KEY NOT NULL,
    paused INTEGER NOT NULL DEFAULT 0,
    -- Grows with each change to the tenant's users.
    version INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    registered INTEGER,
    source TEXT,
    last_active INTEGER,
    calls INTEGER NOT NULL DEFAULT 0,
    -- Connections; NULL where no webhook told of any.
    working INTEGER,
    broken INTEGER,
    protected INTEGER NOT NULL DEFAULT 0,
    -- The tenant's version when this was last changed.
    version INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX users_by_version ON users (tenant, version);

-- Users who are gone, for as long as somebody may ask what changed.
CREATE TABLE departed (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX departed_by_version ON departed (tenant, version);

CREATE TABLE connections (
    tenant TEXT NOT NULL,
    user_id TEXT NOT NULL,
    id TEXT NOT NULL,
    works INTEGER NOT NULL,
    PRIMARY KEY (tenant, user_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE journal (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    tenant TEXT NOT NULL,
    event TEXT NOT NULL,
    user_id TEXT,
    newcomer TEXT,
    outcome TEXT,
    reason TEXT,
    users INTEGER,
    user_limit INTEGER,
    request_id TEXT,
    intent INTEGER,
    replica TEXT NOT NULL,
    -- An intent without an outcome.
    is_open INTEGER NOT NULL,
    -- An intent that was withdrawn or refused: nobody was deleted.
    is_undone INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE INDEX journal_by_tenant ON journal (tenant, id);
CREATE INDEX journal_by_time ON journal (at);
CREATE INDEX journal_open ON journal (tenant, id) WHERE is_open;
CREATE INDEX journal_intents ON journal (tenant, at) WHERE event = 'intent';

CREATE TABLE webhooks (
    id TEXT PRIMARY KEY NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX webhooks_by_time ON webhooks (at);
