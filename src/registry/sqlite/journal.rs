//! The journal, and which webhooks arrived.

use super::Sqlite;
use crate::registry::rows::{self, EntryRow, bind_entry, stored};
use crate::registry::{Entry, EntryId, Intended, OpenIntent, PRUNED_AT_ONCE, Recorded, Result};
use crate::types::Millis;

impl Sqlite {
    pub(in crate::registry) async fn record(&self, entry: &Entry) -> Result<EntryId> {
        let recording = async {
            let mut change = self.writer.begin_with("BEGIN IMMEDIATE").await?;
            if let Some(intent) = rows::closes(entry) {
                let close = sqlx::query(
                    "UPDATE journal SET is_open = FALSE, is_undone = $2 WHERE id = $1 AND is_open",
                );
                let close = close.bind(intent).bind(rows::is_undone(entry));
                let closed = close.execute(&mut *change).await?.rows_affected();
                let known = sqlx::query_scalar(
                    "SELECT EXISTS (SELECT 1 FROM journal WHERE id = $1 AND event = 'intent')",
                );
                // It has its outcome already.
                if closed == 0 && known.bind(intent).fetch_one(&mut *change).await? {
                    return Ok(intent);
                }
            }
            let insert = sqlx::query_scalar(
                "INSERT INTO journal (at, tenant, event, user_id, newcomer, outcome, reason, users, user_limit, \
                 request_id, intent, replica, is_open, status, took_ms) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) RETURNING id",
            );
            let id = bind_entry!(insert, entry).fetch_one(&mut *change).await?;
            change.commit().await?;
            Ok(id)
        };
        let recorded = recording.await;
        self.written(recorded).map(EntryId)
    }

    pub(in crate::registry) async fn intend(&self, entry: &Entry) -> Result<Intended> {
        let insert = sqlx::query_scalar(
            "INSERT INTO journal (at, tenant, event, user_id, newcomer, outcome, reason, users, user_limit, \
             request_id, intent, replica, is_open, status, took_ms) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15 \
             WHERE NOT EXISTS (SELECT 1 FROM users WHERE tenant = $2 AND id = $4 AND protected) \
             AND NOT EXISTS (SELECT 1 FROM tenants WHERE name = $2 AND paused AND $5 IS NOT NULL) RETURNING id",
        );
        let recorded: sqlx::Result<Option<i64>> =
            bind_entry!(insert, entry).fetch_optional(&self.writer).await;
        let recorded = self.written(recorded)?;
        Ok(recorded.map_or(Intended::Barred, |id| Intended::Recorded(EntryId(id))))
    }

    pub(in crate::registry) async fn open_intents(&self, tenant: &str) -> Result<Vec<OpenIntent>> {
        let found: sqlx::Result<Vec<(i64, String, i64, String)>> = sqlx::query_as(
            "SELECT id, user_id, at, replica FROM journal WHERE tenant = $1 AND is_open ORDER BY id",
        )
        .bind(tenant)
        .fetch_all(&self.readers)
        .await;
        let open = self.done(found)?;
        Ok(open.into_iter().map(rows::open_intent).collect())
    }

    pub(in crate::registry) async fn deletions(&self, tenant: &str, since: Millis) -> Result<Vec<Millis>> {
        let found: sqlx::Result<Vec<i64>> = sqlx::query_scalar(
            "SELECT at FROM journal WHERE tenant = $1 AND event = 'intent' AND at >= $2 AND NOT is_undone \
             ORDER BY at, id",
        )
        .bind(tenant)
        .bind(since.0)
        .fetch_all(&self.readers)
        .await;
        Ok(self.done(found)?.into_iter().map(Millis).collect())
    }

    pub(in crate::registry) async fn journal(
        &self,
        tenant: &str,
        before: Option<EntryId>,
        limit: usize,
    ) -> Result<Vec<Recorded>> {
        let found: sqlx::Result<Vec<EntryRow>> = sqlx::query_as(
            "SELECT id, at, tenant, event, user_id, newcomer, outcome, reason, users, user_limit, request_id, \
             intent, replica, status, took_ms FROM journal WHERE tenant = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        )
        .bind(tenant)
        .bind(before.map_or(i64::MAX, |before| before.0))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.readers)
        .await;
        self.done(found)?.into_iter().map(rows::recorded).collect()
    }

    pub(in crate::registry) async fn prune(&self, before: Millis) -> Result<u64> {
        let webhooks = "DELETE FROM webhooks WHERE id IN (SELECT id FROM webhooks WHERE at < $1 LIMIT $2)";
        let hours = "DELETE FROM hours WHERE (tenant, hour, user_id) IN \
            (SELECT tenant, hour, user_id FROM hours WHERE hour < $1 LIMIT $2)";
        let journal = "DELETE FROM journal WHERE id IN \
            (SELECT id FROM journal WHERE at < $1 AND NOT is_open LIMIT $2)";
        for statement in [webhooks, hours] {
            let pruned = self.pruned(statement, before).await;
            self.written(pruned)?;
        }
        let pruned = self.pruned(journal, before).await;
        self.written(pruned)
    }

    async fn pruned(&self, statement: &'static str, before: Millis) -> sqlx::Result<u64> {
        let mut all = 0;
        loop {
            let delete = sqlx::query(statement)
                .bind(before.0)
                .bind(PRUNED_AT_ONCE.cast_signed());
            let pruned = delete.execute(&self.writer).await?.rows_affected();
            all += pruned;
            if pruned < PRUNED_AT_ONCE {
                return Ok(all);
            }
        }
    }

    pub(in crate::registry) async fn is_new_webhook(&self, webhook: &str, at: Millis) -> Result<bool> {
        let noted = sqlx::query("INSERT INTO webhooks (id, at) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(stored(webhook).into_owned())
            .bind(at.0)
            .execute(&self.writer)
            .await;
        self.written(noted).map(|noted| noted.rows_affected() > 0)
    }
}
