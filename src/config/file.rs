//! The configuration file: TOML, with the line of everything that is in it.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::env::DEFAULT_TENANT;
use super::fault::{Fault, Place, Problem};
use super::keys::{Named, named, nearest};
use super::layers::{Layer, Setting, is_tenant_name};

/// Larger is not a configuration file, and reading it would only take memory.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads a file. `None` if it could not be read as TOML at all, which makes faults of missing keys meaningless.
pub(super) fn read(path: &Path, faults: &mut Vec<Fault>) -> Option<Layer> {
    let shared: Arc<Path> = Arc::from(path);
    match read_bounded(path) {
        Ok(text) => parse(&text, &shared, faults),
        Err(error) => {
            let place = Place::File {
                path: shared,
                line: 0,
            };
            faults.push(
                Problem::new(
                    format!("cannot be read: {error}"),
                    "give the path of a readable TOML file",
                )
                .at("", place),
            );
            None
        }
    }
}

/// Reads a small text file.
pub(super) fn read_bounded(path: &Path) -> std::io::Result<Zeroizing<String>> {
    use std::io::Read;
    let file = std::fs::File::open(path)?;
    // With room for all of it and the look that finds its end: a text that has to grow leaves copies behind.
    let length = file.metadata()?.len().min(FILE_BYTES_MAX);
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(length).unwrap_or(0) + 64));
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

fn parse(text: &str, path: &Arc<Path>, faults: &mut Vec<Fault>) -> Option<Layer> {
    let ends = line_ends(text);
    let place = |span: Range<usize>| Place::File {
        path: Arc::clone(path),
        line: line_of(&ends, span.start),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let mut walk = Walk {
            place: &place,
            layer: Layer::default(),
            faults,
        };
        walk.table(table.get_ref(), &[]);
        return Some(walk.layer);
    }
    for error in errors {
        let what = format!("is not TOML: {}", error.message().replace('\n', ", "));
        faults.push(Problem::new(what, "correct this line").at("", place(error.span().unwrap_or_default())));
    }
    None
}

/// Found once: with thousands of tenants, to count the lines before each value would take seconds.
fn line_ends(text: &str) -> Vec<usize> {
    let bytes = text.bytes().enumerate();
    bytes
        .filter_map(|(at, byte)| (byte == b'\n').then_some(at))
        .collect()
}

fn line_of(ends: &[usize], offset: usize) -> usize {
    ends.partition_point(|end| *end < offset) + 1
}

struct Walk<'a> {
    place: &'a dyn Fn(Range<usize>) -> Place,
    layer: Layer,
    faults: &'a mut Vec<Fault>,
}

impl Walk<'_> {
    fn table(&mut self, table: &DeTable<'_>, section: &[&str]) {
        for (key, value) in table {
            let path = [section, &[key.get_ref().as_ref()]].concat();
            self.entry(&path, (self.place)(key.span()), value.get_ref());
        }
    }

    fn entry(&mut self, path: &[&str], place: Place, value: &DeValue<'_>) {
        match (named(path), value) {
            // For every kind, so that a template may leave any key out.
            (Named::Key(_), DeValue::String(text)) if text.is_empty() => {}
            (Named::Key(slot), _) => match slot.key.kind.toml(value, self.place) {
                Ok(value) => self.layer.settings.push((slot, Setting { value, place })),
                Err(problem) => self.faults.push(problem.at(path.join("."), place)),
            },
            (Named::Section, DeValue::Table(table)) => self.section(path, place, table),
            (Named::Section, _) => {
                let remedy = match path {
                    ["tenants"] => "begin each tenant with a line such as [tenants.default]".to_owned(),
                    _ => format!("begin it with the line [{}]", path.join(".")),
                };
                self.faults
                    .push(Problem::new("is a section, not a value", remedy).at(path.join("."), place));
            }
            (Named::Nothing, _) => {
                let meant = nearest(path)
                    .map(|meant| as_written(&meant))
                    .or_else(|| tenant_meant(path, value));
                let remedy = meant.map_or_else(
                    || "remove it; config/sidecar.toml lists every key".to_owned(),
                    |meant| format!("did you mean {meant}?"),
                );
                self.faults
                    .push(Problem::new("unknown key", remedy).at(path.join("."), place));
            }
        }
    }

    fn section(&mut self, path: &[&str], place: Place, table: &DeTable<'_>) {
        if let ["tenants", name] = path {
            if !is_tenant_name(name) {
                let what = "is not a name for a tenant";
                let remedy = "use letters and digits, with single - or _ between them";
                self.faults
                    .push(Problem::new(what, remedy).at(path.join("."), place));
                return;
            }
            self.layer.tenants.push(((*name).to_owned(), place));
        }
        self.table(table, path);
    }
}

/// A section in brackets, as it would be in the file.
fn as_written(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    match (named(&parts), path) {
        (Named::Section, "tenants") => "[tenants.default]".to_owned(),
        (Named::Section, _) => format!("[{path}]"),
        _ => path.to_owned(),
    }
}

/// A section at the top, by the name that a tenant may have or with what a tenant has in it.
fn tenant_meant(path: &[&str], value: &DeValue<'_>) -> Option<String> {
    let ([name], DeValue::Table(table)) = (path, value) else {
        return None;
    };
    let is_of_tenant = |key: &str| !matches!(named(&["tenants", name, key]), Named::Nothing);
    let is_one = *name == DEFAULT_TENANT || table.keys().any(|key| is_of_tenant(key.get_ref()));
    (is_one && is_tenant_name(name)).then(|| format!("[tenants.{name}]"))
}
