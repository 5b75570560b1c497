//! Chinese number plates, which begin with a Han character, entered at the letters and digits after it.

use crate::bytes::word_after;
use crate::finding::Finding;
use crate::kind::Kind;
use crate::rules_china::PLATE_PROVINCES;
use crate::scan::Scan;

/// A plate such as `京A12345`, `粤B·D12345` whose letters and digits are (or end with) the run `start..end`.
pub(crate) fn plate(scan: &mut Scan<'_>, start: usize, end: usize) {
    let text = scan.text;
    let dot = "·".as_bytes();
    // `A12345`, or the `12345` behind a dot or space.
    let (letter, number) = if start >= 3 && text[..start].ends_with(dot) && text[start - 3].is_ascii_uppercase() {
        (start - 3, start)
    } else if start >= 2 && text[start - 1] == b' ' && text[start - 2].is_ascii_uppercase() {
        (start - 2, start)
    } else {
        (start, start + 1)
    };
    let serial = &text[number.min(end)..end];
    if letter < 3 || !matches!(serial.len(), 5 | 6) || !text[letter].is_ascii_uppercase() {
        return;
    }
    let province = &text[letter - 3..letter];
    let known = PLATE_PROVINCES.as_bytes().chunks_exact(3).any(|listed| listed == province);
    let digits = serial.iter().filter(|byte| byte.is_ascii_digit()).count();
    let sound = serial.iter().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()) && digits >= 3;
    if known && sound && !word_after(text, end) {
        let (kind, start) = (Kind::CnVehicleRegistration, letter - 3);
        scan.note(Finding { kind, start, end, score: 0.75, checked: false, rule: "cn-plate" });
    }
}
