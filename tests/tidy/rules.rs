//! What is looked for in one file. Each rule returns what is wrong as `(line, what and how to mend it)`.

use crate::source::is_word;

pub(crate) type Faults = Vec<(usize, String)>;

/// The modules that `lib.rs` lists, in its order.
pub(crate) fn listed_modules(lib: &str) -> Vec<String> {
    let names = lib.lines().filter_map(|line| {
        line.trim()
            .trim_start_matches("pub ")
            .strip_prefix("mod ")?
            .strip_suffix(';')
    });
    names.map(str::to_owned).collect()
}

/// The top-level modules that a file names, each with its line: `crate::a`, each of `crate::{a, b::c}`, and
/// `super::…::a` from a file that is `depth` modules deep.
pub(crate) fn imports(code: &str, depth: usize) -> Vec<(usize, String)> {
    let to_root = "super::".repeat(depth);
    let mut found = Vec::new();
    for start in ["crate::", to_root.as_str()] {
        for (at, _) in code.match_indices(start) {
            let before = &code[..at];
            if !before.ends_with(|c| is_word(c) || c == ':' || c == '$') {
                let line = before.lines().count().max(1);
                found.extend(
                    first_names(&code[at + start.len()..])
                        .into_iter()
                        .map(|name| (line, name)),
                );
            }
        }
    }
    found
}

/// The first name of the path, or of each path in the braces, that `rest` starts with.
fn first_names(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else {
        return vec![first_name(rest)];
    };
    let mut depth = 0_usize;
    let mut names = vec![first_name(group)];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(first_name(&group[at + 1..])),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn first_name(path: &str) -> String {
    path.trim_start().chars().take_while(|c| is_word(*c)).collect()
}

/// The functions that are longer than `lines_max`, signature and braces counted. One that is a single `match` is a
/// table, and may be as long as what it lists.
pub(crate) fn long_functions(code: &str, lines_max: usize) -> Faults {
    let lines: Vec<&str> = code.lines().collect();
    let mut faults = Vec::new();
    for (start, line) in lines.iter().enumerate().filter(|(_, line)| starts_function(line)) {
        let indent = &line[..line.len() - line.trim_start().len()];
        let closes = |at: &usize, deeper: &str| lines[*at].trim_end() == format!("{indent}{deeper}}}");
        let head_ends = |at: &usize| lines[*at].trim_end().ends_with(['{', ';', '}']);
        let has_body = |at: &usize| lines[*at].trim_end().ends_with('{');
        let Some(head) = (start..lines.len()).find(head_ends).filter(has_body) else {
            continue;
        };
        let Some(end) = (head..lines.len()).find(|at| closes(at, "")) else {
            continue;
        };
        let is_table = lines[head + 1].trim_start().starts_with("match ")
            && (head + 2..end).find(|at| closes(at, "    ")) == Some(end - 1);
        let length = end - start + 1;
        if length > lines_max && !is_table {
            faults.push((
                start + 1,
                format!("a function of {length} lines, {lines_max} at most: split it"),
            ));
        }
    }
    faults
}

fn starts_function(line: &str) -> bool {
    let is_qualifier = |word: &str| {
        matches!(word, "async" | "const" | "extern" | "pub" | "unsafe") || word.starts_with("pub(")
    };
    let before = line.split_once("fn ").map(|(before, _)| before);
    before.is_some_and(|before| before.split_whitespace().all(is_qualifier))
}

/// Where one of the texts stands.
pub(crate) fn mentions(code: &str, texts: &[&str], remedy: &str) -> Faults {
    let lines = code.lines().enumerate();
    let found = lines.flat_map(|(at, line)| {
        let here = texts.iter().filter(|text| line.contains(**text));
        here.map(move |text| (at + 1, format!("`{text}`: {remedy}")))
    });
    found.collect()
}

/// Where one of the words stands, as a word of its own.
pub(crate) fn words(code: &str, words: &[&str], remedy: &str) -> Faults {
    let stands = |line: &str, word: &str| {
        line.match_indices(word)
            .any(|(at, _)| !line[..at].ends_with(is_word) && !line[at + word.len()..].starts_with(is_word))
    };
    let lines = code.lines().enumerate();
    let found = lines.flat_map(|(at, line)| {
        let here = words.iter().filter(|word| stands(line, word));
        here.map(move |word| (at + 1, format!("`{word}`: {remedy}")))
            .collect::<Vec<_>>()
    });
    found.collect()
}

/// Calls of a method or an associated function named `delete`. `routing::delete` is a function of a module, and
/// `self.delete` is the caller's own, in which the client's would be found.
pub(crate) fn deletions(code: &str) -> Vec<usize> {
    let is_call = |line: &str, at: usize| {
        let before = &line[..at];
        let last_word = |path: &str| path.rsplit(|c| !is_word(c)).next().unwrap_or_default().to_owned();
        let is_method = before
            .strip_suffix('.')
            .is_some_and(|owner| last_word(owner) != "self");
        let of_type = before
            .strip_suffix("::")
            .is_some_and(|owner| last_word(owner).starts_with(char::is_uppercase));
        (is_method || of_type) && !line[at + "delete".len()..].starts_with(is_word)
    };
    let lines = code.lines().enumerate();
    let found = lines.filter(|(_, line)| line.match_indices("delete").any(|(at, _)| is_call(line, at)));
    found.map(|(at, _)| at + 1).collect()
}

/// The keys of a TOML file that no comment explains, on their line or right above.
pub(crate) fn unexplained_keys(toml: &str) -> Faults {
    let lines: Vec<&str> = toml.lines().map(str::trim).collect();
    let mut faults = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((key, value)) = line
            .split_once('=')
            .filter(|(key, _)| key.trim().chars().all(is_key))
        else {
            continue;
        };
        let outside_quotes: String = value.split('"').step_by(2).collect();
        let is_explained = outside_quotes.contains('#') || at > 0 && lines[at - 1].starts_with('#');
        if !is_explained {
            faults.push((at + 1, format!("`{}`: say in a comment what it does", key.trim())));
        }
    }
    faults
}

fn is_key(c: char) -> bool {
    is_word(c) || "-.".contains(c)
}

#[test]
fn imports_are_seen_in_every_form() {
    let code =
        "use crate::a::B;\nuse crate::{\n    c::{D, e},\n    f,\n};\nlet g = crate::h::i();\nuse super::j;\n";
    let names: Vec<_> = imports(code, 1).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["a", "c", "f", "h", "j"]);
    assert_eq!(imports(code, 2).len(), 4);
}

#[test]
fn a_long_function_is_seen_and_a_table_is_not() {
    let long = format!(
        "    pub(crate) async fn a(\n    ) {{\n{}    }}\n",
        "        b();\n".repeat(8)
    );
    assert_eq!(long_functions(&long, 10).len(), 1);
    assert_eq!(long_functions(&long, 11).len(), 0);
    assert_eq!(
        long_functions(&format!("    fn a(\n        b: C,\n    ) -> D;\n{long}"), 11).len(),
        0
    );
    let table = format!(
        "fn a() {{\n    match b {{\n{}    }}\n}}\n",
        "        c => d,\n".repeat(8)
    );
    assert_eq!(long_functions(&table, 10).len(), 0);
}

#[test]
fn a_deletion_is_told_from_other_words() {
    assert_eq!(
        deletions("self.manage.delete(id)\nManage::delete(m, id)\n    .delete(id)\nlet f = Manage::delete;"),
        [1, 2, 3, 4]
    );
    assert_eq!(
        deletions("self.delete(id)\nrouting::delete(f)\nStep::Delete\nmanage.deleted(id)\nfn delete() {}"),
        []
    );
}

#[test]
fn a_key_without_a_comment_is_seen() {
    let toml = "[a]\n# says\nb = 1\nc = \"#\"\nd = 2 # says\n# e = 3\nf.g = \"x\"\n";
    assert_eq!(
        unexplained_keys(toml)
            .iter()
            .map(|(line, _)| *line)
            .collect::<Vec<_>>(),
        [4]
    );
}
