//! Browser origins that may read the ops plane's answers.

use std::fmt;

/// An origin, or one with `*` for exactly one label of its host: `https://*.vercel.app`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginPattern {
    text: String,
    star: Option<usize>,
}

/// Not an origin: says what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnOrigin(&'static str);

impl fmt::Display for NotAnOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NotAnOrigin {}

impl OriginPattern {
    /// Reads `scheme://host[:port]`, in any case, with at most one `*` that stands for a whole label. A bare `*`
    /// is refused: every page of the web could then read the status of the key.
    pub fn parse(text: &str) -> Result<Self, NotAnOrigin> {
        let text = text.trim_end_matches('/').to_ascii_lowercase();
        let host_at = ["https://", "http://"]
            .iter()
            .find(|scheme| text.starts_with(**scheme))
            .map(|scheme| scheme.len())
            .ok_or(NotAnOrigin("it does not begin with https:// or http://"))?;
        let host = &text[host_at..];
        if host.is_empty() || host.contains(['/', '?', '#', '@', ' ']) {
            return Err(NotAnOrigin("it is not scheme, host and port only"));
        }
        let star = text.find('*');
        let stars = host.matches('*').count();
        let whole_label = host.split('.').any(|label| label == "*");
        if stars > 1 || (stars == 1 && !whole_label) {
            return Err(NotAnOrigin("a * stands for one whole label of the host, once"));
        }
        if stars == 1 && host.split('.').count() < 3 {
            return Err(NotAnOrigin("a * needs at least two labels after it"));
        }
        Ok(Self { text, star })
    }

    /// Whether this is the origin, or one of those it stands for. `origin` is the value of a header `Origin`.
    pub fn matches(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        let Some(star) = self.star else {
            return origin == self.text;
        };
        let (before, after) = (&self.text[..star], &self.text[star + 1..]);
        origin
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .is_some_and(|label| {
                !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            })
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_one_label() {
        let pattern = OriginPattern::parse("https://*.Vercel.app/").unwrap();
        assert!(pattern.matches("https://my-app.vercel.app"));
        for other in [
            "https://a.b.vercel.app",
            "https://vercel.app",
            "https://.vercel.app",
            "http://a.vercel.app",
            "https://a.vercel.app:8443",
            "https://a.vercel.app.evil.example",
            "https://evil.example/.vercel.app",
        ] {
            assert!(!pattern.matches(other), "{other}");
        }
    }

    #[test]
    fn without_a_star_an_origin_matches_itself_only() {
        let pattern = OriginPattern::parse("http://localhost:3000").unwrap();
        assert!(pattern.matches("http://localhost:3000"));
        assert!(!pattern.matches("http://localhost"));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "*",
            "example.com",
            "https://",
            "https://a/b",
            "https://*",
            "https://*.app",
            "https://a*.b.app",
        ] {
            assert!(OriginPattern::parse(text).is_err(), "{text}");
        }
    }
}
