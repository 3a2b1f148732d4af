//! A file that one process owns.
//!
//! Writes go by one connection, one after the other, so that none of ours ever finds the file locked; reads go beside
//! them. Each commit is on the disk before it is reported (`synchronous = FULL`).
//!
//! - `open`: the file, its owner and its schema.
//! - `users`, `journal`: the contract.
//! - `failure`: what went wrong, in words.

mod failure;
mod journal;
mod open;
#[cfg(test)]
mod tests;
mod users;

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::SqlitePool;

use super::Result;

#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    /// Of one connection.
    writer: SqlitePool,
    readers: SqlitePool,
    works: AtomicBool,
    /// Whether it failed since it last took something.
    has_failed: AtomicBool,
    /// Locked: the file is ours.
    _owner: File,
}

impl Sqlite {
    pub(super) fn is_up(&self) -> bool {
        self.works.load(Ordering::Relaxed)
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// As [`Self::done`], of a change. That it works again is said here: a file that is locked or full can still be read.
    fn written<T>(&self, result: sqlx::Result<T>) -> Result<T> {
        if result.is_ok() && self.has_failed.swap(false, Ordering::Relaxed) {
            tracing::info!("the registry {} works again", self.path.display());
        }
        self.done(result)
    }

    /// Notes whether it worked, and puts what did not into words.
    fn done<T>(&self, result: sqlx::Result<T>) -> Result<T> {
        self.works.store(result.is_ok(), Ordering::Relaxed);
        if result.is_err() {
            self.has_failed.store(true, Ordering::Relaxed);
        }
        result.map_err(|error| failure::told(&self.path, &error))
    }
}
