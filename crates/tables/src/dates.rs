//! Dates in text: the forms that mean one day only, as seconds since 1970-01-01T00:00:00Z.
//!
//! Known: `2024-05-06`, `2024/05/06`, `2024年5月6日`, each alone or followed by `T` or a space, a time
//! `15:04`, `15:04:05` or `15:04:05.678`, and `Z` or an offset `+08:00`. Forms in which day and month
//! could be either (`05/06/2024`) are not read. Without an offset a time counts as UTC.

/// Seconds since 1970, or none where the text is no date.
#[must_use]
pub fn seconds(text: &str) -> Option<i64> {
    let text = text.trim();
    if text.len() < 8 || text.len() > 40 || !text.as_bytes()[..4].iter().all(u8::is_ascii_digit) {
        return None;
    }
    let year: i64 = text.get(..4)?.parse().ok()?;
    let mut rest = text.get(4..)?;
    let (month, day);
    if let Some(after) = rest.strip_prefix('年') {
        (month, rest) = number(after, 1, 2)?;
        (day, rest) = number(rest.strip_prefix('月')?, 1, 2)?;
        rest = rest.strip_prefix('日')?;
    } else {
        let mark = rest.chars().next().filter(|mark| matches!(mark, '-' | '/'))?;
        (month, rest) = number(rest.strip_prefix(mark)?, 1, 2)?;
        (day, rest) = number(rest.strip_prefix(mark)?, 1, 2)?;
    }
    let days = days_since_1970(year, month, day)?;
    let time = if rest.is_empty() { 0 } else { time(rest)? };
    Some(days * 86_400 + time)
}

/// A day as `2024-05-06`, with the time where it is not midnight.
#[must_use]
pub fn show(seconds: i64) -> String {
    // Howard Hinnant's civil_from_days.
    let days = seconds.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let time = seconds.rem_euclid(86_400);
    let date = format!("{year:04}-{month:02}-{day:02}");
    if time == 0 {
        return date;
    }
    format!("{date}T{:02}:{:02}:{:02}Z", time / 3600, time / 60 % 60, time % 60)
}

fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let most = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    if !(1..=most).contains(&day) {
        return None;
    }
    // Howard Hinnant's days_from_civil.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468)
}

/// A number of `least` to `most` digits, and what follows.
fn number(text: &str, least: usize, most: usize) -> Option<(i64, &str)> {
    let digits = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    (digits >= least).then(|| text[..digits].parse().ok().map(|value| (value, &text[digits..])))?
}

fn time(text: &str) -> Option<i64> {
    let text = text.strip_prefix(['T', 't', ' '])?;
    let (hour, rest) = number(text, 1, 2)?;
    let (minute, mut rest) = number(rest.strip_prefix(':')?, 2, 2)?;
    let mut second = 0;
    if let Some(after) = rest.strip_prefix(':') {
        (second, rest) = number(after, 2, 2)?;
        if let Some(fraction) = rest.strip_prefix(['.', ',']) {
            (_, rest) = number(fraction, 1, 9)?;
        }
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let offset = match rest.trim_start() {
        "" | "Z" | "z" => 0,
        other => {
            let sign = if other.starts_with('+') { 1 } else { -1 };
            let (hours, rest) = number(other.strip_prefix(['+', '-'])?, 2, 2)?;
            let (minutes, rest) = number(rest.strip_prefix(':').unwrap_or(rest), 2, 2)?;
            if !rest.is_empty() || hours > 23 || minutes > 59 {
                return None;
            }
            sign * (hours * 3600 + minutes * 60)
        }
    };
    Some(hour * 3600 + minute * 60 + second - offset)
}
