//! What is wrong with a configuration: every fault, with its key, its place and its remedy.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::Files;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nowhere: the built-in default.
    Default,
    /// A configuration file; lines count from 1, and 0 stands for the file as a whole.
    File { path: Arc<Path>, line: usize },
    /// An environment variable.
    Variable(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0 } => write!(f, "{}", path.display()),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// What is wrong with one value and what to do about it. Never quotes a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) what: String,
    pub(super) remedy: String,
}

impl Problem {
    pub(super) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn at(self, key: impl Into<String>, place: Place) -> Fault {
        Fault {
            key: key.into(),
            place,
            what: self.what,
            remedy: self.remedy,
        }
    }
}

/// One fault of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key's full path, such as `tenants.default.max_users`; empty where no key can be named.
    pub key: String,
    pub place: Place,
    pub what: String,
    pub remedy: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key.as_str(), &self.place) {
            ("", place) => write!(f, "{place}: ")?,
            (key, Place::Default) => write!(f, "{key}: ")?,
            (key, place) => write!(f, "{key} ({place}): ")?,
        }
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

/// A configuration that was refused, with all its faults (R15).
#[derive(Debug)]
pub struct Faults {
    faults: Vec<Fault>,
    files: Files,
}

impl Faults {
    /// Puts the faults in the order in which a reader would fix them: file by line, environment, command line.
    pub(super) fn new(mut faults: Vec<Fault>, files: Files) -> Self {
        faults.sort_by(|a, b| (&a.place, &a.key).cmp(&(&b.place, &b.key)));
        faults.dedup();
        Self { faults, files }
    }

    /// At least one.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// What was read, or tried to be.
    pub fn files(&self) -> &Files {
        &self.files
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.len() {
            1 => f.write_str("the configuration has a fault:")?,
            n => write!(f, "the configuration has {n} faults:")?,
        }
        for fault in &self.faults {
            write!(f, "\n- {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
