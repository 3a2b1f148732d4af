//! Takes values out of the layers by their keys, and collects what is wrong with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Files;
use super::effective::REDACTED;
use super::fault::{Fault, Place, Problem};
use super::file::read_bounded;
use super::home;
use super::keys::{fill, find};
use super::layers::{Layers, Setting};
use super::value::{Item, Value};

/// Keys that one warning names.
const KEYS_TOLD_MAX: usize = 5;

pub(super) struct Reader<'a> {
    pub(super) layers: &'a Layers,
    /// Whose keys `tenants.*` means.
    pub(super) tenant: Option<&'a str>,
    faults: &'a mut Vec<Fault>,
    warnings: &'a mut Vec<String>,
    files: &'a mut Files,
    /// Files that others can read, and the keys whose secrets are in them.
    exposed: BTreeMap<PathBuf, Vec<String>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        layers: &'a Layers,
        faults: &'a mut Vec<Fault>,
        warnings: &'a mut Vec<String>,
        files: &'a mut Files,
    ) -> Self {
        Self {
            layers,
            tenant: None,
            faults,
            warnings,
            files,
            exposed: BTreeMap::new(),
        }
    }

    /// A key's path as a user would write it.
    pub(super) fn path(&self, key: &str) -> String {
        fill(key, self.tenant)
    }

    pub(super) fn fault(&mut self, key: &str, place: Place, problem: Problem) {
        let fault = problem.at(self.path(key), place);
        self.faults.push(fault);
    }

    /// A fault of a key without a value, unless what was written there is a fault already.
    pub(super) fn missing(&mut self, key: &str, place: Place, problem: Problem) {
        let path = self.path(key);
        if !self.is_faulty(&path) {
            self.faults.push(problem.at(path, place));
        }
    }

    /// Whether a fault is known of this key or of one within it.
    pub(super) fn is_faulty(&self, path: &str) -> bool {
        let within = |key: &str| {
            key.strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.faults.iter().any(|fault| within(&fault.key))
    }

    pub(super) fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// The file that this key names is about to be read.
    pub(super) fn note_file(&mut self, key: &str) {
        let (path, _) = self.text(key);
        self.files.note(Path::new(&path));
    }

    fn setting(&mut self, key: &str) -> Option<Setting> {
        let setting = match find(key) {
            Some(known) => self.layers.get(self.tenant, known),
            None => Err(mismatch()),
        };
        setting
            .map_err(|problem| self.fault(key, Place::Default, problem))
            .ok()
    }

    /// The table's kind and the reading code disagree; any test of a load shows it.
    fn mismatched<T: Default>(&mut self, key: &str) -> T {
        self.fault(key, Place::Default, mismatch());
        T::default()
    }

    pub(super) fn span(&mut self, key: &str) -> Duration {
        match self.setting(key) {
            Some(Setting {
                value: Value::Span { duration, .. },
                ..
            }) => duration,
            _ => self.mismatched(key),
        }
    }

    pub(super) fn count(&mut self, key: &str) -> usize {
        match self.setting(key) {
            // The table's upper bounds are far below what any platform can count to.
            Some(Setting {
                value: Value::Count(count),
                ..
            }) => usize::try_from(count).unwrap_or(usize::MAX),
            _ => self.mismatched(key),
        }
    }

    /// Whether somebody said what it is.
    pub(super) fn is_set(&mut self, key: &str) -> bool {
        self.setting(key)
            .is_some_and(|setting| setting.place != Place::Default)
    }

    pub(super) fn switch(&mut self, key: &str) -> bool {
        match self.setting(key) {
            Some(Setting {
                value: Value::Switch(on),
                ..
            }) => on,
            _ => self.mismatched(key),
        }
    }

    /// A text and its place; the empty text where the key is not set.
    pub(super) fn text(&mut self, key: &str) -> (String, Place) {
        match self.setting(key) {
            Some(Setting {
                value: Value::Text(text),
                place,
            }) => (text, place),
            _ => (self.mismatched(key), Place::Default),
        }
    }

    /// A text as what it stands for; `None` if it does not, which is a fault then.
    pub(super) fn parsed<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, Problem>) -> Option<T> {
        let (text, place) = self.text(key);
        parse(&text)
            .map_err(|problem| self.fault(key, place, problem))
            .ok()
    }

    /// The entries of a list as what they stand for, without those that do not, each of which is a fault.
    pub(super) fn list<T>(&mut self, key: &str, mut parse: impl FnMut(&str) -> Result<T, Problem>) -> Vec<T> {
        let items: Vec<Item> = match self.setting(key) {
            Some(Setting {
                value: Value::List(items),
                ..
            }) => items,
            _ => self.mismatched(key),
        };
        let mut parsed = Vec::with_capacity(items.len());
        for item in items {
            match parse(&item.text) {
                Ok(value) => parsed.push(value),
                Err(problem) => self.fault(key, item.place, problem),
            }
        }
        parsed
    }

    /// A secret, given itself or by its file, and its place; `None` if neither is set or there is a fault.
    pub(super) fn secret(&mut self, key: &str, file_key: &str) -> Option<(String, Place)> {
        let inline = match self.setting(key) {
            Some(Setting {
                value: Value::Secret(text),
                place,
            }) => (text, place),
            _ => self.mismatched::<Option<_>>(key)?,
        };
        let (path, file_place) = self.text(file_key);
        match (inline, path.as_str()) {
            ((text, _), "") if text.is_empty() => None,
            ((text, place), "") => {
                if let Some(problem) = unmeant(&text, file_key) {
                    self.fault(key, place, problem);
                    return None;
                }
                if let Place::File { path, .. } = &place {
                    self.note_if_exposed(path, key, &text);
                }
                Some((text.to_string(), place))
            }
            // A default is for where neither form was given.
            ((text, place), path) if text.is_empty() || place == Place::Default => {
                self.secret_file(key, file_key, Path::new(path), file_place)
            }
            _ => {
                let what = format!("is set beside {}", self.path(key));
                self.fault(file_key, file_place, Problem::new(what, "keep one of the two"));
                None
            }
        }
    }

    /// Reads a secret's file, without the line end that editors and `echo` leave.
    fn secret_file(
        &mut self,
        key: &str,
        file_key: &str,
        path: &Path,
        place: Place,
    ) -> Option<(String, Place)> {
        self.files.note(path);
        let problem = match read_bounded(path) {
            Ok(text) => match text.trim_end_matches(['\r', '\n']) {
                "" => Problem::new(format!("{} is empty", path.display()), "write the secret into it"),
                secret => {
                    let Some(Problem { what, remedy }) = unmeant(secret, file_key) else {
                        self.note_if_exposed(path, key, secret);
                        return Some((secret.to_owned(), place));
                    };
                    Problem::new(format!("what is in {} {what}", path.display()), remedy)
                }
            },
            Err(error) => Problem::new(
                format!("{} cannot be read: {error}", path.display()),
                "give a readable file",
            ),
        };
        self.fault(file_key, place, problem);
        None
    }

    pub(super) fn note_if_exposed(&mut self, path: &Path, key: &str, secret: &str) {
        if is_secret(key, secret) && is_readable_by_others(path) {
            let key = self.path(key);
            self.exposed.entry(path.to_owned()).or_default().push(key);
        }
    }

    /// Warns of the files that hold secrets and can be read by others: of each once, whatever is in it.
    pub(super) fn warn_of_exposed(&mut self) {
        for (path, keys) in std::mem::take(&mut self.exposed) {
            self.warn(exposure(&path, &keys));
        }
    }
}

/// What can hardly be meant as a secret, and that nobody would tell from the right one but by being refused.
fn unmeant(secret: &str, file_key: &str) -> Option<Problem> {
    if secret == REDACTED {
        let file = file_key.rsplit('.').next().unwrap_or(file_key);
        let what = format!("is {REDACTED:?}, which `check` prints in a secret's place");
        let remedy = format!("write the secret itself, or set {file} to a file that holds it");
        return Some(Problem::new(what, remedy));
    }
    let has_edges = secret.trim().len() != secret.len();
    has_edges.then(|| Problem::new("begins or ends with white space", "leave that out"))
}

/// Whether what this key of a secret says is one: most registries' URLs hold none.
pub(super) fn is_secret(key: &str, text: &str) -> bool {
    key != "registry.url" || home::is_secret(text)
}

/// A warning, if this file, which holds the secrets of `keys`, can be read by every user of the machine.
pub(super) fn exposed(path: &Path, keys: &[String]) -> Option<String> {
    (!keys.is_empty() && is_readable_by_others(path)).then(|| exposure(path, keys))
}

fn exposure(path: &Path, keys: &[String]) -> String {
    let shown = path.display();
    let told = &keys[..keys.len().min(KEYS_TOLD_MAX)];
    let more = match keys.len() - told.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let what = if keys.len() == 1 { "a secret" } else { "secrets" };
    format!(
        "{shown} holds {what} ({}{more}) and every user of this machine can read it; chmod o-r {shown}",
        told.join(", ")
    )
}

fn mismatch() -> Problem {
    Problem::new("the sidecar does not know its own key", "please report this")
}

#[cfg(unix)]
fn is_readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_readable_by_others(_: &Path) -> bool {
    false
}
