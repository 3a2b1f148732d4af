//! What went wrong with a file: its name, the cause and the remedy.

use std::path::Path;

use crate::registry::RegistryError;

/// The lower byte of SQLite's result codes, which are the same for ever (sqlite.org/rescode.html).
const BUSY: u8 = 5;
const LOCKED: u8 = 6;
const READ_ONLY: u8 = 8;
const IO: u8 = 10;
const CORRUPT: u8 = 11;
const FULL: u8 = 13;
const CANNOT_OPEN: u8 = 14;
const NOT_A_DATABASE: u8 = 26;

pub(super) fn error(path: &Path, cause: &str, remedy: &str) -> RegistryError {
    RegistryError(format!("the registry {} {cause}; {remedy}", path.display()))
}

pub(super) fn damaged(path: &Path, how: &str) -> RegistryError {
    let remedy = "restore it from a backup, or move it away to begin with an empty one";
    error(path, &format!("is damaged ({how})"), remedy)
}

pub(super) fn told(path: &Path, failed: &sqlx::Error) -> RegistryError {
    let (code, said) = match failed {
        sqlx::Error::Database(database) => (primary(database.code().as_deref()), database.message()),
        other => return error(path, &format!("cannot be used: {other}"), "restart the sidecar"),
    };
    match code {
        BUSY | LOCKED => {
            let remedy = "close the program that has it open, such as the sqlite3 shell";
            error(path, "is locked by another program", remedy)
        }
        READ_ONLY => {
            let remedy = "let the sidecar's user write to it and to its directory";
            error(path, "cannot be written to, it is read-only", remedy)
        }
        IO => {
            let remedy = "look at the disk, and at the system's log";
            error(path, &format!("cannot be read or written ({said})"), remedy)
        }
        FULL => error(path, "cannot grow, the disk is full", "make room on the disk"),
        CANNOT_OPEN => {
            let remedy = "let the sidecar's user read and write it and its directory";
            error(path, "cannot be opened", remedy)
        }
        NOT_A_DATABASE => {
            let remedy = "give another path, or move the file away";
            error(path, "is not a SQLite database", remedy)
        }
        CORRUPT => damaged(path, said),
        _ => {
            let cause = format!("refused a statement ({said})");
            error(path, &cause, "please report this")
        }
    }
}

fn primary(code: Option<&str>) -> u8 {
    let code: i32 = code.and_then(|code| code.parse().ok()).unwrap_or(0);
    u8::try_from(code & 0xff).unwrap_or(0)
}
