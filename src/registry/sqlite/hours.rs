//! In which hours users called.

use sqlx::SqliteConnection;

use super::Sqlite;
use crate::registry::rows::{self, stored};
use crate::registry::{Activity, Hour, Result, hours};

/// Adds a user's calls to those of their hour, if it is remembered.
pub(super) async fn add(change: &mut SqliteConnection, activity: &Activity) -> sqlx::Result<()> {
    let hour = hours::of(activity);
    sqlx::query(
        "INSERT INTO hours (tenant, hour, user_id, last, calls) \
         SELECT tenant, $3, id, $4, $5 FROM users WHERE tenant = $1 AND id = $2 \
         ON CONFLICT DO UPDATE SET last = max(last, excluded.last), calls = calls + excluded.calls",
    )
    .bind(&activity.tenant)
    .bind(&*stored(hour.user.as_str()))
    .bind(hour.began.0)
    .bind(hour.last.0)
    .bind(rows::calls(activity))
    .execute(change)
    .await
    .map(drop)
}

impl Sqlite {
    pub(in crate::registry) async fn hours(
        &self,
        tenant: &str,
        before: Option<&Hour>,
        limit: usize,
    ) -> Result<Vec<Hour>> {
        let (began, user) = rows::end(before);
        let found = sqlx::query_as(
            "SELECT hour, user_id, last, calls FROM hours WHERE tenant = $1 AND (hour, user_id) < ($2, $3) \
             ORDER BY hour DESC, user_id DESC LIMIT $4",
        )
        .bind(tenant)
        .bind(began)
        .bind(user)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.readers)
        .await;
        let hours = self.done(found)?;
        Ok(hours.into_iter().map(rows::hour).collect())
    }
}
