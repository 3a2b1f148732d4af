//! A file that one process owns.
//!
//! Writes go by one connection, one after the other, so that none of ours ever finds the file locked; reads go beside
//! them. Each commit is on the disk before it is reported (`synchronous = FULL`).
//!
//! - `open`: the file, its owner and its schema.
//! - `users`, `hours`, `journal`: the contract.
//! - `failure`: what went wrong, in words.

mod failure;
mod hours;
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
pub(super) use open::obstacle;

#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    /// Of one connection.
    writer: SqlitePool,
    readers: SqlitePool,
    /// Whether what was read or written last was; a file that is locked or full can still be read.
    is_readable: AtomicBool,
    is_writable: AtomicBool,
    /// Whether it failed since it last took something.
    has_failed: AtomicBool,
    /// Locked: the file is ours.
    _owner: File,
}

impl Sqlite {
    pub(super) fn is_up(&self) -> bool {
        self.is_readable.load(Ordering::Relaxed) && self.is_writable.load(Ordering::Relaxed)
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Where the last change failed, tries one that costs next to nothing: nobody may want to change anything until it is known
    /// to work again.
    pub(super) async fn probe(&self) {
        if !self.is_writable.load(Ordering::Relaxed) {
            let probed = self.rewrite_version().await;
            // What failed was said when it did.
            let _ = self.written(probed);
        }
    }

    /// As [`Self::done`], of a change. That it works again is said here.
    fn written<T>(&self, result: sqlx::Result<T>) -> Result<T> {
        if result.is_ok() && self.has_failed.swap(false, Ordering::Relaxed) {
            tracing::info!("the registry {} works again", self.path.display());
        }
        self.noted(&self.is_writable, result)
    }

    /// Notes whether something could be read, and puts what failed into words.
    fn done<T>(&self, result: sqlx::Result<T>) -> Result<T> {
        self.noted(&self.is_readable, result)
    }

    fn noted<T>(&self, works: &AtomicBool, result: sqlx::Result<T>) -> Result<T> {
        works.store(result.is_ok(), Ordering::Relaxed);
        if result.is_err() {
            self.has_failed.store(true, Ordering::Relaxed);
        }
        result.map_err(|error| failure::told(&self.path, &error))
    }
}
