//! The journal, and which webhooks arrived.

use super::{Postgres, limited};
use crate::registry::rows::{self, EntryRow, bind_entry, stored};
use crate::registry::{Entry, EntryId, OpenIntent, PRUNED_AT_ONCE, Recorded, Result};
use crate::types::Millis;

impl Postgres {
    pub(in crate::registry) async fn record(&self, entry: &Entry) -> Result<EntryId> {
        // One statement, and so one way to the server and one commit. Of two outcomes that come at once, the second waits for
        // the intent's row, and then finds it closed.
        let insert = sqlx::query_scalar(
            "WITH closed AS (UPDATE snaptrade_sidecar.journal SET is_open = FALSE, is_undone = $17 \
             WHERE id = $16 AND is_open RETURNING id) \
             INSERT INTO snaptrade_sidecar.journal (at, tenant, event, user_id, newcomer, outcome, reason, users, \
             user_limit, request_id, intent, replica, is_open, status, took_ms) \
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15 \
             WHERE EXISTS (SELECT FROM closed) OR NOT EXISTS \
             (SELECT FROM snaptrade_sidecar.journal WHERE id = $16 AND event = 'intent') RETURNING id",
        );
        let closes = rows::closes(entry);
        let insert = bind_entry!(insert, entry)
            .bind(closes)
            .bind(rows::is_undone(entry));
        let mut lent = self.sessions.lend().await?;
        let recorded = limited(insert.fetch_optional(&mut lent.session)).await;
        let recorded: Option<i64> = lent.done(recorded)?;
        Ok(EntryId(recorded.or(closes).unwrap_or_default()))
    }

    pub(in crate::registry) async fn open_intents(&self, tenant: &str) -> Result<Vec<OpenIntent>> {
        let select = sqlx::query_as(
            "SELECT id, user_id, at, replica FROM snaptrade_sidecar.journal WHERE tenant = $1 AND is_open \
             ORDER BY id",
        );
        let mut lent = self.sessions.lend().await?;
        let found = limited(select.bind(tenant).fetch_all(&mut lent.session)).await;
        let open: Vec<(i64, String, i64, String)> = lent.done(found)?;
        Ok(open.into_iter().map(rows::open_intent).collect())
    }

    pub(in crate::registry) async fn deletions(&self, tenant: &str, since: Millis) -> Result<Vec<Millis>> {
        let select = sqlx::query_scalar(
            "SELECT at FROM snaptrade_sidecar.journal \
             WHERE tenant = $1 AND event = 'intent' AND at >= $2 AND NOT is_undone ORDER BY at, id",
        );
        let mut lent = self.sessions.lend().await?;
        let found = limited(select.bind(tenant).bind(since.0).fetch_all(&mut lent.session)).await;
        let at: Vec<i64> = lent.done(found)?;
        Ok(at.into_iter().map(Millis).collect())
    }

    pub(in crate::registry) async fn journal(
        &self,
        tenant: &str,
        before: Option<EntryId>,
        limit: usize,
    ) -> Result<Vec<Recorded>> {
        let select = sqlx::query_as(
            "SELECT id, at, tenant, event, user_id, newcomer, outcome, reason, users, user_limit, request_id, \
             intent, replica, status, took_ms FROM snaptrade_sidecar.journal \
             WHERE tenant = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        )
        .bind(tenant)
        .bind(before.map_or(i64::MAX, |before| before.0))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let mut lent = self.sessions.lend().await?;
        let found = limited(select.fetch_all(&mut lent.session)).await;
        let entries: Vec<EntryRow> = lent.done(found)?;
        entries.into_iter().map(rows::recorded).collect()
    }

    pub(in crate::registry) async fn prune(&self, before: Millis) -> Result<u64> {
        let webhooks = "DELETE FROM snaptrade_sidecar.webhooks WHERE id IN \
            (SELECT id FROM snaptrade_sidecar.webhooks WHERE at < $1 LIMIT $2)";
        let hours = "DELETE FROM snaptrade_sidecar.hours WHERE (tenant, hour, user_id) IN \
            (SELECT tenant, hour, user_id FROM snaptrade_sidecar.hours WHERE hour < $1 LIMIT $2)";
        let journal = "DELETE FROM snaptrade_sidecar.journal WHERE NOT is_open AND id IN \
            (SELECT id FROM snaptrade_sidecar.journal WHERE at < $1 AND NOT is_open LIMIT $2)";
        self.pruned(webhooks, before).await?;
        self.pruned(hours, before).await?;
        self.pruned(journal, before).await
    }

    async fn pruned(&self, statement: &'static str, before: Millis) -> Result<u64> {
        let mut all = 0;
        loop {
            let delete = sqlx::query(statement)
                .bind(before.0)
                .bind(PRUNED_AT_ONCE.cast_signed());
            let mut lent = self.sessions.lend().await?;
            let pruned = limited(delete.execute(&mut lent.session)).await;
            let pruned = lent.done(pruned)?.rows_affected();
            all += pruned;
            if pruned < PRUNED_AT_ONCE {
                return Ok(all);
            }
        }
    }

    pub(in crate::registry) async fn is_new_webhook(&self, webhook: &str, at: Millis) -> Result<bool> {
        let insert = sqlx::query(
            "INSERT INTO snaptrade_sidecar.webhooks (id, at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        )
        .bind(stored(webhook).into_owned())
        .bind(at.0);
        let mut lent = self.sessions.lend().await?;
        let noted = limited(insert.execute(&mut lent.session)).await;
        lent.done(noted).map(|noted| noted.rows_affected() > 0)
    }
}
