//! `check`: is this configuration one?

use clap::Args;

use super::{Failure, Settings};
use crate::config;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Print every key with its default and what it is for, as config/sidecar.toml has them, and check nothing
    #[arg(long)]
    reference: bool,
    #[command(flatten)]
    settings: Settings,
}

/// The configuration goes to standard output, so that it can be kept; the rest to standard error.
pub(super) fn run(check: &Check) -> Result<(), Failure> {
    if check.reference {
        print!("{}", config::reference());
        return Ok(());
    }
    let loaded = check.settings.load()?;
    print!("{}", loaded.effective);
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let tenants = loaded.config.tenants.len();
    eprintln!(
        "the configuration is valid: {tenants} tenant{}",
        if tenants == 1 { "" } else { "s" }
    );
    Ok(())
}
