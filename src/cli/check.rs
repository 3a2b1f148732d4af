//! `check`: is this configuration one?

use std::io::{self, Write as _};

use clap::Args;

use super::{Failure, Settings, say};
use crate::config;
use crate::registry::Registry;

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
        return say(config::reference().trim_end());
    }
    let loaded = check.settings.load()?;
    say(loaded.effective.to_string().trim_end())?;
    // Where and as whom the sidecar runs it may be otherwise, so that this is no fault.
    let obstacle = Registry::obstacle(&loaded.config.registry.home).map(|error| error.to_string());
    let warnings = loaded.warnings.iter().chain(&obstacle);
    let mut remarks: Vec<String> = warnings.map(|warning| format!("warning: {warning}\n")).collect();
    let tenants = loaded.config.tenants.len();
    let plural = if tenants == 1 { "" } else { "s" };
    if let Some(tracing) = &loaded.config.tracing {
        remarks.push(format!(
            "spans are exported to {} ({})\n",
            tracing.target(),
            tracing.variable
        ));
    }
    remarks.push(format!("the configuration is valid: {tenants} tenant{plural}\n"));
    // Whoever reads neither has the exit status.
    let _ = io::stderr().write_all(remarks.concat().as_bytes());
    Ok(())
}
