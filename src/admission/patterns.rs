//! Patterns of user ids: `*` is any run of characters, `/` included, since ids are not paths; `?` is any one; everything
//! else is itself.
//!
//! Nothing more of what globs know elsewhere: whoever writes `[ab]*` to protect somebody has to hear that it would not, so
//! that such characters are refused ([`Patterns::misread`]) rather than taken as they are.

use std::collections::HashSet;
use std::fmt;

const MISREAD: [char; 5] = ['[', ']', '{', '}', '\\'];

/// A set of patterns.
#[derive(Clone)]
pub struct Patterns {
    sources: Vec<String>,
    /// Those that match nothing but themselves, however many there are.
    literal: HashSet<Box<str>>,
    wild: Vec<Box<str>>,
    /// One of them is `*`: the usual case, and asked once for each of very many users.
    match_all: bool,
}

impl Patterns {
    pub fn new(sources: &[String]) -> Self {
        let is_wild = |source: &&String| source.contains(['*', '?']);
        let (wild, literal): (Vec<_>, Vec<_>) = sources.iter().partition(is_wild);
        let boxed = |source: &String| source.as_str().into();
        Self {
            sources: sources.to_vec(),
            literal: literal.into_iter().map(boxed).collect(),
            wild: wild.into_iter().map(boxed).collect(),
            match_all: sources.iter().any(|source| source == "*"),
        }
    }

    /// The first character of a pattern that means something in globs elsewhere, and nothing here.
    pub fn misread(source: &str) -> Option<char> {
        source.chars().find(|c| MISREAD.contains(c))
    }

    pub fn matches(&self, id: &str) -> bool {
        self.match_all || self.literal.contains(id) || self.wild.iter().any(|pattern| is_match(pattern, id))
    }

    /// The first pattern that an id matches.
    pub fn matching(&self, id: &str) -> Option<&str> {
        let mut sources = self.sources.iter().map(String::as_str);
        sources.find(|source| is_match(source, id))
    }

    /// The patterns as they were written.
    pub fn sources(&self) -> &[String] {
        &self.sources
    }
}

/// A `*` first stands for nothing. Where the rest does not match, the last `*` takes one character more, and only that one:
/// what an earlier one would take instead, the later one could.
fn is_match(pattern: &str, id: &str) -> bool {
    let (mut pattern, mut id) = (pattern.chars(), id.chars());
    // What is behind the last `*`, and what of the id it does not stand for.
    let mut retry = None;
    loop {
        let (before, wanted) = (id.clone(), pattern.next());
        match (wanted, id.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                id = before;
                retry = Some((pattern.clone(), id.clone()));
            }
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => {
                let Some((behind, rest)) = &mut retry else {
                    return false;
                };
                if rest.next().is_none() {
                    return false;
                }
                (pattern, id) = (behind.clone(), rest.clone());
            }
        }
    }
}

/// As they were written, since the rest follows from that.
impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.sources == other.sources
    }
}

impl Eq for Patterns {}

impl fmt::Debug for Patterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sources.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By the definition, and slow.
    fn by_definition(pattern: &[char], id: &[char]) -> bool {
        match pattern {
            [] => id.is_empty(),
            ['*', rest @ ..] => (0..=id.len()).any(|taken| by_definition(rest, &id[taken..])),
            ['?', rest @ ..] => !id.is_empty() && by_definition(rest, &id[1..]),
            [own, rest @ ..] => id.first() == Some(own) && by_definition(rest, &id[1..]),
        }
    }

    proptest! {
        #[test]
        fn it_is_as_defined(pattern in "[ab*?é]{0,8}", id in "[abé*]{0,9}") {
            let of = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(is_match(&pattern, &id), by_definition(&of(&pattern), &of(&id)));
            let patterns = Patterns::new(&["z".to_owned(), pattern.clone()]);
            prop_assert_eq!(patterns.matches(&id), is_match(&pattern, &id));
            prop_assert_eq!(patterns.matching(&id), is_match(&pattern, &id).then_some(&*pattern));
        }
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let id = "a".repeat(10_000);
        assert!(!is_match(&format!("{}b", "*a".repeat(500)), &id));
    }

    #[test]
    fn what_globs_know_elsewhere_is_told() {
        for (source, misread) in [
            ("vip-*", None),
            ("team[1]", Some('[')),
            ("a{b,c}", Some('{')),
            ("\\*", Some('\\')),
        ] {
            assert_eq!(Patterns::misread(source), misread);
        }
    }
}
