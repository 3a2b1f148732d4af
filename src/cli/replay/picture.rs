//! Outcomes as bars, in an SVG file: how many were evicted, and how many of them came back.

use std::fmt::Write as _;

use super::{Line, Report};

const WIDTH: usize = 760;
const LABELS: usize = 290;
const BARS: usize = 330;
const ROW: usize = 26;
const TOP: usize = 58;

pub(super) fn draw(report: &Report) -> String {
    let most = report
        .lines
        .iter()
        .map(|line| line.evictions)
        .max()
        .unwrap_or(0)
        .max(1);
    let height = TOP + report.lines.len() * ROW + 40;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\" role=\"img\">\n\
         <title>Evictions by other policies</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"15\" fill=\"#111\">Evictions, and how many of the evicted came back</text>\n\
         <text x=\"16\" y=\"44\" fill=\"#555\">tenant {}, {} to {}</text>\n",
        text(&report.tenant),
        report.from.as_deref().unwrap_or("-"),
        report.to.as_deref().unwrap_or("-"),
    );
    for (place, line) in report.lines.iter().enumerate() {
        bar(&mut svg, TOP + place * ROW, line, most);
    }
    let y = height - 14;
    let _ = writeln!(
        svg,
        "<rect x=\"{LABELS}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"#c2410c\"/><text x=\"{}\" y=\"{y}\" \
         fill=\"#555\">came back</text><rect x=\"{}\" y=\"{}\" width=\"12\" height=\"12\" fill=\"#94a3b8\"/>\
         <text x=\"{}\" y=\"{y}\" fill=\"#555\">did not</text>\n</svg>",
        y - 11,
        LABELS + 18,
        LABELS + 100,
        y - 11,
        LABELS + 118
    );
    svg
}

fn bar(svg: &mut String, top: usize, line: &Line, most: u64) {
    let width = |count: u64| {
        let bars = BARS as u64;
        count * bars / most
    };
    let (all, back) = (width(line.evictions), width(line.returned.min(line.evictions)));
    let (baseline, end) = (top + 17, LABELS as u64 + all + 8);
    let refused = match line.refused {
        0 => String::new(),
        refused => format!(", {refused} refused"),
    };
    let _ = writeln!(
        svg,
        "<text x=\"16\" y=\"{baseline}\" fill=\"#111\">{} / {}</text>\
         <rect x=\"{LABELS}\" y=\"{}\" width=\"{all}\" height=\"18\" fill=\"#94a3b8\"/>\
         <rect x=\"{LABELS}\" y=\"{}\" width=\"{back}\" height=\"18\" fill=\"#c2410c\"/>\
         <text x=\"{end}\" y=\"{baseline}\" fill=\"#555\">{}, {} back{refused}</text>",
        text(&line.policy),
        line.max_users,
        top + 4,
        top + 4,
        line.evictions,
        line.returned,
    );
}

/// A text from elsewhere, as text.
fn text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
