//! What is known of users.
//!
//! A change to a tenant's users first takes the tenant's row, and with it the next version: so versions are committed in
//! their order, and two replicas that change the same users wait instead of deadlocking.

use sqlx::{Connection, PgConnection, Postgres as Database, Transaction};

use super::{Postgres, hours, limited};
use crate::admission::known::{Known, Source};
use crate::registry::rows::{self, UserRow, stored};
use crate::registry::{
    Activity, Changes, ConnectionEvent, DEPARTED_MAX, READ_AT_ONCE, Result, SEEN_AT_ONCE, Version,
};
use crate::types::{Millis, UserId};

impl Postgres {
    pub(in crate::registry) async fn users(&self, tenant: &str) -> Result<Vec<(UserId, Known)>> {
        self.users_since(tenant, Version(0)).await
    }

    pub(in crate::registry) async fn user(&self, tenant: &str, user: &UserId) -> Result<Option<Known>> {
        let select = sqlx::query_as(
            "SELECT id, first_seen, registered, source, last_active, calls, working, broken, protected \
             FROM snaptrade_sidecar.users WHERE tenant = $1 AND id = $2",
        )
        .bind(tenant)
        .bind(stored(user.as_str()).into_owned());
        let mut lent = self.sessions.lend().await?;
        let found = limited(select.fetch_optional(&mut lent.session)).await;
        let row: Option<UserRow> = lent.done(found)?;
        Ok(row.map(|row| rows::user(row).1))
    }

    async fn users_since(&self, tenant: &str, since: Version) -> Result<Vec<(UserId, Known)>> {
        let mut users = Vec::new();
        let mut least = String::new();
        loop {
            let select = sqlx::query_as(
                "SELECT id, first_seen, registered, source, last_active, calls, working, broken, protected \
                 FROM snaptrade_sidecar.users WHERE tenant = $1 AND version > $2 AND id >= $3 \
                 ORDER BY id LIMIT $4",
            )
            .bind(tenant)
            .bind(since.0)
            .bind(&least)
            .bind(i64::try_from(READ_AT_ONCE).unwrap_or(i64::MAX));
            let mut lent = self.sessions.lend().await?;
            let found = limited(select.fetch_all(&mut lent.session)).await;
            let page: Vec<UserRow> = lent.done(found)?;
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

    pub(in crate::registry) async fn changes(&self, tenant: &str, since: Option<Version>) -> Result<Changes> {
        let mut lent = self.sessions.lend().await?;
        let looking = limited(async {
            let version: Option<i64> =
                sqlx::query_scalar("SELECT version FROM snaptrade_sidecar.tenants WHERE name = $1")
                    .bind(tenant)
                    .fetch_optional(&mut lent.session)
                    .await?;
            let version = Version(version.unwrap_or(0));
            let since = rows::useful(since, version);
            let gone: Vec<String> = match since {
                Some(since) if since < version => {
                    sqlx::query_scalar(
                        "SELECT id FROM snaptrade_sidecar.departed WHERE tenant = $1 AND version > $2",
                    )
                    .bind(tenant)
                    .bind(since.0)
                    .fetch_all(&mut lent.session)
                    .await?
                }
                _ => Vec::new(),
            };
            Ok((version, since, gone))
        });
        let found = looking.await;
        let (version, since, gone) = lent.done(found)?;
        // Last, so that who came back meanwhile is among them.
        let users = match since {
            Some(since) if since == version => Vec::new(),
            since => self.users_since(tenant, since.unwrap_or(Version(0))).await?,
        };
        Ok(Changes {
            is_whole: since.is_none(),
            users,
            gone: gone.into_iter().map(rows::user_id).collect(),
            version,
        })
    }

    pub(in crate::registry) async fn seen(&self, tenant: &str, users: &[UserId], at: Millis) -> Result<()> {
        for users in users.chunks(SEEN_AT_ONCE) {
            let ids = list(users);
            let mut lent = self.sessions.lend().await?;
            let noting = limited(async {
                let new: Vec<String> = sqlx::query_scalar(
                    "SELECT listed FROM unnest($2::TEXT[]) AS listed WHERE NOT EXISTS \
                     (SELECT FROM snaptrade_sidecar.users WHERE tenant = $1 AND id = listed)",
                )
                .bind(tenant)
                .bind(&ids)
                .fetch_all(&mut lent.session)
                .await?;
                if new.is_empty() {
                    return Ok(());
                }
                let (mut change, version) = change(&mut lent.session, tenant).await?;
                sqlx::query(
                    "INSERT INTO snaptrade_sidecar.users (tenant, id, first_seen, version) \
                     SELECT $1, listed, $3, $4 FROM unnest($2::TEXT[]) AS listed ON CONFLICT DO NOTHING",
                )
                .bind(tenant)
                .bind(&new)
                .bind(at.0)
                .bind(version)
                .execute(&mut *change)
                .await?;
                change.commit().await
            });
            let noted = noting.await;
            lent.done(noted)?;
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
        let mut lent = self.sessions.lend().await?;
        let noting = limited(async {
            let (mut change, version) = change(&mut lent.session, tenant).await?;
            sqlx::query(
                "INSERT INTO snaptrade_sidecar.users (tenant, id, first_seen, registered, source, version) \
                 SELECT $1, $2, $3, $3, $4, $5 WHERE NOT ($6 AND EXISTS \
                 (SELECT FROM snaptrade_sidecar.departed WHERE tenant = $1 AND id = $2 AND at > $3)) \
                 ON CONFLICT (tenant, id) DO UPDATE SET \
                 first_seen = excluded.first_seen, registered = excluded.registered, source = excluded.source, \
                 last_active = NULL, calls = 0, working = NULL, broken = NULL, version = excluded.version \
                 WHERE users.registered IS NULL OR users.registered <= excluded.registered",
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
                "DELETE FROM snaptrade_sidecar.connections WHERE tenant = $1 AND user_id = $2 AND EXISTS \
                 (SELECT FROM snaptrade_sidecar.users WHERE tenant = $1 AND id = $2 AND version = $3)",
            )
            .bind(tenant)
            .bind(&*user)
            .bind(version)
            .execute(&mut *change)
            .await?;
            change.commit().await
        });
        let noted = noting.await;
        lent.done(noted)
    }

    pub(in crate::registry) async fn gone(&self, tenant: &str, users: &[UserId], at: Millis) -> Result<()> {
        for users in users.chunks(SEEN_AT_ONCE) {
            let ids = list(users);
            let mut lent = self.sessions.lend().await?;
            let forgetting = limited(async {
                let (mut change, version) = change(&mut lent.session, tenant).await?;
                sqlx::query(
                    "WITH kept AS (UPDATE snaptrade_sidecar.users SET registered = NULL, source = NULL, \
                     last_active = NULL, calls = 0, working = NULL, broken = NULL, version = $3 \
                     WHERE tenant = $1 AND id = ANY($2) AND protected AND coalesce(registered, 0) <= $4), \
                     gone AS (DELETE FROM snaptrade_sidecar.users WHERE tenant = $1 AND id = ANY($2) \
                     AND NOT protected AND coalesce(registered, 0) <= $4), \
                     disconnected AS (DELETE FROM snaptrade_sidecar.connections \
                     WHERE tenant = $1 AND user_id = ANY($2) AND NOT EXISTS (SELECT FROM snaptrade_sidecar.users \
                     WHERE tenant = $1 AND id = user_id AND coalesce(registered, 0) > $4)) \
                     INSERT INTO snaptrade_sidecar.departed AS known (tenant, id, version, at) \
                     SELECT DISTINCT $1, listed, $3, $4 FROM unnest($2::TEXT[]) AS listed \
                     WHERE NOT EXISTS (SELECT FROM snaptrade_sidecar.users \
                     WHERE tenant = $1 AND id = listed AND coalesce(registered, 0) > $4) \
                     ON CONFLICT (tenant, id) DO UPDATE SET \
                     version = excluded.version, at = greatest(known.at, excluded.at)",
                )
                .bind(tenant)
                .bind(&ids)
                .bind(version)
                .bind(at.0)
                .execute(&mut *change)
                .await?;
                sqlx::query("DELETE FROM snaptrade_sidecar.departed WHERE tenant = $1 AND version <= $2")
                    .bind(tenant)
                    .bind(version - DEPARTED_MAX)
                    .execute(&mut *change)
                    .await?;
                change.commit().await
            });
            let forgotten = forgetting.await;
            lent.done(forgotten)?;
        }
        Ok(())
    }

    pub(in crate::registry) async fn active(&self, batch: &[Activity]) -> Result<()> {
        for (tenant, batch) in rows::by_tenant(batch) {
            for batch in batch.chunks(SEEN_AT_ONCE) {
                self.active_in(tenant, batch).await?;
            }
        }
        Ok(())
    }

    async fn active_in(&self, tenant: &str, batch: &[&Activity]) -> Result<()> {
        let ids: Vec<_> = batch
            .iter()
            .map(|one| stored(one.user.as_str()).into_owned())
            .collect();
        let calls: Vec<i64> = batch.iter().map(|one| rows::calls(one)).collect();
        let last: Vec<i64> = batch.iter().map(|one| one.last.0).collect();
        let mut lent = self.sessions.lend().await?;
        let noting = limited(async {
            let (mut change, version) = change(&mut lent.session, tenant).await?;
            // Added up first: of two lines for one user, an update would take one.
            sqlx::query(
                "UPDATE snaptrade_sidecar.users AS known SET calls = known.calls + noted.calls, \
                 last_active = greatest(known.last_active, noted.last), version = $5 \
                 FROM (SELECT id, sum(calls)::BIGINT AS calls, max(last) AS last \
                 FROM unnest($2::TEXT[], $3::BIGINT[], $4::BIGINT[]) AS one (id, calls, last) GROUP BY id) AS noted \
                 WHERE known.tenant = $1 AND known.id = noted.id",
            )
            .bind(tenant)
            .bind(&ids)
            .bind(&calls)
            .bind(&last)
            .bind(version)
            .execute(&mut *change)
            .await?;
            hours::add(&mut change, tenant, batch).await?;
            change.commit().await
        });
        let noted = noting.await;
        lent.done(noted)
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
                "DELETE FROM snaptrade_sidecar.connections \
                 WHERE tenant = $1 AND user_id = $2 AND id = $3 AND $4::BOOLEAN IS NOT NULL"
            }
            ConnectionEvent::Added | ConnectionEvent::Fixed | ConnectionEvent::Broken => {
                "INSERT INTO snaptrade_sidecar.connections (tenant, user_id, id, works) \
                 SELECT tenant, id, $3, $4 FROM snaptrade_sidecar.users WHERE tenant = $1 AND id = $2 \
                 ON CONFLICT (tenant, user_id, id) DO UPDATE SET works = excluded.works"
            }
        };
        let user = stored(user.as_str());
        let mut lent = self.sessions.lend().await?;
        let noting = limited(async {
            let (mut change, version) = change(&mut lent.session, tenant).await?;
            sqlx::query(statement)
                .bind(tenant)
                .bind(&*user)
                .bind(stored(connection).into_owned())
                .bind(event != ConnectionEvent::Broken)
                .execute(&mut *change)
                .await?;
            sqlx::query(
                "UPDATE snaptrade_sidecar.users SET version = $3, (working, broken) = \
                 (SELECT count(*) FILTER (WHERE works), count(*) FILTER (WHERE NOT works) \
                 FROM snaptrade_sidecar.connections WHERE tenant = $1 AND user_id = $2) \
                 WHERE tenant = $1 AND id = $2",
            )
            .bind(tenant)
            .bind(&*user)
            .bind(version)
            .execute(&mut *change)
            .await?;
            change.commit().await
        });
        let noted = noting.await;
        lent.done(noted)
    }

    pub(in crate::registry) async fn protect(
        &self,
        tenant: &str,
        user: &UserId,
        protected: bool,
        at: Millis,
    ) -> Result<()> {
        let mut lent = self.sessions.lend().await?;
        let noting = limited(async {
            let (mut change, version) = change(&mut lent.session, tenant).await?;
            sqlx::query(
                "INSERT INTO snaptrade_sidecar.users (tenant, id, first_seen, protected, version) \
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant, id) DO UPDATE SET \
                 protected = excluded.protected, version = excluded.version",
            )
            .bind(tenant)
            .bind(stored(user.as_str()).into_owned())
            .bind(at.0)
            .bind(protected)
            .bind(version)
            .execute(&mut *change)
            .await?;
            change.commit().await
        });
        let noted = noting.await;
        lent.done(noted)
    }

    pub(in crate::registry) async fn pause(&self, tenant: &str, paused: bool) -> Result<()> {
        let pausing = sqlx::query(
            "INSERT INTO snaptrade_sidecar.tenants (name, paused) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET paused = excluded.paused",
        );
        let mut lent = self.sessions.lend().await?;
        let paused = limited(pausing.bind(tenant).bind(paused).execute(&mut lent.session)).await;
        lent.done(paused).map(drop)
    }

    pub(in crate::registry) async fn is_paused(&self, tenant: &str) -> Result<bool> {
        let select = sqlx::query_scalar("SELECT paused FROM snaptrade_sidecar.tenants WHERE name = $1");
        let mut lent = self.sessions.lend().await?;
        let found = limited(select.bind(tenant).fetch_optional(&mut lent.session)).await;
        let paused: Option<bool> = lent.done(found)?;
        Ok(paused.unwrap_or(false))
    }

    pub(in crate::registry) async fn paused(&self) -> Result<Vec<String>> {
        let select = sqlx::query_scalar("SELECT name FROM snaptrade_sidecar.tenants WHERE paused");
        let mut lent = self.sessions.lend().await?;
        let found = limited(select.fetch_all(&mut lent.session)).await;
        lent.done(found)
    }
}

/// Begins a change to a tenant's users, with the version that they have after it.
async fn change<'a>(
    session: &'a mut PgConnection,
    tenant: &str,
) -> sqlx::Result<(Transaction<'a, Database>, i64)> {
    let mut change = session.begin().await?;
    let version = sqlx::query_scalar(
        "INSERT INTO snaptrade_sidecar.tenants AS known (name, version) VALUES ($1, 1) \
         ON CONFLICT (name) DO UPDATE SET version = known.version + 1 RETURNING version",
    )
    .bind(tenant)
    .fetch_one(&mut *change)
    .await?;
    Ok((change, version))
}

fn list(users: &[UserId]) -> Vec<String> {
    users
        .iter()
        .map(|user| stored(user.as_str()).into_owned())
        .collect()
}
