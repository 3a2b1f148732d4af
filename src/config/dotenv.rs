//! `.env` files: one `KEY=VALUE` a line, as shells and container tools write them.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use super::env::is_secret_variable;
use super::fault::{Fault, Place, Problem};
use super::file::read_bounded;
use super::reader;

/// What is wrong with a line, and what to do about it. Does not quote the line, which may hold a secret.
type Slip = (&'static str, &'static str);
/// With the line's number, which counts from 1.
type NumberedSlip = (usize, Slip);

/// Reads a file of variables. `None` if it is none, and then nothing can be said about keys that are missing.
pub(super) fn read(path: &Path, faults: &mut Vec<Fault>) -> Option<Vec<(String, String)>> {
    let shared: Arc<Path> = Arc::from(path);
    let mut fault = |line, what: String, remedy: &str| {
        let path = Arc::clone(&shared);
        faults.push(Problem::new(what, remedy).at("", Place::File { path, line }));
    };
    let text = match read_bounded(path) {
        Ok(text) => text,
        Err(error) => {
            fault(
                0,
                format!("cannot be read: {error}"),
                "give the path of a readable .env file",
            );
            return None;
        }
    };
    let pairs = parse(&text);
    for (line, (what, remedy)) in pairs.as_ref().err().into_iter().flatten() {
        fault(*line, (*what).to_owned(), remedy);
    }
    pairs.ok()
}

/// Reads the text of a `.env` file: `export` before a name, comments, single quotes (as they are) and double quotes
/// (with `\n`, `\t`, `\"`, `\\` and `\$`) are understood; nothing is expanded and no value goes over several lines.
/// All faulty lines are reported together, each with its number.
fn parse(text: &str) -> Result<Vec<(String, String)>, Vec<NumberedSlip>> {
    let mut pairs = Vec::new();
    let mut errors = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match pair(line) {
            Ok(pair) => pairs.push(pair),
            Err(slip) => errors.push((index + 1, slip)),
        }
    }
    if errors.is_empty() { Ok(pairs) } else { Err(errors) }
}

/// The environment with a `.env` file below it: a variable that is set for real wins, even if it is empty.
pub(super) fn under_env(
    mut env: Vec<(OsString, OsString)>,
    file: Vec<(String, String)>,
) -> Vec<(OsString, OsString)> {
    let real = env.len();
    for (name, value) in file {
        let name = OsString::from(name);
        if env[..real].iter().any(|(known, _)| *known == name) {
            continue;
        }
        // The last of two lines wins, as it does when a shell sources the file.
        match env[real..].iter_mut().find(|(known, _)| *known == name) {
            Some((_, earlier)) => *earlier = value.into(),
            None => env.push((name, value.into())),
        }
    }
    env
}

/// A warning, if a `.env` file of these pairs holds a secret and can be read by every user of the machine.
pub(super) fn exposed(path: &Path, pairs: &[(String, String)]) -> Option<String> {
    let names = pairs
        .iter()
        .filter(|(name, value)| !value.is_empty() && is_secret_variable(name, value))
        .map(|(name, _)| name.clone());
    reader::exposed(path, &names.collect::<Vec<_>>())
}

fn pair(line: &str) -> Result<(String, String), Slip> {
    let (name, value) = line
        .split_once('=')
        .ok_or(("there is no = in it", "write KEY=VALUE"))?;
    let name = name.trim_end();
    let name = name
        .strip_prefix("export")
        .filter(|rest| rest.starts_with([' ', '\t']))
        .unwrap_or(name)
        .trim_start();
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(inner) || name.starts_with(|c: char| c.is_ascii_digit()) {
        let remedy = "write letters, digits and underscores, no digit first";
        return Err(("what stands before = is no name of a variable", remedy));
    }
    Ok((name.to_owned(), value_of(value.trim_start())?))
}

fn value_of(text: &str) -> Result<String, Slip> {
    let (value, rest) = match text.chars().next() {
        Some('\'') => single_quoted(&text[1..])?,
        Some('"') => double_quoted(&text[1..])?,
        _ => return Ok(unquoted(text)),
    };
    match rest.trim_start() {
        "" => Ok(value),
        rest if rest.starts_with('#') => Ok(value),
        _ => Err((
            "there is text after the closing quote",
            "take it out, or begin it with #",
        )),
    }
}

/// A `#` begins a comment only after a space, so that a key that holds one stays whole.
fn unquoted(text: &str) -> String {
    let comment = text
        .char_indices()
        .find(|(at, c)| *c == '#' && (*at == 0 || text[..*at].ends_with([' ', '\t'])));
    let value = comment.map_or(text, |(at, _)| &text[..at]);
    value.trim_end().to_owned()
}

fn single_quoted(text: &str) -> Result<(String, &str), Slip> {
    let (value, rest) = text
        .split_once('\'')
        .ok_or(("the closing ' is missing", "add it"))?;
    Ok((value.to_owned(), rest))
}

fn double_quoted(text: &str) -> Result<(String, &str), Slip> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, c @ ('"' | '\\' | '$'))) => value.push(c),
                Some((_, other)) => value.extend(['\\', other]),
                None => break,
            },
            other => value.push(other),
        }
    }
    Err(("the closing \" is missing", "add it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap()
    }

    #[test]
    fn lines_of_every_kind() {
        let text = "\u{feff}# first\r\nA=1\r\n\nexport B = two words # why\nC='sin#gle \\n' # why\n\
                    D=\"a \\\"b\\\" \\n\\$x \\q\"\nE=\nF=a#b=c\nexport=1\nG= # nothing\n";
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "sin#gle \\n"),
            ("D", "a \"b\" \n$x \\q"),
            ("E", ""),
            ("F", "a#b=c"),
            ("export", "1"),
            ("G", ""),
        ];
        assert_eq!(
            pairs(text),
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    #[test]
    fn every_faulty_line_is_reported_without_its_text() {
        let errors = parse("A=1\ns3cret\nB='s3cret\nC=\"s3cret\\\n1D=s3cret\nE='a' s3cret\n").unwrap_err();
        assert_eq!(
            errors.iter().map(|(line, _)| *line).collect::<Vec<_>>(),
            [2, 3, 4, 5, 6]
        );
        assert!(!format!("{errors:?}").contains("s3cret"));
    }

    #[test]
    fn the_real_environment_wins() {
        let env = vec![("A".into(), "real".into()), ("B".into(), "".into())];
        let merged = under_env(env, pairs("A=file\nB=file\nC=1\nC=2"));
        let expected: Vec<(OsString, OsString)> = vec![
            ("A".into(), "real".into()),
            ("B".into(), "".into()),
            ("C".into(), "2".into()),
        ];
        assert_eq!(merged, expected);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_told_of_if_it_holds_a_secret() {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        let (token, key) = ("SNAPTRADE_SIDECAR__OPS__TOKEN=t", "SNAPTRADE_CONSUMER_KEY=k");
        for (mode, text, told) in [
            (0o644, key, true),
            (0o644, token, true),
            (0o600, key, false),
            (0o644, "SNAPTRADE_CONSUMER_KEY=", false),
            (0o644, "SNAPTRADE_SIDECAR__REGISTRY__URL=postgres://u:p@h/d", true),
            (0o644, "SNAPTRADE_SIDECAR__REGISTRY__URL=sqlite://x.db", false),
            (0o644, "SNAPTRADE_SIDECAR__OPS__TOKEN_FILE=t\nTOKEN=t", false),
        ] {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                exposed(file.path(), &pairs(text)).is_some(),
                told,
                "{mode:o} {text}"
            );
        }
    }
}
