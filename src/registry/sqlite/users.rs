//! What is known of users.

use sqlx::{Sqlite as Database, Transaction};

use super::{Sqlite, hours};
use crate::admission::known::{Known, Source};
use crate::registry::rows::{self, UserRow, stored};
use crate::registry::{
    Activity, Changes, ConnectionEvent, DEPARTED_MAX, READ_AT_ONCE, Result, SEEN_AT_ONCE, Version,
};
use crate::types::{Millis, UserId};

type Change = Transaction<'static, Database>;

impl Sqlite {
    pub(in crate::registry) async fn users(&self, tenant: &str) -> Result<Vec<(UserId, Known)>> {
        let found = self.all_users(tenant).await;
        self.done(found)
    }

    pub(in crate::registry) async fn user(&self, tenant: &str, user: &UserId) -> Result<Option<Known>> {
        let found: sqlx::Result<Option<UserRow>> = sqlx::query_as(
            "SELECT id, first_seen, registered, source, last_active, calls, working, broken, protected \
             FROM users WHERE tenant = $1 AND id = $2",
        )
        .bind(tenant)
        .bind(stored(user.as_str()).into_owned())
        .fetch_optional(&self.readers)
        .await;
        self.done(found).map(|row| row.map(|row| rows::user(row).1))
    }

    /// By pages, each as one value: handed over row by row, a million would take three times as long.
    async fn all_users(&self, tenant: &str) -> sqlx::Result<Vec<(UserId, Known)>> {
        let mut users = Vec::new();
        let mut least = String::new();
        loop {
            let page: String = sqlx::query_scalar(
                "SELECT json_group_array(json_array(id, first_seen, registered, source, last_active, calls, \
                 working, broken, json(iif(protected, 'true', 'false')))) FROM \
                 (SELECT * FROM users WHERE tenant = $1 AND id >= $2 ORDER BY id LIMIT $3)",
            )
            .bind(tenant)
            .bind(&least)
            .bind(i64::try_from(READ_AT_ONCE).unwrap_or(i64::MAX))
            .fetch_one(&self.readers)
            .await?;
            let page: Vec<UserRow> =
                serde_json::from_str(&page).map_err(|error| sqlx::Error::Decode(error.into()))?;
            let is_last = page.len() < READ_AT_ONCE;
            if let Some((id, ..)) = page.last() {
                least = rows::next(id);
            }
            users.extend(page.into_iter().map(rows::user));
            if is_last {
                return Ok(users);
            }
        }
    }

    async fn users_since(&self, tenant: &str, since: Version) -> sqlx::Result<Vec<(UserId, Known)>> {
        let rows: Vec<UserRow> = sqlx::query_as(
            "SELECT id, first_seen, registered, source, last_active, calls, working, broken, protected \
             FROM users WHERE tenant = $1 AND version > $2",
        )
        .bind(tenant)
        .bind(since.0)
        .fetch_all(&self.readers)
        .await?;
        Ok(rows.into_iter().map(rows::user).collect())
    }

    pub(in crate::registry) async fn changes(&self, tenant: &str, since: Option<Version>) -> Result<Changes> {
        let looking = async {
            let version: Option<i64> = sqlx::query_scalar("SELECT version FROM tenants WHERE name = $1")
                .bind(tenant)
                .fetch_optional(&self.readers)
                .await?;
            let version = Version(version.unwrap_or(0));
            let since = rows::useful(since, version);
            let gone: Vec<String> = match since {
                None => Vec::new(),
                Some(since) => {
                    sqlx::query_scalar("SELECT id FROM departed WHERE tenant = $1 AND version > $2")
                        .bind(tenant)
                        .bind(since.0)
                        .fetch_all(&self.readers)
                        .await?
                }
            };
            Ok(Changes {
                is_whole: since.is_none(),
                // Last, so that who came back meanwhile is among them.
                users: match since {
                    None => self.all_users(tenant).await?,
                    Some(since) => self.users_since(tenant, since).await?,
                },
                gone: gone.into_iter().map(rows::user_id).collect(),
                version,
            })
        };
        let changes = looking.await;
        self.done(changes)
    }

    pub(in crate::registry) async fn seen(&self, tenant: &str, users: &[UserId], at: Millis) -> Result<()> {
        for users in users.chunks(SEEN_AT_ONCE) {
            let noting = async {
                let ids = list(users);
                let is_news: bool = sqlx::query_scalar(
                    "SELECT EXISTS (SELECT 1 FROM json_each($2) AS listed WHERE NOT EXISTS \
                     (SELECT 1 FROM users WHERE tenant = $1 AND id = listed.value))",
                )
                .bind(tenant)
                .bind(&ids)
                .fetch_one(&self.readers)
                .await?;
                if !is_news {
                    return Ok(());
                }
                let (mut change, version) = self.change(tenant).await?;
                sqlx::query(
                    "INSERT INTO users (tenant, id, first_seen, version) \
                     SELECT $1, value, $3, $4 FROM json_each($2) WHERE TRUE ON CONFLICT DO NOTHING",
                )
                .bind(tenant)
                .bind(&ids)
                .bind(at.0)
                .bind(version)
                .execute(&mut *change)
                .await?;
                change.commit().await
            };
            let noted = noting.await;
            self.written(noted)?;
        }
        Ok(())
    }

    pub(in crate::registry) async fn registered(
        &self,
        tenant: &str,
        user: &UserId,
        at: Millis,
        source: Source,
        is_late: bool,
    ) -> Result<()> {
        let user = stored(user.as_str());
        let noting = async {
            let (mut change, version) = self.change(tenant).await?;
            sqlx::query(
                "INSERT INTO users (tenant, id, first_seen, registered, source, version) \
                 SELECT $1, $2, $3, $3, $4, $5 WHERE NOT ($6 AND EXISTS \
                 (SELECT 1 FROM departed WHERE tenant = $1 AND id = $2 AND at > $3)) \
                 ON CONFLICT DO UPDATE SET first_seen = excluded.first_seen, \
                 registered = excluded.registered, source = excluded.source, last_active = NULL, calls = 0, \
                 working = NULL, broken = NULL, version = excluded.version \
                 WHERE registered IS NULL OR registered <= excluded.registered",
            )
            .bind(tenant)
            .bind(&*user)
            .bind(at.0)
            .bind(source.token())
            .bind(version)
            .bind(is_late)
            .execute(&mut *change)
            .await?;
            sqlx::query(
                "DELETE FROM connections WHERE tenant = $1 AND user_id = $2 AND EXISTS \
                 (SELECT 1 FROM users WHERE tenant = $1 AND id = $2 AND version = $3)",
            )
            .bind(tenant)
            .bind(&*user)
            .bind(version)
            .execute(&mut *change)
            .await?;
            change.commit().await
        };
        let noted = noting.await;
        self.written(noted)
    }

    pub(in crate::registry) async fn gone(&self, tenant: &str, users: &[UserId], at: Millis) -> Result<()> {
        for users in users.chunks(SEEN_AT_ONCE) {
            let ids = list(users);
            let forgetting = async {
                let (mut change, version) = self.change(tenant).await?;
                for statement in [
                    "DELETE FROM connections WHERE tenant = $1 AND user_id IN (SELECT value FROM json_each($2)) \
                     AND NOT EXISTS (SELECT 1 FROM users \
                     WHERE tenant = $1 AND id = user_id AND coalesce(registered, 0) > $4)",
                    "INSERT INTO departed (tenant, id, version, at) SELECT $1, value, $3, $4 FROM json_each($2) \
                     WHERE NOT EXISTS (SELECT 1 FROM users \
                     WHERE tenant = $1 AND id = value AND coalesce(registered, 0) > $4) \
                     ON CONFLICT DO UPDATE SET version = excluded.version, at = max(at, excluded.at)",
                    "DELETE FROM users \
                     WHERE tenant = $1 AND id IN (SELECT value FROM json_each($2)) AND NOT protected \
                     AND coalesce(registered, 0) <= $4",
                    "UPDATE users SET registered = NULL, source = NULL, last_active = NULL, calls = 0, \
                     working = NULL, broken = NULL, version = $3 \
                     WHERE tenant = $1 AND id IN (SELECT value FROM json_each($2)) \
                     AND coalesce(registered, 0) <= $4",
                ] {
                    sqlx::query(statement)
                        .bind(tenant)
                        .bind(&ids)
                        .bind(version)
                        .bind(at.0)
                        .execute(&mut *change)
                        .await?;
                }
                sqlx::query("DELETE FROM departed WHERE tenant = $1 AND version <= $2")
                    .bind(tenant)
                    .bind(version - DEPARTED_MAX)
                    .execute(&mut *change)
                    .await?;
                change.commit().await
            };
            let forgotten = forgetting.await;
            self.written(forgotten)?;
        }
        Ok(())
    }

    pub(in crate::registry) async fn active(&self, batch: &[Activity]) -> Result<()> {
        for (tenant, batch) in rows::by_tenant(batch) {
            let noting = async {
                let (mut change, version) = self.change(tenant).await?;
                for activity in batch {
                    sqlx::query(
                        "UPDATE users SET calls = calls + $3, last_active = max(coalesce(last_active, $4), $4), \
                         version = $5 WHERE tenant = $1 AND id = $2",
                    )
                    .bind(tenant)
                    .bind(stored(activity.user.as_str()).into_owned())
                    .bind(rows::calls(activity))
                    .bind(activity.last.0)
                    .bind(version)
                    .execute(&mut *change)
                    .await?;
                    hours::add(&mut change, activity).await?;
                }
                change.commit().await
            };
            let noted = noting.await;
            self.written(noted)?;
        }
        Ok(())
    }

    pub(in crate::registry) async fn connection(
        &self,
        tenant: &str,
        user: &UserId,
        connection: &str,
        event: ConnectionEvent,
    ) -> Result<()> {
        let statement = match event {
            ConnectionEvent::Deleted => {
                "DELETE FROM connections WHERE tenant = $1 AND user_id = $2 AND id = $3 AND $4 IS NOT NULL"
            }
            ConnectionEvent::Added | ConnectionEvent::Fixed | ConnectionEvent::Broken => {
                "INSERT INTO connections (tenant, user_id, id, works) \
                 SELECT tenant, id, $3, $4 FROM users WHERE tenant = $1 AND id = $2 \
                 ON CONFLICT DO UPDATE SET works = excluded.works"
            }
        };
        let user = stored(user.as_str());
        let noting = async {
            let (mut change, version) = self.change(tenant).await?;
            sqlx::query(statement)
                .bind(tenant)
                .bind(&*user)
                .bind(&*stored(connection))
                .bind(event != ConnectionEvent::Broken)
                .execute(&mut *change)
                .await?;
            sqlx::query(
                "UPDATE users SET version = $3, \
                 working = (SELECT count(*) FROM connections WHERE tenant = $1 AND user_id = $2 AND works), \
                 broken = (SELECT count(*) FROM connections WHERE tenant = $1 AND user_id = $2 AND NOT works) \
                 WHERE tenant = $1 AND id = $2",
            )
            .bind(tenant)
            .bind(&*user)
            .bind(version)
            .execute(&mut *change)
            .await?;
            change.commit().await
        };
        let noted = noting.await;
        self.written(noted)
    }

    pub(in crate::registry) async fn protect(
        &self,
        tenant: &str,
        user: &UserId,
        protected: bool,
        at: Millis,
    ) -> Result<()> {
        let noting = async {
            let (mut change, version) = self.change(tenant).await?;
            sqlx::query(
                "INSERT INTO users (tenant, id, first_seen, protected, version) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT DO UPDATE SET protected = excluded.protected, version = excluded.version",
            )
            .bind(tenant)
            .bind(stored(user.as_str()).into_owned())
            .bind(at.0)
            .bind(protected)
            .bind(version)
            .execute(&mut *change)
            .await?;
            change.commit().await
        };
        let noted = noting.await;
        self.written(noted)
    }

    pub(in crate::registry) async fn pause(&self, tenant: &str, paused: bool) -> Result<()> {
        let pausing = sqlx::query(
            "INSERT INTO tenants (name, paused) VALUES ($1, $2) \
             ON CONFLICT DO UPDATE SET paused = excluded.paused",
        );
        let paused = pausing.bind(tenant).bind(paused).execute(&self.writer).await;
        self.written(paused).map(drop)
    }

    pub(in crate::registry) async fn is_paused(&self, tenant: &str) -> Result<bool> {
        let found: sqlx::Result<Option<bool>> =
            sqlx::query_scalar("SELECT paused FROM tenants WHERE name = $1")
                .bind(tenant)
                .fetch_optional(&self.readers)
                .await;
        self.done(found).map(|paused| paused.unwrap_or(false))
    }

    pub(in crate::registry) async fn paused(&self) -> Result<Vec<String>> {
        let select = sqlx::query_scalar("SELECT name FROM tenants WHERE paused");
        let found = select.fetch_all(&self.readers).await;
        self.done(found)
    }

    /// Begins a change to a tenant's users, with the version that they have after it.
    async fn change(&self, tenant: &str) -> sqlx::Result<(Change, i64)> {
        let mut change = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let version = sqlx::query_scalar(
            "INSERT INTO tenants (name, version) VALUES ($1, 1) \
             ON CONFLICT DO UPDATE SET version = version + 1 RETURNING version",
        )
        .bind(tenant)
        .fetch_one(&mut *change)
        .await?;
        Ok((change, version))
    }
}

/// Ids as one value: their number is not bounded, that of a statement's values is.
fn list(users: &[UserId]) -> String {
    let ids: Vec<_> = users.iter().map(|user| stored(user.as_str())).collect();
    serde_json::Value::from(ids).to_string()
}
