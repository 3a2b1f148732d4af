//! The files of the project, and Rust code with its comments and literals blanked out. Good enough for code that
//! rustfmt has laid out; not a parser.

use std::path::Path;
use std::{fs, io};

/// What is not the project's own: version control, and what tools put there.
const NOT_OURS: [&str; 6] = [".git", ".venv", "__pycache__", "dist", "node_modules", "target"];

/// A text file of the project.
pub(crate) struct File {
    /// From the project's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// Whether it is in that folder, or that very file without its extension: `src/guard` holds `src/guard.rs` and
    /// `src/guard/hold.rs`.
    pub(crate) fn is_under(&self, place: &str) -> bool {
        self.path
            .strip_prefix(place)
            .is_some_and(|rest| rest.starts_with(['/', '.']) || rest.is_empty())
    }

    pub(crate) fn is_rust(&self) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|extension| extension == "rs")
    }

    pub(crate) fn is_markdown(&self) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|extension| extension == "md")
    }

    /// The code alone: comments, strings and characters are blanks, so that no rule stumbles over words.
    pub(crate) fn code(&self) -> String {
        blanked(&self.text)
    }

    /// The code alone, without what is compiled only for tests.
    pub(crate) fn code_outside_tests(&self) -> String {
        without_tests(&self.code())
    }
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the project, in the order of their paths.
pub(crate) fn files() -> Vec<File> {
    let mut files = Vec::new();
    collect(root(), &mut files).unwrap_or_else(|error| panic!("the project's files cannot be read: {error}"));
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(folder: &Path, files: &mut Vec<File>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if NOT_OURS.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else if let Ok(text) = fs::read_to_string(entry.path()) {
            files.push(File {
                path: from_root(&entry.path()),
                text,
            });
        }
    }
    Ok(())
}

fn from_root(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .to_string_lossy()
        .replace('\\', "/")
}

/// Where the modules are that are compiled only for tests: what `#[cfg(test)] mod tests;` names, for `is_under`.
pub(crate) fn test_places(files: &[File]) -> Vec<String> {
    let parents = files.iter().filter(|file| file.is_rust());
    let places = parents.flat_map(|parent| {
        let folder = module_folder(&parent.path);
        test_modules(&parent.code())
            .into_iter()
            .map(move |name| format!("{folder}/{name}"))
    });
    places.collect()
}

/// Where a file's submodules are: beside `mod.rs`, or in the folder that is named after the file.
fn module_folder(path: &str) -> String {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    ["/mod", "/lib", "/main"]
        .iter()
        .find_map(|root| stem.strip_suffix(root))
        .unwrap_or(stem)
        .to_owned()
}

fn test_modules(code: &str) -> Vec<String> {
    let mut lines = code.lines().map(str::trim);
    let mut names = Vec::new();
    while lines.any(|line| line == "#[cfg(test)]") {
        let item = lines.find(|line| !line.starts_with("#[")).unwrap_or_default();
        names.extend(
            item.strip_prefix("mod ")
                .and_then(|rest| rest.strip_suffix(';'))
                .map(str::to_owned),
        );
    }
    names
}

/// Blanks each item that `#[cfg(test)]` stands above, up to the brace or semicolon that ends it.
fn without_tests(code: &str) -> String {
    let mut kept = String::new();
    let mut ends_with: Option<String> = None;
    for line in code.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        match &ends_with {
            None if line.trim() == "#[cfg(test)]" => ends_with = Some(format!("{indent}}}")),
            None => kept.push_str(line),
            Some(end) => {
                let at_its_level = indent.len() + 1 == end.len();
                if line.starts_with(end.as_str()) || at_its_level && line.trim_end().ends_with([';', '}']) {
                    ends_with = None;
                }
            }
        }
        kept.push('\n');
    }
    kept
}

/// The text with comments, strings and characters turned to blanks. Lines stay where they are.
fn blanked(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let length = literal_length(rest, before);
        if length == 0 {
            code.push(first);
            before = first;
            rest = &rest[first.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            before = ' ';
            rest = &rest[length..];
        }
    }
    code
}

/// How many bytes at the start of `text` are a comment or a literal; 0 if they are code.
fn literal_length(text: &str, before: char) -> usize {
    let until = |end: &str, from: usize| {
        text[from..]
            .find(end)
            .map_or(text.len(), |at| from + at + end.len())
    };
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return until("*/", 2);
    }
    let hashes = text.len() - text.trim_start_matches('r').trim_start_matches('#').len();
    if text.starts_with('r') && !is_word(before) && text[hashes..].starts_with('"') {
        return until(&format!("\"{}", "#".repeat(hashes - 1)), hashes + 1);
    }
    if text.starts_with('"') {
        return quoted_length(text, '"');
    }
    let mut after_quote = text.chars().skip(1);
    let is_character = matches!(
        (after_quote.next(), after_quote.next()),
        (Some('\\'), _) | (_, Some('\''))
    );
    if text.starts_with('\'') && is_character {
        quoted_length(text, '\'')
    } else {
        0
    }
}

fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if !escaped && c == quote {
            return at + 1;
        }
        escaped = !escaped && c == '\\';
    }
    text.len()
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[test]
fn comments_and_literals_are_blanked() {
    let quoted =
        "let a = \"b \\\" c\"; // d\nlet e: &'f str = r#\"g \" h\"#; let i = '\\''; let j = '\"'; k()";
    let code = blanked(quoted);
    assert_eq!(
        code.split_whitespace().collect::<String>(),
        "leta=;lete:&'fstr=;leti=;letj=;k()"
    );
    assert_eq!(code.lines().count(), 2);
}

#[test]
fn what_only_tests_see_is_blanked() {
    let code = "a();\n#[cfg(test)]\nmod tests {\n    b();\n}\nc();\n#[cfg(test)]\nuse d;\ne();\n";
    assert_eq!(
        without_tests(code).split_whitespace().collect::<String>(),
        "a();c();e();"
    );
    assert_eq!(
        test_modules("mod a;\n#[cfg(test)]\nmod b;\n#[cfg(test)]\nmod c {\n}\n"),
        ["b"]
    );
    assert_eq!(module_folder("src/admission/mod.rs"), "src/admission");
    assert_eq!(module_folder("src/snaptrade/answer.rs"), "src/snaptrade/answer");
}
