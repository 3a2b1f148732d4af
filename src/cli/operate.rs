//! What an operator asks of a running sidecar: who is there, what was done, and to do something by hand.

use std::fmt::Write as _;
use std::io::{self, BufRead, IsTerminal as _, Write};
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::running::{DELETION_TIMEOUT, Target, tenant_path, user_path};
use super::table::shown;
use super::{Failure, control_runtime, views};
use crate::ops::answers::{Evicted, Evictions, Paused, Protected, Users};
use crate::snaptrade::query;

/// For what only changes the registry.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct ListUsers {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct ListEvictions {
    /// How many entries to show at most
    #[arg(long, value_name = "ENTRIES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Only entries older than the one with this id
    #[arg(long, value_name = "ENTRY")]
    before: Option<i64>,
    /// Registrations, reloads and notices too
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Evict {
    #[command(flatten)]
    user: OneUser,
    /// Do not ask for confirmation; needed where there is no terminal to ask on
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(super) struct OneUser {
    /// The user's id, exactly as SnapTrade lists it; after -- if it begins with a dash
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    id: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct OneTenant {
    #[command(flatten)]
    target: Target,
}

pub(super) fn status(Status { target }: Status) -> Result<(), Failure> {
    let running = target.running()?;
    let query = running
        .named()
        .map(|name| format!("?tenant={}", query::encode(name)));
    let path = format!("/{}", query.unwrap_or_default());
    control_runtime()?.block_on(running.show(&path, views::status))
}

pub(super) fn users(ListUsers { target }: ListUsers) -> Result<(), Failure> {
    let running = target.running()?;
    control_runtime()?.block_on(async {
        let path = tenant_path(&running.tenant().await?, "users");
        running.show::<Users>(&path, views::users).await
    })
}

pub(super) fn evictions(asked: ListEvictions) -> Result<(), Failure> {
    let running = asked.target.running()?;
    let mut query = format!("evictions?limit={}", asked.limit);
    if let Some(before) = asked.before {
        let _ = write!(query, "&before={before}");
    }
    if asked.all {
        query.push_str("&all=true");
    }
    control_runtime()?.block_on(async {
        let path = tenant_path(&running.tenant().await?, &query);
        running.show::<Evictions>(&path, views::evictions).await
    })
}

pub(super) fn evict(Evict { user, yes }: Evict) -> Result<(), Failure> {
    let OneUser { id, target } = user;
    let (input, output) = (io::stdin(), io::stderr());
    let can_ask = input.is_terminal() && output.is_terminal();
    if !yes && !can_ask {
        return Err(Failure(
            "an eviction cannot be undone, and there is no terminal to ask on; give --yes if you mean it"
                .to_owned(),
        ));
    }
    let running = target.running()?;
    control_runtime()?.block_on(async {
        let tenant = running.tenant().await?;
        let path = user_path(&tenant, &id, "evict")?;
        if !yes && !confirmed(&id, &tenant, &mut input.lock(), &mut output.lock()) {
            return Err(Failure("not confirmed; nobody was deleted".to_owned()));
        }
        running
            .act::<Evicted>(&path, DELETION_TIMEOUT, views::evicted)
            .await
    })
}

/// Whether whoever sits there means it. Anything but a clear yes is no.
fn confirmed(user: &str, tenant: &str, input: &mut impl BufRead, output: &mut impl Write) -> bool {
    let question = format!(
        "Delete {} of tenant {} at SnapTrade, with all connections? This cannot be undone. [y/N] ",
        shown(user),
        shown(tenant)
    );
    let asked = output
        .write_all(question.as_bytes())
        .and_then(|()| output.flush());
    let mut line = String::new();
    asked.is_ok()
        && input.read_line(&mut line).is_ok()
        && ["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str())
}

pub(super) fn protect(user: OneUser, protected: bool) -> Result<(), Failure> {
    let OneUser { id, target } = user;
    let running = target.running()?;
    control_runtime()?.block_on(async {
        let call = if protected { "protect" } else { "unprotect" };
        let path = user_path(&running.tenant().await?, &id, call)?;
        running.act::<Protected>(&path, TIMEOUT, views::protected).await
    })
}

pub(super) fn pause(OneTenant { target }: OneTenant, paused: bool) -> Result<(), Failure> {
    let running = target.running()?;
    control_runtime()?.block_on(async {
        let call = if paused { "pause" } else { "resume" };
        let path = tenant_path(&running.tenant().await?, call);
        running.act::<Paused>(&path, TIMEOUT, views::paused).await
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_confirms() {
        for (typed, is_yes) in [
            ("y\n", true),
            ("Yes \n", true),
            ("YES", true),
            ("\n", false),
            ("", false),
            ("n\n", false),
            ("yes please\n", false),
            ("no\ny\n", false),
        ] {
            let mut asked = Vec::new();
            let is_confirmed = confirmed("a\u{1b}b", "default", &mut typed.as_bytes(), &mut asked);
            assert_eq!(is_confirmed, is_yes, "{typed:?}");
            assert_eq!(
                String::from_utf8(asked).unwrap(),
                "Delete a\\u{1b}b of tenant default at SnapTrade, with all connections? This cannot be undone. [y/N] "
            );
        }
    }
}
