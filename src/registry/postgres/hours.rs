//! In which hours users called.

use sqlx::PgConnection;

use super::{Postgres, limited};
use crate::registry::rows::{self, stored};
use crate::registry::{Activity, Hour, Result, hours};

/// Adds users' calls to those of their hours, as far as they are remembered.
pub(super) async fn add(change: &mut PgConnection, tenant: &str, batch: &[&Activity]) -> sqlx::Result<()> {
    let hours: Vec<Hour> = batch.iter().map(|activity| hours::of(activity)).collect();
    let ids = hours.iter().map(|hour| stored(hour.user.as_str()).into_owned());
    let calls = batch.iter().map(|activity| rows::calls(activity));
    sqlx::query(
        "INSERT INTO snaptrade_sidecar.hours AS known (tenant, hour, user_id, last, calls) \
         SELECT $1, one.hour, one.id, max(one.last), sum(one.calls)::BIGINT \
         FROM unnest($2::TEXT[], $3::BIGINT[], $4::BIGINT[], $5::BIGINT[]) AS one (id, hour, last, calls) \
         WHERE EXISTS (SELECT FROM snaptrade_sidecar.users WHERE tenant = $1 AND users.id = one.id) \
         GROUP BY one.hour, one.id \
         ON CONFLICT (tenant, hour, user_id) DO UPDATE SET \
         last = greatest(known.last, excluded.last), calls = known.calls + excluded.calls",
    )
    .bind(tenant)
    .bind(ids.collect::<Vec<_>>())
    .bind(hours.iter().map(|hour| hour.began.0).collect::<Vec<_>>())
    .bind(hours.iter().map(|hour| hour.last.0).collect::<Vec<_>>())
    .bind(calls.collect::<Vec<_>>())
    .execute(change)
    .await
    .map(drop)
}

impl Postgres {
    pub(in crate::registry) async fn hours(
        &self,
        tenant: &str,
        before: Option<&Hour>,
        limit: usize,
    ) -> Result<Vec<Hour>> {
        let (began, user) = rows::end(before);
        let select = sqlx::query_as(
            "SELECT hour, user_id, last, calls FROM snaptrade_sidecar.hours \
             WHERE tenant = $1 AND (hour, user_id) < ($2, $3) ORDER BY hour DESC, user_id DESC LIMIT $4",
        )
        .bind(tenant)
        .bind(began)
        .bind(user)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let mut lent = self.sessions.lend().await?;
        let found = limited(select.fetch_all(&mut lent.session)).await;
        let hours = lent.done(found)?;
        Ok(hours.into_iter().map(rows::hour).collect())
    }
}
