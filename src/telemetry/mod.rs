//! What the program tells its operator.
//!
//! - [`logging`]: what happened, line by line, on stderr.
//! - [`metrics`]: counts and durations, for scraping.
//! - [`limits`]: which limits are reached, counted and said now and then.
//! - [`panics`]: what must not happen, told without secrets.
//! - [`spans`]: traces, where an OpenTelemetry collector is to have them.
//! - [`health`]: whether the process lives, and whether it should get traffic.

pub mod health;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod panics;
mod sink;
pub mod spans;

use std::error::Error;
use std::fmt;

/// An error with its causes, as `a: b: c`. Errors say only their own level; this is the one place that prints the
/// chain.
pub fn chain<'a>(error: &'a (dyn Error + 'a)) -> impl fmt::Display + 'a {
    Chain(error)
}

struct Chain<'a>(&'a (dyn Error + 'a));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some libraries print their cause themselves.
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
                said = text;
            }
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Level(&'static str, Option<Box<Level>>);

    impl fmt::Display for Level {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Level {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as &dyn Error)
        }
    }

    fn shown(levels: &[&'static str]) -> String {
        let error = levels
            .iter()
            .rev()
            .fold(None, |cause, text| Some(Box::new(Level(text, cause))));
        chain(&*error.unwrap()).to_string()
    }

    #[test]
    fn a_chain_is_one_line_without_repetition() {
        assert_eq!(shown(&["a"]), "a");
        assert_eq!(shown(&["a", "b", "c"]), "a: b: c");
        assert_eq!(shown(&["a: b", "b", "c"]), "a: b: c");
    }
}
