//! Identity numbers of mainland China, Hong Kong and Taiwan: forms and checks.
//!
//! GB 11643-1999 (resident identity number), GB 32100-2015 (unified social credit code), GB/T 2260 (regions), GA 36-2018 (plates).

use crate::bytes::{Compact, number};
use crate::checks::{is_date, is_uniform, mod_11_2, value, weighted};
use crate::kind::Kind::*;
use crate::rules::Verdict::{self, *};
use crate::rules::{Rule, form_only, rule};

#[rustfmt::skip]
pub(crate) const RULES: &[Rule] = &[
    rule(CnResidentId, r"[1-9]\d{16}[0-9X]", (0.0, 0.95), cn_resident, 0),
    rule(CnResidentId, r"[1-9]\d{5} \d{4} ?\d{4} \d{3}[0-9X]", (0.0, 0.95), cn_resident, 0),
    rule(CnResidentId, r"[1-9]\d{5} \d{8} \d{3}[0-9X]", (0.0, 0.95), cn_resident, 0),
    rule(CnResidentId, r"[1-9]\d{14}", (0.3, 0.3), cn_resident_old, 0),
    rule(CnCreditCode, r"[1-9AN-Y][1-9]\d{6}[0-9A-HJ-NP-RTUW-Y]{10}", (0.0, 0.9), cn_credit_code, 0),
    rule(CnPassport, r"E[A-HJ-NP-Z0-9]\d{7}", (0.3, 0.3), form_only, 0),
    rule(CnPassport, r"[DGPS][ED]?\d{7,8}", (0.15, 0.15), form_only, 0),
    rule(CnHkMacauPermit, r"[HM]\d{8}", (0.15, 0.15), form_only, 0),
    rule(CnHkMacauPermit, r"[HM]\d{10}", (0.3, 0.3), form_only, 0),
    rule(CnHkMacauPermit, r"[CW][A-HJ-NP-Z0-9]\d{7}", (0.15, 0.15), form_only, 0),
    rule(CnTaiwanPermit, r"\d{8}", (0.1, 0.1), form_only, 0),
    rule(CnTaiwanPermit, r"[TL][A-HJ-NP-Z0-9]\d{7}", (0.15, 0.15), form_only, 0),
    rule(HkId, r"[A-Z]{1,2}\d{6}[0-9A]", (0.0, 0.3), hk_id, 0),
    rule(HkId, r"[A-Z]{1,2}\d{6}[(][0-9A][)]", (0.0, 0.85), hk_id, 0),
    rule(TwId, r"[A-Z][12]\d{8}", (0.0, 0.45), tw_id, 0),
];

/// True for the provincial part of an administrative code.
fn is_province(digits: &[u8]) -> bool {
    matches!(number(&digits[..2]), 11..=15 | 21..=23 | 31..=37 | 41..=46 | 50..=54 | 61..=65 | 71 | 81..=83 | 91)
}

/// Region, date of birth, order, check character.
fn cn_resident(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    let id = compact.as_bytes();
    let year = number(&id[6..10]);
    let dated = (1850..=2100).contains(&year) && is_date(year, number(&id[10..12]), number(&id[12..14]));
    (is_province(id) && dated && mod_11_2(id)).into()
}

/// The old form without century and check character; lived only by people born in the 20th century.
fn cn_resident_old(raw: &[u8]) -> Verdict {
    let date = is_date(1900 + number(&raw[6..8]), number(&raw[8..10]), number(&raw[10..12]));
    if is_province(raw) && date { Possible } else { Invalid }
}

/// The alphabet of GB 32100; a character's place is its value.
const CODE_ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";

fn cn_credit_code(raw: &[u8]) -> Verdict {
    const WEIGHTS: [u32; 17] = [1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28];
    let compact = Compact::of(raw);
    let code = compact.as_bytes();
    if !is_province(&code[2..8]) || is_uniform(&code[8..17]) {
        return Invalid;
    }
    let mut sum = 0;
    for (byte, weight) in code.iter().zip(WEIGHTS) {
        let Some(place) = CODE_ALPHABET.iter().position(|letter| letter == byte) else { return Invalid };
        sum += place as u32 * weight;
    }
    (CODE_ALPHABET[((31 - sum % 31) % 31) as usize] == code[17]).into()
}

/// One or two letters, six digits, a check character modulo 11; one letter counts as if a space came before.
fn hk_id(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    let id = compact.as_bytes();
    let letters = id.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let first = if letters == 1 { 36 * 9 } else { value(id[0]) * 9 };
    let sum = first + weighted(&id[letters - 1..id.len() - 1], &[8, 7, 6, 5, 4, 3, 2]);
    let expected = (11 - sum % 11) % 11;
    let check = id[id.len() - 1];
    (if expected == 10 { check == b'A' } else { check.is_ascii_digit() && value(check) == expected }).into()
}

/// The letter becomes two digits by the order of counties; weights 1, 9, 8 … 1, 1.
fn tw_id(raw: &[u8]) -> Verdict {
    const ORDER: &[u8; 26] = b"ABCDEFGHJKLMNPQRSTUVXYWZIO";
    let compact = Compact::of(raw);
    let id = compact.as_bytes();
    let Some(place) = ORDER.iter().position(|letter| *letter == id[0]) else { return Invalid };
    let code = place as u32 + 10;
    let sum = code / 10 + code % 10 * 9 + weighted(&id[1..], &[8, 7, 6, 5, 4, 3, 2, 1, 1]);
    sum.is_multiple_of(10).into()
}

/// The province of a plate, as the first character writes it.
pub(crate) const PLATE_PROVINCES: &str = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_examples() {
        assert_eq!(cn_resident(b"11010519491231002X"), Valid);
        assert_eq!(cn_resident(b"110105194912310020"), Invalid);
        assert_eq!(cn_resident(b"440524188001010014"), Valid);
        assert_eq!(cn_credit_code(b"91350100M000100Y43"), Valid);
        assert_eq!(cn_credit_code(b"91350100M000100Y44"), Invalid);
        assert_eq!(hk_id(b"A1234563"), Valid);
        assert_eq!(hk_id(b"A1234564"), Invalid);
        assert_eq!(tw_id(b"A123456789"), Valid);
        assert_eq!(tw_id(b"A123456788"), Invalid);
    }
}
