//! Sizes and durations as people write them.

use std::time::Duration;

/// Units of a size, largest first, so that formatting takes the first that fits.
const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// Units of a duration in milliseconds.
const DURATIONS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("min", 60_000), ("h", 3_600_000)];

/// Bytes, from a text like `4 GiB`, `256KiB` or `1500 B`.
///
/// # Errors
/// What is wrong and what to write.
pub fn parse_size(text: &str) -> Result<u64, String> {
    with_unit(text, &SIZES)
        .ok_or_else(|| format!("`{text}` is no size: write a whole number and a unit, for instance 256 KiB or 4 GiB"))
}

/// A duration, from a text like `500ms`, `30s`, `5m` or `1h`.
///
/// # Errors
/// What is wrong and what to write.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    with_unit(text, &DURATIONS).map(Duration::from_millis).ok_or_else(|| {
        format!("`{text}` is no duration: write a whole number and a unit, for instance 500ms, 30s or 5m")
    })
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_')?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.replace('_', "").parse().ok()?;
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))?;
    number.checked_mul(*factor)
}

/// Bytes as a person reads them: `256 KiB`, `2.8 GiB`.
// Only binary units: one way to write a size is enough.
pub fn format_size(bytes: u64) -> String {
    let (unit, factor) =
        SIZES.into_iter().filter(|(name, _)| name.len() != 2).find(|(_, f)| bytes >= *f).unwrap_or(("B", 1));
    if bytes.is_multiple_of(factor) {
        format!("{} {unit}", bytes / factor)
    } else {
        format!("{:.1} {unit}", bytes as f64 / factor as f64)
    }
}

/// A duration as a person writes it: `500ms`, `30s`.
pub(super) fn format_duration(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("4 GiB"), Ok(4 << 30));
        assert_eq!(parse_size("256kib"), Ok(256 << 10));
        assert_eq!(parse_size("1_500 B"), Ok(1500));
        assert_eq!(parse_size("2 MB"), Ok(2_000_000));
        for bad in ["", "4", "GiB", "-1 GiB", "1.5 GiB", "4 Gib/s", "99999999999 GiB", "é", "4 GiB 2"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("5 m"), Ok(Duration::from_secs(300)));
        for bad in ["", "30", "s", "1.5s", "-3s", "99999999999999999h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_read_back() {
        assert_eq!(format_size(256 << 10), "256 KiB");
        assert_eq!(format_size(3_000_000_000), "2.8 GiB");
        assert_eq!(format_size(12), "12 B");
        assert_eq!(format_size(0), "0 B");
    }
}
