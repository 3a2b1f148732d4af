//! The two text formats that scrapers read.

use std::fmt::Write;

/// `OpenMetrics` 1.0, or the classic Prometheus text format 0.0.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    OpenMetrics,
    Prometheus,
}

impl Format {
    /// Reads a header `Accept`. `OpenMetrics` must be named and not be liked less than plain text; a browser or
    /// `curl`, which names neither, gets plain text.
    pub fn from_accept(accept: &str) -> Self {
        let quality = |types: &[&str]| {
            accept
                .split(',')
                .filter_map(|range| weight(range, types))
                .fold(0.0, f32::max)
        };
        let openmetrics = quality(&["application/openmetrics-text"]);
        if openmetrics > 0.0 && openmetrics >= quality(&["text/plain", "text/*"]) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The `q` of a media range, if it is of one of these types. An unreadable `q` counts as unwanted.
fn weight(range: &str, types: &[&str]) -> Option<f32> {
    let mut parts = range.split(';').map(str::trim);
    let name = parts.next()?;
    types
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
        .then_some(())?;
    let q = parts.find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    Some(q.map_or(1.0, |q| q.parse().unwrap_or(0.0)))
}

/// Rewrites `OpenMetrics` text as classic text: families are named as their samples are, units and the end marker
/// are comments that mean nothing there, and types it does not know become those it does. Samples stay as they are.
pub(super) fn classic(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = "";
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest;
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            let about = help.strip_prefix(name).unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# HELP {name}{suffix}{about}\n# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_follows_accept() {
        let prometheus = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;q=0.7,\
             application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for accept in [
            prometheus,
            "application/openmetrics-text",
            "Application/OpenMetrics-Text ; version=1.0.0 ; Q=0.5, */*",
        ] {
            assert_eq!(Format::from_accept(accept), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=x",
            "text/plain, application/openmetrics-text;q=0.5",
            "application/openmetrics-textual",
        ] {
            assert_eq!(Format::from_accept(accept), Format::Prometheus, "{accept}");
        }
    }

    #[test]
    fn classic_text_names_families_as_their_samples() {
        let openmetrics = "# HELP a Things.\n# TYPE a counter\na_total{x=\"#\"} 1\n\
             # HELP b_seconds Time.\n# TYPE b_seconds gauge\n# UNIT b_seconds seconds\nb_seconds 1.5\n\
             # HELP c Build.\n# TYPE c info\nc_info{v=\"1\"} 1\n# EOF\n";
        assert_eq!(
            classic(openmetrics),
            "# HELP a_total Things.\n# TYPE a_total counter\na_total{x=\"#\"} 1\n\
             # HELP b_seconds Time.\n# TYPE b_seconds gauge\nb_seconds 1.5\n\
             # HELP c_info Build.\n# TYPE c_info gauge\nc_info{v=\"1\"} 1\n"
        );
    }
}
