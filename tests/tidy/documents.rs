//! What is looked for in documents: links that lead nowhere, and paths of somebody's own machine.

use std::fs;
use std::path::Path;

use crate::rules::Faults;
use crate::source::{File, is_word};

/// The relative links of a document that name no file, or no heading in it.
pub(crate) fn broken_links(file: &File, root: &Path) -> Faults {
    let folder = root.join(&file.path).parent().unwrap_or(root).to_path_buf();
    let mut faults = Vec::new();
    for (line, target) in links(&file.text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (path, heading) = target.split_once('#').unwrap_or((&target, ""));
        let text = if path.is_empty() {
            Ok(file.text.clone())
        } else {
            fs::read_to_string(folder.join(path))
        };
        let is_there = path.is_empty() || folder.join(path).exists();
        if !is_there {
            faults.push((line, format!("`{target}`: there is no such file; mend the link")));
        } else if !heading.is_empty() && !text.is_ok_and(|text| headings(&text).iter().any(|h| h == heading))
        {
            faults.push((
                line,
                format!("`{target}`: there is no such heading; mend the link"),
            ));
        }
    }
    faults
}

/// The targets of `[…](target)`, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, line) in prose(text) {
        let outside_code: String = line.split('`').step_by(2).collect();
        for part in outside_code.split("](").skip(1) {
            let target = part.split([')', ' ']).next().unwrap_or_default();
            found.push((at, target.to_owned()));
        }
    }
    found
}

/// Names that only tests have, of at least four words, in `code`, that no test has.
pub(crate) fn named_tests(file: &File, is_there: impl Fn(&str) -> bool) -> Faults {
    let mut faults = Vec::new();
    for (at, line) in prose(&file.text) {
        for name in line.split('`').skip(1).step_by(2) {
            let is_name = name
                .chars()
                .all(|c| c == '_' || c.is_ascii_digit() || c.is_ascii_lowercase());
            // Shorter ones may be keys, codes and metrics.
            if is_name
                && name.matches('_').count() >= 3
                && !name.starts_with("sidecar_")
                && !name.ends_with("_total")
                && !is_there(name)
            {
                faults.push((
                    at,
                    format!("`{name}`: there is no such test; name the one that carries this"),
                ));
            }
        }
    }
    faults
}

/// The lines of a document that are not in a block of code, counted from one.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut in_code = false;
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            lines.push((at + 1, line));
        }
    }
    lines
}

/// The anchors that GitHub makes of a document's headings.
fn headings(text: &str) -> Vec<String> {
    let lines = prose(text).into_iter().filter(|(_, line)| line.starts_with('#'));
    let anchor = |line: &str| {
        let words = line
            .trim_start_matches('#')
            .trim()
            .to_lowercase()
            .replace(' ', "-");
        words.chars().filter(|c| is_word(*c) || *c == '-').collect()
    };
    lines.map(|(_, line)| anchor(line)).collect()
}

/// Where an absolute path begins in one of the ways given; `docs/home/` is not one.
pub(crate) fn paths(text: &str, starts: &[&str], remedy: &str) -> Faults {
    let mut faults = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let is_path = |start: &&&str| {
            let mut places = line.match_indices(**start);
            places.any(|(at, _)| !line[..at].ends_with(|c| is_word(c) || "-.~}".contains(c)))
        };
        faults.extend(
            starts
                .iter()
                .filter(is_path)
                .map(|start| (at + 1, format!("`{start}…`: {remedy}"))),
        );
    }
    faults
}

#[test]
fn links_and_headings_are_seen() {
    let text = "# A `b`: c!\n[d](e.md#f) `[g](h)` ![i](j.png \"k\")\n```\n[l](m)\n# n\n```\n";
    assert_eq!(links(text), [(2, "e.md#f".to_owned()), (2, "j.png".to_owned())]);
    assert_eq!(headings(text), ["a-b-c"]);
}

#[test]
fn a_home_folder_is_told_from_other_paths() {
    let lines = "cd /h/me\ndocs/h/page\nfile:///h/me\n";
    assert_eq!(
        paths(lines, &["/h/"], "")
            .iter()
            .map(|(line, _)| *line)
            .collect::<Vec<_>>(),
        [1, 3]
    );
}
