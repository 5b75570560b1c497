//! Numbers as people read them.

/// Bytes in binary units: `512 B`, `4.2 MiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A count with thousands separated: `13,083`.
#[must_use]
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration: `38 ms`, `4.1 s`, `3 min 20 s`, `2 h 05 min`.
#[must_use]
pub fn seconds(value: f64) -> String {
    let value = value.max(0.0);
    if value < 1.0 {
        return format!("{:.0} ms", value * 1000.0);
    }
    if value < 60.0 {
        return format!("{value:.1} s");
    }
    let whole = value.round() as u64;
    if whole < 3600 {
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else {
        format!("{} h {:02} min", whole / 3600, whole % 3600 / 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_can_read_them() {
        assert_eq!(count(0), "0");
        assert_eq!(count(13_083), "13,083");
        assert_eq!(count(1_000_000), "1,000,000");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(seconds(0.0384), "38 ms");
        assert_eq!(seconds(200.2), "3 min 20 s");
        assert_eq!(seconds(7500.0), "2 h 05 min");
    }
}
