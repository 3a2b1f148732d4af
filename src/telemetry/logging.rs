//! The log, on stderr: text on a terminal, one flat JSON object a line otherwise.

use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::{self, SubscriberExt as _};
use tracing_subscriber::{Layer as _, Registry, fmt as format, reload};

pub use super::sink::Flush;
use super::sink::{self, Sink};
use crate::config::{Log, LogFormat};

/// Why there is no log.
#[derive(Debug)]
pub enum LoggingError {
    /// The filter of the configuration is none; loading a configuration has checked it.
    Filter(ParseError),
    /// The thread that writes could not be started.
    Thread(io::Error),
    /// The process has a log already.
    Taken(tracing::subscriber::SetGlobalDefaultError),
}

impl fmt::Display for LoggingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Filter(_) => "log.level cannot be read",
            Self::Thread(_) => "cannot start the thread that writes the log",
            Self::Taken(_) => "cannot set up the log",
        })
    }
}

impl Error for LoggingError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(match self {
            Self::Filter(error) => error,
            Self::Thread(error) => error,
            Self::Taken(error) => error,
        })
    }
}

/// Sets up the log of the process, once. Colours are for a terminal only, and not where `NO_COLOR` is set.
///
/// Logging never blocks: where stderr does not keep up, lines are lost, and a line says how many (R14). What is
/// returned has to be kept until the end of `main`, for the last lines to be written; `process::exit` skips that.
pub fn init(log: &Log) -> Result<(Flush, Level), LoggingError> {
    let (filter, level) = reload::Layer::new(filter(&log.level).map_err(LoggingError::Filter)?);
    let terminal = io::stderr().is_terminal();
    let style = match log.format {
        LogFormat::Json => Style::Json,
        LogFormat::Auto if !terminal => Style::Json,
        LogFormat::Auto | LogFormat::Text if terminal => Style::Coloured,
        LogFormat::Auto | LogFormat::Text => Style::Plain,
    };
    let lost_line = if style == Style::Json {
        lost_json
    } else {
        lost_text
    };
    let (sink, flush) = sink::start(io::stderr(), lost_line).map_err(LoggingError::Thread)?;
    tracing::subscriber::set_global_default(subscriber(style, filter, sink)).map_err(LoggingError::Taken)?;
    Ok((flush, Level(level)))
}

/// What is logged from now on.
#[derive(Clone, Debug)]
pub struct Level(reload::Handle<Targets, Registry>);

impl Level {
    /// `level` is a filter as in the configuration, whose loading has checked it.
    pub fn set(&self, level: &str) {
        // Fails only where there is no log any more, and so nowhere to say it.
        if let Ok(filter) = filter(level) {
            let _ = self.0.reload(filter);
        }
    }
}

/// A level that names no target is the sidecar's own. The libraries' lines below `warn` are shown where they are named:
/// HTTP/2 alone has dozens for each call.
pub(crate) fn filter(level: &str) -> Result<Targets, ParseError> {
    let written: Targets = level.parse()?;
    let own = written.default_level().unwrap_or(LevelFilter::OFF);
    Ok(Targets::new()
        .with_default(own.min(LevelFilter::WARN))
        .with_target(env!("CARGO_CRATE_NAME"), own)
        .with_targets(written.iter()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Json,
    /// Text; the formatter itself heeds `NO_COLOR`.
    Coloured,
    Plain,
}

fn subscriber<F>(style: Style, filter: F, sink: Sink) -> Box<dyn Subscriber + Send + Sync>
where
    F: layer::Filter<Registry> + Send + Sync + 'static,
{
    let lines = format::layer::<Registry>().with_writer(sink);
    let lines = match style {
        // Spans stay out, so that every field of a line is the event's own, at the top.
        Style::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
        Style::Coloured => lines.boxed(),
        Style::Plain => lines.with_ansi(false).boxed(),
    };
    Box::new(tracing_subscriber::registry().with(lines.with_filter(filter)))
}

/// Not through `tracing`, whose queue is the one that was full.
fn lost_json(count: u64) -> String {
    let line = serde_json::json!({
        "timestamp": jiff::Timestamp::now().to_string(),
        "level": "WARN",
        "message": "log lines were lost, because stderr was not read",
        "lines": count,
        "target": module_path!(),
    });
    format!("{line}\n")
}

fn lost_text(count: u64) -> String {
    let now = jiff::Timestamp::now();
    format!(
        "{now}  WARN {}: {count} log lines were lost, because stderr was not read\n",
        module_path!()
    )
}

#[cfg(test)]
mod tests {
    use std::io::Seek as _;

    use serde_json::Value;

    use super::*;

    /// What is logged under a filter, in a style.
    fn logged(style: Style, level: &str, log: impl FnOnce()) -> String {
        let mut file = tempfile::tempfile().unwrap();
        let (sink, flush) = sink::start(file.try_clone().unwrap(), lost_text).unwrap();
        tracing::subscriber::with_default(subscriber(style, filter(level).unwrap(), sink), log);
        drop(flush);
        file.rewind().unwrap();
        io::read_to_string(file).unwrap()
    }

    #[test]
    fn json_is_one_flat_object_a_line() {
        let text = logged(Style::Json, "info", || {
            let span = tracing::info_span!("request", path = "/x");
            let _entered = span.enter();
            tracing::warn!(evicted = 2, reason = %"a \"b\"\nc", "made room");
            tracing::debug!("not this");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).unwrap();
        let fields: Vec<&String> = line.as_object().unwrap().keys().collect();
        assert_eq!(
            fields,
            ["evicted", "level", "message", "reason", "target", "timestamp"]
        );
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "made room");
        assert_eq!(line["evicted"], 2);
        assert_eq!(line["reason"], "a \"b\"\nc");
        let timestamp = line["timestamp"].as_str().unwrap();
        assert!(
            timestamp.ends_with('Z') && timestamp.parse::<jiff::Timestamp>().is_ok(),
            "{timestamp}"
        );
    }

    #[test]
    fn text_away_from_a_terminal_has_no_colours() {
        let text = logged(Style::Plain, "info", || {
            tracing::info!(count = 1, "\u{1b}[31mhello");
        });
        assert!(text.contains("INFO") && text.contains("count=1"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn a_filter_may_go_by_target() {
        let text = logged(Style::Plain, "warn,of_interest=debug", || {
            tracing::info!("no");
            tracing::debug!(target: "of_interest", "yes");
        });
        assert!(text.contains("yes") && !text.contains("no"), "{text}");
    }

    #[test]
    fn libraries_are_heard_below_warn_only_if_they_are_named() {
        let shown = |level: &str| {
            logged(Style::Plain, level, || {
                tracing::trace!("own");
                tracing::debug!(target: "h2::codec", "theirs");
                tracing::warn!(target: "h2::codec", "warning");
            })
        };
        for (level, own, theirs, warning) in [
            ("trace", true, false, true),
            ("trace,h2=debug", true, true, true),
            ("debug", false, false, true),
            ("error", false, false, false),
            ("off", false, false, false),
            ("warn,snaptrade_sidecar=trace", true, false, true),
            ("trace,snaptrade_sidecar=info", false, false, true),
        ] {
            let text = shown(level);
            let seen = ["own", "theirs", "warning"].map(|word| text.contains(word));
            assert_eq!(seen, [own, theirs, warning], "{level}: {text}");
        }
    }

    #[test]
    fn lost_lines_are_told_in_the_style_of_the_log() {
        let line: Value = serde_json::from_str(&lost_json(3)).unwrap();
        assert_eq!((&line["lines"], &line["level"]), (&3.into(), &"WARN".into()));
        assert!(lost_text(3).contains("3 log lines were lost"));
    }
}
