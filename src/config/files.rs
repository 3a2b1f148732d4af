//! The files that a configuration was read from, and whether they are still what was read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Files, each as it was just before it was read. Whatever is done to a file shows: writing into it, putting another in
/// its place, or pointing a symbolic link elsewhere, as Kubernetes does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<PathBuf, Option<Stamp>>);

/// What tells a file from another by the same name, and from itself after it was written to. Times are seconds and
/// nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    written: (i64, i64),
    /// No program can set this one back.
    changed: (i64, i64),
}

impl Files {
    /// To be called before `path` is read: then a change during the reading is seen later. The first time counts.
    pub(super) fn note(&mut self, path: &Path) {
        if !path.as_os_str().is_empty() && !self.0.contains_key(path) {
            self.0.insert(path.to_owned(), stamp(path));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same files as they are now.
    #[must_use]
    pub fn now(&self) -> Self {
        let stamped = self.0.keys().map(|path| (path.clone(), stamp(path)));
        Self(stamped.collect())
    }
}

/// `None` if there is no such file, or none that may be looked at.
#[cfg(unix)]
fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::metadata(path).ok()?;
    Some(Stamp {
        device: meta.dev(),
        inode: meta.ino(),
        bytes: meta.size(),
        written: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    })
}

#[cfg(not(unix))]
fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    let since = meta.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    let written = (since.as_secs().cast_signed(), since.subsec_nanos().into());
    Some(Stamp {
        device: 0,
        inode: 0,
        bytes: meta.len(),
        written,
        changed: written,
    })
}

/// Tells when files that changed have come to rest, so that none is read while it is being written.
#[derive(Debug)]
pub struct Watch {
    read: Files,
    last: Option<Files>,
}

impl Watch {
    /// `read` are the files as they were read.
    pub fn new(read: Files) -> Self {
        Self { read, last: None }
    }

    pub fn read(&self) -> &Files {
        &self.read
    }

    /// The files as they are `now`, some seconds after the last time. Whether they are to be read anew: they are not
    /// what was read, and they are what they were the last time.
    pub fn is_due(&mut self, now: Files) -> bool {
        if now == self.read {
            self.last = None;
            return false;
        }
        let is_settled = self.last.as_ref() == Some(&now);
        self.last = Some(now);
        is_settled
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn noted(paths: &[&Path]) -> Files {
        let mut files = Files::default();
        for path in paths {
            files.note(path);
        }
        files
    }

    #[test]
    fn whatever_is_done_to_a_file_shows() {
        let folder = tempfile::tempdir().unwrap();
        let [file, other, link] = ["a", "b", "link"].map(|name| folder.path().join(name));
        let linked = |to: &Path| {
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(to, &link).unwrap();
        };
        fs::write(&file, "same").unwrap();
        fs::write(&other, "same").unwrap();
        linked(&file);
        let mut before = noted(&[&file, &link]);
        assert_eq!(before, before.now());
        let mut shows = |what: &str| {
            let now = before.now();
            assert_ne!(before, now, "{what}");
            before = now;
        };
        fs::write(&file, "longer").unwrap();
        shows("written to");
        linked(&other);
        shows("a link points elsewhere");
        fs::rename(&other, &file).unwrap();
        shows("another file in its place");
        fs::remove_file(&file).unwrap();
        shows("removed");
        fs::write(&file, "same").unwrap();
        shows("there again");
    }

    #[test]
    fn files_are_read_once_they_have_settled_and_not_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let write = |text: &str| {
            fs::write(&file, text).unwrap();
            noted(&[&file])
        };
        let read = write("");
        let mut watch = Watch::new(read.clone());
        assert!(!watch.is_due(read.clone()));
        let half = write("half");
        let whole = write("half and whole");
        assert!(!watch.is_due(half));
        assert!(!watch.is_due(whole.clone()));
        assert!(watch.is_due(whole.clone()));
        // As it does once it was read, whatever came of that.
        let mut watch = Watch::new(whole.clone());
        assert!(!watch.is_due(whole.clone()));
        assert!(!watch.is_due(whole));
    }
}
