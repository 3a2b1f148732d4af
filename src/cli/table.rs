//! Tables for a terminal, in which no text from elsewhere can do harm.

use std::fmt::Write as _;

/// Between two columns.
const GAP: &str = "  ";

/// Rows of cells under their headings, each column as wide as its longest cell.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|&heading| heading.to_owned()).collect();
    let mut widths: Vec<usize> = head.iter().map(String::len).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            // Every cell is ASCII (see `shown`), so that a byte is a column of the terminal.
            *width = cell.len().max(*width);
        }
    }
    let mut lines = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let start = lines.len();
        for (width, cell) in widths.iter().zip(row) {
            let _ = write!(lines, "{cell:width$}{GAP}");
        }
        lines.truncate(start + lines[start..].trim_end().len());
        lines.push('\n');
    }
    lines
}

/// A text from elsewhere, such as an id: printable ASCII as it is, all else escaped. So nothing commands the terminal,
/// reorders a line or takes another width than it seems to; and no two texts look alike. In quotes where its ends would
/// not show.
pub(super) fn shown(text: &str) -> String {
    let quote = text.is_empty() || text.contains([' ', '"']);
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            ' '..='~' => escaped.push(c),
            _ => escaped.extend(c.escape_default()),
        }
    }
    if quote { format!("\"{escaped}\"") } else { escaped }
}

/// A sentence from elsewhere, such as an error's: as [`shown`], and meant to be read.
pub(super) fn sentence(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => escaped.push(c),
            _ => escaped.extend(c.escape_default()),
        }
    }
    escaped
}

/// JSON with the same meaning in ASCII, since control characters of the C1 range command terminals too.
pub(super) fn ascii_json(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            ' '..='~' | '\n' | '\t' => ascii.push(c),
            // Outside of strings JSON has none of them.
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(ascii, "\\u{unit:04x}");
                }
            }
        }
    }
    ascii
}

/// A cell for what may not be known.
pub(super) fn or_dash(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), shown)
}

/// A time without its fraction of a second.
pub(super) fn to_the_second(time: &str) -> String {
    match time.split_once('.') {
        Some((second, _)) => shown(&format!("{second}Z")),
        None => shown(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let rows = [
            vec!["1".to_owned(), "ada".to_owned(), "-".to_owned()],
            vec!["10".to_owned(), "a-long-one".to_owned(), "why".to_owned()],
        ];
        assert_eq!(
            table(&["#", "user", "note"], &rows),
            "#   user        note\n1   ada         -\n10  a-long-one  why\n"
        );
        assert_eq!(table(&["#", "user"], &[]), "#  user\n");
    }

    #[test]
    fn no_id_can_break_a_line_or_command_the_terminal() {
        for (id, seen) in [
            ("ada", "ada"),
            ("o'neil@a.b/c", "o'neil@a.b/c"),
            ("", "\"\""),
            (" a  b ", "\" a  b \""),
            ("say \"hi\"", "\"say \\\"hi\\\"\""),
            ("\"", "\"\\\"\""),
            ("a\\n", "a\\\\n"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("\u{7f}", "\\u{7f}"),
            ("é\u{202e}日", "\\u{e9}\\u{202e}\\u{65e5}"),
        ] {
            assert_eq!(shown(id), seen);
        }
        assert_eq!(sentence("no \"x\" at all\u{1b}"), "no \"x\" at all\\u{1b}");
    }

    #[test]
    fn json_means_the_same_in_ascii() {
        let text = "é\u{9b}\u{7f}\u{1f600}\n\"\\ \u{202e}";
        let json = serde_json::to_string(text).unwrap();
        let ascii = ascii_json(&json);
        assert!(ascii.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{ascii}");
        assert_eq!(serde_json::from_str::<String>(&ascii).unwrap(), text);
    }

    #[test]
    fn a_time_is_told_to_the_second() {
        assert_eq!(to_the_second("2026-11-25T13:33:35.123Z"), "2026-11-25T13:33:35Z");
        assert_eq!(to_the_second("2026-11-25T13:33:35Z"), "2026-11-25T13:33:35Z");
    }
}
