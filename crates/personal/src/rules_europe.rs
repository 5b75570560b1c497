//! Identity numbers of European countries: forms and checks.
//!
//! Facts from the issuers' publications and the behaviour of Presidio's recognisers (presidio-analyzer 2.2, MIT).

use crate::bytes::{Compact, number};
use crate::checks::{is_date, is_uniform, luhn, mod_11_10, value, weighted};
use crate::kind::Kind::*;
use crate::rules::Verdict::{self, *};
use crate::rules::flags::{LOOSE_START, NO_HYPHEN, SAME_SEPARATOR};
use crate::rules::{Rule, form_only, rule};

#[rustfmt::skip]
pub(crate) const RULES: &[Rule] = &[
    rule(DeTaxId, r"[1-9]\d{10}", (0.0, 0.4), de_tax_id, 0),
    rule(DeVatId, r"DE[ .-]?\d{3}[ .-]?\d{3}[ .-]?\d{3}", (0.35, 0.8), de_vat_id, 0),
    rule(DeSocialSecurity, r"\d{8}[A-Z]\d{3}", (0.0, 0.8), de_social_security, 0),
    rule(DeHealthInsurance, r"[A-Z]\d{9}", (0.0, 0.45), de_health_insurance, 0),
    rule(DePassport, r"[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{7}\d", (0.0, 0.4), de_document, 0),
    rule(DeIdCard, r"[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{7}\d", (0.2, 0.4), de_id_card, 0),
    rule(DeFuehrerschein, r"[A-Z]{2}\d{8}[A-Z0-9]", (0.3, 0.3), form_only, 0),
    rule(DeHandelsregister, r"HR[AB] ?\d{1,6}", (0.6, 0.6), form_only, 0),
    rule(DeTaxNumber, r"[01]\d{12}", (0.3, 0.3), de_elster, 0),
    rule(DeTaxNumber, r"\d{3}/\d{3}/\d{5}", (0.4, 0.4), form_only, 0),
    rule(DeTaxNumber, r"\d{2,3}/\d{3,4}/\d{4,5}", (0.3, 0.3), form_only, 0),
    rule(DeLanr, r"\d{9}", (0.0, 0.2), de_lanr, 0),
    rule(DeBsnr, r"\d{9}", (0.1, 0.1), |raw| if raw == b"000000000" { Invalid } else { Possible }, 0),
    rule(DeKfz, r"[A-Z]{1,3}[ -][A-Z]{1,2}[ -]\d{1,4}[EH]?", (0.2, 0.2), de_plate, NO_HYPHEN),
    rule(DePlz, r"\d{5}", (0.1, 0.1), de_plz, 0),
    rule(EsNie, r"[XYZ]\d{7,8}-?[A-Z]", (0.0, 0.8), es_nie, 0),
    rule(EsNif, r"\d{7,8}-?[A-Z]", (0.0, 0.45), es_nif, 0),
    rule(EsPassport, r"[A-Z]{3}\d{6}", (0.1, 0.1), form_only, 0),
    rule(FiPersonalIdentityCode, r"\d{6}[+-]\d{3}[0-9A-Y]", (0.0, 0.85), fi_code, LOOSE_START),
    rule(FiPersonalIdentityCode, r"\d{6}[A-FU-Y]\d{3}[0-9A-Y]", (0.0, 0.85), fi_code, LOOSE_START),
    rule(FrNir, r"[1278]\d{5}[0-9AB]\d{8}", (0.0, 0.4), fr_nir, 0),
    rule(FrNir, r"[1278] \d{2} \d{2} \d[0-9AB] \d{3} \d{3} ?\d{2}", (0.0, 0.85), fr_nir, 0),
    rule(ItFiscalCode, r"[A-Z]{6}[0-9LMNP-V]{2}[A-EHLMPR-T][0-9LMNP-V]{2}[A-Z][0-9LMNP-V]{3}[A-Z]", (0.3, 0.9), it_fiscal_code, 0),
    rule(ItVatCode, r"\d{5,11}[ _]?\d{0,6}", (0.0, 0.3), it_vat, 0),
    rule(ItDriverLicense, r"[A-Z]{2}\d{7}[A-Z]", (0.2, 0.2), form_only, 0),
    rule(ItDriverLicense, r"U1[BCDEFGHLJKMNPRSTUWYXZ0-9]{7}[A-Z]", (0.25, 0.25), form_only, 0),
    rule(ItIdentityCard, r"[A-Z]{2} ?\d{7}", (0.1, 0.1), form_only, 0),
    rule(ItIdentityCard, r"\d{7}[A-Z]{2}", (0.1, 0.1), form_only, 0),
    rule(ItIdentityCard, r"[A-Z]{2}\d{5}[A-Z]{2}", (0.15, 0.15), form_only, 0),
    rule(ItPassport, r"[A-Z]{2}\d{7}", (0.1, 0.1), form_only, 0),
    rule(NlBsn, r"\d{9}", (0.0, 0.2), nl_bsn, 0),
    rule(PlPesel, r"\d{11}", (0.0, 0.4), pl_pesel, 0),
    rule(SePersonnummer, r"\d{6,8}[+-]?\d{4}", (0.0, 0.4), se_personnummer, LOOSE_START),
    rule(SeOrganisationsnummer, r"\d{6}-?\d{4}", (0.0, 0.35), se_organisation, 0),
    rule(TrNationalId, r"[1-9]\d{10}", (0.0, 0.45), tr_national_id, 0),
    rule(TrLicensePlate, r"\d{2} ?[A-PR-VY-Z]{1,3} ?\d{2,4}", (0.15, 0.15), tr_plate, 0),
    rule(TrLicensePlate, r"\d{2}-[A-PR-VY-Z]{1,3}-\d{2,4}", (0.15, 0.15), tr_plate, 0),
    rule(UkNhs, r"\d{3}[ -]?\d{3}[ -]?\d{4}", (0.0, 0.4), uk_nhs, SAME_SEPARATOR),
    rule(UkNino, r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]", (0.6, 0.6), uk_nino, 0),
    rule(UkPassport, r"[A-Z]{2}\d{7}", (0.1, 0.1), form_only, 0),
    rule(UkDrivingLicence, r"[A-Z9]{5}\d{6}[A-Z9]{2}[A-Z0-9][A-Z]{2}", (0.7, 0.7), uk_driving_licence, 0),
    rule(UkPostcode, r"[A-PR-UWYZ]\d[ABCDEFGHJKPSTUW]? ?\d[ABD-HJLNP-UW-Z]{2}", (0.35, 0.35), form_only, 0),
    rule(UkPostcode, r"[A-PR-UWYZ]\d{2} ?\d[ABD-HJLNP-UW-Z]{2}", (0.35, 0.35), form_only, 0),
    rule(UkPostcode, r"[A-PR-UWYZ][A-HK-Y]\d[ABEHMNPRVWXY]? ?\d[ABD-HJLNP-UW-Z]{2}", (0.4, 0.4), form_only, 0),
    rule(UkPostcode, r"[A-PR-UWYZ][A-HK-Y]\d{2} ?\d[ABD-HJLNP-UW-Z]{2}", (0.4, 0.4), form_only, 0),
    rule(UkPostcode, r"GIR ?0AA", (0.6, 0.6), form_only, 0),
    rule(UkVehicleRegistration, r"[A-HJ-PR-Y]{2}[0-7]\d[ -]?[A-HJ-PR-Z]{3}", (0.25, 0.25), uk_plate, 0),
    rule(UkVehicleRegistration, r"[A-HJ-NPR-TV-Y]\d{1,3}[ -]?[A-HJ-PR-Y][A-HJ-PR-Z]{2}", (0.05, 0.05), form_only, 0),
    rule(UkVehicleRegistration, r"[A-HJ-PR-Z]{3}[ -]?\d{1,3}[ -]?[A-HJ-NPR-TV-Y]", (0.05, 0.05), form_only, 0),
];

fn de_tax_id(raw: &[u8]) -> Verdict {
    // One digit of the first ten may occur two or three times, never more.
    let most = (b'0'..=b'9').map(|digit| raw[..10].iter().filter(|byte| **byte == digit).count()).max();
    (most.is_some_and(|count| count <= 3) && mod_11_10(raw)).into()
}

fn de_vat_id(raw: &[u8]) -> Verdict {
    if mod_11_10(Compact::digits_of(raw).as_bytes()) { Valid } else { Possible }
}

/// The letter becomes two digits; products are replaced by their digit sums.
fn de_social_security(raw: &[u8]) -> Verdict {
    const WEIGHTS: [u32; 12] = [2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1];
    let (day, month) = (number(&raw[2..4]), number(&raw[4..6]));
    if !(1..=31).contains(&day) && !(51..=81).contains(&day) || !(1..=12).contains(&month) {
        return Invalid;
    }
    let letter = u32::from(raw[8].to_ascii_uppercase() - b'A') + 1;
    let digits = raw[..8].iter().map(|byte| value(*byte)).chain([letter / 10, letter % 10]);
    let digits = digits.chain(raw[9..11].iter().map(|byte| value(*byte)));
    let sum: u32 = digits.zip(WEIGHTS).map(|(digit, weight)| digit * weight).map(|x| x / 10 + x % 10).sum();
    (sum % 10 == value(raw[11])).into()
}

fn de_health_insurance(raw: &[u8]) -> Verdict {
    let letter = u32::from(raw[0].to_ascii_uppercase() - b'A') + 1;
    let digits = [letter / 10, letter % 10].into_iter().chain(raw[1..9].iter().map(|byte| value(*byte)));
    let doubled = digits.enumerate().map(|(index, digit)| digit * (1 + index as u32 % 2));
    (doubled.map(|x| x / 10 + x % 10).sum::<u32>() % 10 == value(raw[9])).into()
}

/// ICAO 9303: weights 7, 3, 1.
fn de_document(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    let characters = compact.as_bytes();
    let sum = weighted(&characters[..8], &[7, 3, 1, 7, 3, 1, 7, 3]);
    (sum % 10 == value(characters[8])).into()
}

fn de_id_card(raw: &[u8]) -> Verdict {
    let is_old = raw[0].eq_ignore_ascii_case(&b'T') && raw[1..].iter().all(u8::is_ascii_digit);
    if is_old { Possible } else { de_document(raw) }
}

fn de_elster(raw: &[u8]) -> Verdict {
    if (1..=16).contains(&number(&raw[..2])) { Possible } else { Invalid }
}

fn de_lanr(raw: &[u8]) -> Verdict {
    let sum = weighted(&raw[..6], &[4, 9, 4, 9, 4, 9]);
    ((10 - sum % 10) % 10 == value(raw[6])).into()
}

fn de_plate(raw: &[u8]) -> Verdict {
    // `A-BC 12` and `A BC 12` are written, `A BC-12` is not.
    let mut separators = raw.iter().filter(|byte| !byte.is_ascii_alphanumeric());
    match (separators.next(), separators.next()) {
        (Some(b' '), Some(b'-')) => Invalid,
        _ => Possible,
    }
}

fn de_plz(raw: &[u8]) -> Verdict {
    if matches!(number(raw), 1001..=99_998) { Possible } else { Invalid }
}

const ES_LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";

fn es_nie(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    let characters = compact.as_bytes();
    let Some((letter, digits)) = characters[1..].split_last() else { return Invalid };
    if digits.len() != 7 && digits.len() != 6 {
        return Invalid;
    }
    let scale = 10u64.pow(digits.len() as u32);
    let full = u64::from(characters[0] - b'X') * scale + number(digits);
    (*letter == ES_LETTERS[(full % 23) as usize]).into()
}

fn es_nif(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    let Some((letter, digits)) = compact.as_bytes().split_last() else { return Invalid };
    (*letter == ES_LETTERS[(number(digits) % 23) as usize]).into()
}

fn fi_code(raw: &[u8]) -> Verdict {
    const CHARACTERS: &[u8; 31] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let century = match raw[6].to_ascii_uppercase() {
        b'+' => 1800,
        b'-' | b'U'..=b'Y' => 1900,
        _ => 2000,
    };
    if !is_date(century + number(&raw[4..6]), number(&raw[2..4]), number(&raw[..2])) {
        return Invalid;
    }
    let full = number(&raw[..6]) * 1000 + number(&raw[7..10]);
    (raw[10].to_ascii_uppercase() == CHARACTERS[(full % 31) as usize]).into()
}

/// 97 − (number mod 97); Corsica's 2A and 2B count as 19 and 18.
fn fr_nir(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    let mut digits = [0u8; 15];
    digits.copy_from_slice(compact.as_bytes());
    match (digits[5], digits[6]) {
        (b'2', b'A') => (digits[5], digits[6]) = (b'1', b'9'),
        (b'2', b'B') => (digits[5], digits[6]) = (b'1', b'8'),
        (_, b'A' | b'B') => return Invalid,
        _ => {}
    }
    let month = number(&digits[3..5]);
    if !(1..=12).contains(&month) && !(20..=42).contains(&month) && !(50..=99).contains(&month) {
        return Invalid;
    }
    (97 - number(&digits[..13]) % 97 == number(&digits[13..])).into()
}

fn it_fiscal_code(raw: &[u8]) -> Verdict {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let compact = Compact::of(raw);
    let characters = compact.as_bytes();
    if !it_name_part(&characters[..3]) || !it_name_part(&characters[3..6]) || !it_date_part(&characters[6..11]) {
        return Invalid;
    }
    let index = |byte: u8| if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' };
    let sum: u32 = characters[..15]
        .iter()
        .enumerate()
        .map(|(place, byte)| if place % 2 == 0 { ODD[usize::from(index(*byte))] } else { u32::from(index(*byte)) })
        .sum();
    if sum % 26 == u32::from(characters[15] - b'A') { Valid } else { Possible }
}

/// Three letters taken from a name: consonants first, then vowels, then X.
fn it_name_part(letters: &[u8]) -> bool {
    let vowel = |byte: u8| matches!(byte, b'A' | b'E' | b'I' | b'O' | b'U');
    match (vowel(letters[0]), vowel(letters[1])) {
        (false, false) => true,
        (_, true) => vowel(letters[2]) || letters[2] == b'X',
        (true, false) => letters[1] == b'X' && letters[2] == b'X',
    }
}

/// Year, month letter, day (40 more for women); letters may stand for digits.
fn it_date_part(characters: &[u8]) -> bool {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => u64::from(byte - b'0'),
        b'L'..=b'N' => u64::from(byte - b'L'),
        b'P'..=b'V' => u64::from(byte - b'P') + 3,
        _ => 99,
    };
    let Some(month) = b"ABCDEHLMPRST".iter().position(|letter| *letter == characters[2]) else { return false };
    let day = digit(characters[3]) * 10 + digit(characters[4]);
    let day = if day > 40 { day - 40 } else { day };
    let year = digit(characters[0]) * 10 + digit(characters[1]);
    is_date(1900 + year, month as u64 + 1, day) || is_date(2000 + year, month as u64 + 1, day)
}

fn it_vat(raw: &[u8]) -> Verdict {
    let compact = Compact::digits_of(raw);
    let digits = compact.as_bytes();
    (digits.len() == 11 && !is_uniform(digits) && luhn(digits)).into()
}

fn nl_bsn(raw: &[u8]) -> Verdict {
    let sum = weighted(&raw[..8], &[9, 8, 7, 6, 5, 4, 3, 2]);
    (sum % 11 == value(raw[8]) && !is_uniform(raw)).into()
}

fn pl_pesel(raw: &[u8]) -> Verdict {
    let month = number(&raw[2..4]) % 20;
    if !(1..=12).contains(&month) || !(1..=31).contains(&number(&raw[4..6])) {
        return Invalid;
    }
    let sum = weighted(&raw[..10], &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]);
    ((10 - sum % 10) % 10 == value(raw[10])).into()
}

fn se_personnummer(raw: &[u8]) -> Verdict {
    let compact = Compact::digits_of(raw);
    let digits = compact.as_bytes();
    if digits.len() == 11 {
        return Invalid;
    }
    let digits = &digits[digits.len() - 10..];
    let day = number(&digits[4..6]);
    // Coordination numbers add 60 to the day.
    let day = if day > 60 { day - 60 } else { day };
    ((1..=12).contains(&number(&digits[2..4])) && (1..=31).contains(&day) && luhn(digits)).into()
}

fn se_organisation(raw: &[u8]) -> Verdict {
    let compact = Compact::digits_of(raw);
    let digits = compact.as_bytes();
    (digits[2] >= b'2' && luhn(digits)).into()
}

fn tr_national_id(raw: &[u8]) -> Verdict {
    let sum = |from: usize, to: usize| raw[from..to].iter().step_by(2).map(|byte| value(*byte)).sum::<u32>();
    let tenth = (sum(0, 9) * 7 + 100 - sum(1, 8)) % 10;
    let eleventh = raw[..10].iter().map(|byte| value(*byte)).sum::<u32>() % 10;
    (tenth == value(raw[9]) && eleventh == value(raw[10])).into()
}

fn tr_plate(raw: &[u8]) -> Verdict {
    if (1..=81).contains(&number(&raw[..2])) { Possible } else { Invalid }
}

fn uk_nhs(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    let digits = compact.as_bytes();
    let sum = weighted(digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    (sum.is_multiple_of(11) && !is_uniform(digits)).into()
}

fn uk_nino(raw: &[u8]) -> Verdict {
    let prefix = [raw[0].to_ascii_uppercase(), raw[1].to_ascii_uppercase()];
    let barred = [*b"BG", *b"GB", *b"NK", *b"KN", *b"NT", *b"TN", *b"ZZ"];
    if barred.contains(&prefix) { Invalid } else { Possible }
}

/// Surname padded with nines, then the date of birth (50 more to a woman's month).
fn uk_driving_licence(raw: &[u8]) -> Verdict {
    let letters = raw[..5].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let month = number(&raw[6..8]);
    let sound = letters > 0
        && raw[letters..5].iter().all(|byte| *byte == b'9')
        && ((1..=12).contains(&month) || (51..=62).contains(&month))
        && (1..=31).contains(&number(&raw[8..10]));
    if sound { Possible } else { Invalid }
}

fn uk_plate(raw: &[u8]) -> Verdict {
    let age = number(&raw[2..4]);
    if (2..=29).contains(&age) || (51..=79).contains(&age) { Possible } else { Invalid }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_examples() {
        assert_eq!(fr_nir(b"255081416802538"), Valid);
        assert_eq!(nl_bsn(b"111222333"), Valid);
    }
}
