//! Lengths of time as people write them: `250ms`, `5s`, `1h30m`.

use std::time::Duration;

use super::fault::Problem;

const REMEDY: &str =
    "write a whole number with a unit (ms, s, m, h or d), such as \"250ms\", \"5s\" or \"1h30m\"";

/// Reads a length of time for the command line; the error says what to write.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    parse(text).map_err(|problem| format!("{}; {}", problem.what, problem.remedy))
}

/// Reads a length of time. A number without a unit, a sign or a fraction is refused, so that nothing is guessed.
pub(super) fn parse(text: &str) -> Result<Duration, Problem> {
    let refused = || Problem::new(format!("{text:?} is not a length of time"), REMEDY);
    if text.starts_with('-') {
        return Err(Problem::new(format!("{text:?} is negative"), REMEDY));
    }
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(refused());
    }
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let ms = number
            .parse::<u64>()
            .ok()
            .zip(unit_ms(unit))
            .and_then(|(count, unit)| count.checked_mul(unit))
            .ok_or_else(refused)?;
        total_ms = total_ms.checked_add(ms).ok_or_else(refused)?;
        rest = tail;
    }
    Ok(Duration::from_millis(total_ms))
}

/// A length of time in the largest unit in which it is whole.
pub(super) fn shown(duration: Duration) -> String {
    let ms = duration.as_millis();
    ["d", "h", "m", "s"]
        .into_iter()
        .filter_map(|unit| Some((unit, u128::from(unit_ms(unit)?))))
        .find(|(unit, length)| ms.is_multiple_of(*length) && (ms > 0 || *unit == "s"))
        .map_or_else(
            || format!("{ms}ms"),
            |(unit, length)| format!("{}{unit}", ms / length),
        )
}

fn unit_ms(unit: &str) -> Option<u64> {
    Some(match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, ms) in [
            ("250ms", 250),
            ("0s", 0),
            ("5s", 5_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("90d", 7_776_000_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(parse(&shown(Duration::from_millis(ms))), parse(text));
        }
    }

    #[test]
    fn refuses_what_it_would_have_to_guess() {
        for text in [
            "",
            " ",
            "5",
            "s",
            "-5s",
            "1.5s",
            "5 s",
            "5sec",
            "5s3",
            "99999999999999999999s",
            "99999999999999999d",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
