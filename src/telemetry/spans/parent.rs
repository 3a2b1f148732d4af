//! The header `traceparent` (W3C Trace Context): which trace a request belongs to.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// `00-<trace>-<parent>-<flags>`, to which later versions may add.
const LINE_BYTES: usize = 55;
/// Whether the caller records, and whether its trace's id is random. Others have no meaning yet and go no further.
const FLAGS: u8 = 0b11;

/// Of a request that says so once and clearly; of any other, a trace begins here.
pub(super) fn parent(headers: &HeaderMap) -> Option<SpanContext> {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    let line = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    read(line.to_str().ok()?)
}

fn read(line: &str) -> Option<SpanContext> {
    let (known, more) = line.split_at_checked(LINE_BYTES)?;
    let mut parts = known.split('-');
    let [version, trace, parent, flags] = [2, 32, 16, 2].map(|length| {
        parts
            .next()
            .filter(|part| part.len() == length && part.bytes().all(is_lower_hex))
    });
    let is_whole = parts.next().is_none() && (more.is_empty() || version? != "00" && more.starts_with('-'));
    if !is_whole || version? == "ff" {
        return None;
    }
    let flags = u8::from_str_radix(flags?, 16).ok()? & FLAGS;
    let context = SpanContext::new(
        TraceId::from_hex(trace?).ok()?,
        SpanId::from_hex(parent?).ok()?,
        TraceFlags::new(flags),
        true,
        // It passes by and is not read.
        TraceState::NONE,
    );
    context.is_valid().then_some(context)
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// What says that a request belongs to this span. `None` never happens: it is ASCII.
pub(super) fn line(span: &SpanContext) -> Option<HeaderValue> {
    let (trace, id, flags) = (span.trace_id(), span.span_id(), span.trace_flags().to_u8());
    HeaderValue::try_from(format!("00-{trace}-{id}-{flags:02x}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    fn of(lines: &[&str]) -> Option<SpanContext> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(TRACEPARENT, HeaderValue::from_str(line).unwrap());
        }
        parent(&headers)
    }

    #[test]
    fn what_is_read_is_written_the_same() {
        for flags in ["00", "01", "02", "03"] {
            let text = format!("00-{TRACE}-{PARENT}-{flags}");
            let read = of(&[&text]).unwrap();
            assert!(read.is_remote());
            assert_eq!(read.is_sampled(), flags == "01" || flags == "03");
            assert_eq!(line(&read).unwrap(), text);
        }
        // Bits without a meaning, and what a later version adds, are left out.
        for (version, more) in [("00", ""), ("01", ""), ("cc", "-what-will-be")] {
            let read = of(&[&format!("{version}-{TRACE}-{PARENT}-f9{more}")]).unwrap();
            assert_eq!(line(&read).unwrap(), format!("00-{TRACE}-{PARENT}-01"));
        }
    }

    #[test]
    fn a_line_that_says_nothing_clearly_is_none() {
        let good = format!("00-{TRACE}-{PARENT}-01");
        assert!(of(&[]).is_none());
        assert!(of(&[&good, &good]).is_none());
        for bad in [
            String::new(),
            "00".to_owned(),
            good[..54].to_owned(),
            format!("{good}-"),
            format!("{good}1"),
            format!("cc-{TRACE}-{PARENT}-01x"),
            format!("ff-{TRACE}-{PARENT}-01"),
            good.to_uppercase(),
            good.replace('-', "_"),
            good.replace("4bf", "4bg"),
            format!("00-{}-{PARENT}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{PARENT}-{TRACE}-01"),
            format!("0--{TRACE}-{PARENT}-1"),
            format!(" {}", &good[..54]),
            format!("00-{}\u{e9}-01", "0".repeat(49)),
        ] {
            assert!(read(&bad).is_none(), "{bad:?}");
        }
    }
}
