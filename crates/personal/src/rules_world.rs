//! Identity numbers of the Americas, Africa, Asia and Australia: forms and checks. China is in `rules_china`.
//!
//! Facts from the issuers' publications and the behaviour of Presidio's recognisers (presidio-analyzer 2.2, MIT).

use crate::bytes::{Compact, number};
use crate::checks::{is_date, is_short_date, is_uniform, luhn, value, verhoeff, weighted};
use crate::kind::Kind::*;
use crate::rules::Verdict::{self, *};
use crate::rules::flags::{LOOSE_START, SAME_SEPARATOR};
use crate::rules::{Rule, form_only, rule};

#[rustfmt::skip]
pub(crate) const RULES: &[Rule] = &[
    rule(AbaRouting, r"[0-36-8]\d{8}", (0.0, 0.2), aba, 0),
    rule(AbaRouting, r"[0-36-8]\d{3}-\d{4}-\d", (0.0, 0.6), aba, 0),
    rule(AuAbn, r"\d{2} \d{3} \d{3} \d{3}", (0.0, 0.7), au_abn, 0),
    rule(AuAbn, r"\d{11}", (0.0, 0.35), au_abn, 0),
    rule(AuAcn, r"\d{3} \d{3} \d{3}", (0.0, 0.3), au_acn, 0),
    rule(AuAcn, r"\d{9}", (0.0, 0.2), au_acn, 0),
    rule(AuMedicare, r"[2-6]\d{3} \d{5} \d", (0.0, 0.6), au_medicare, 0),
    rule(AuMedicare, r"[2-6]\d{9}", (0.0, 0.2), au_medicare, 0),
    rule(AuTfn, r"\d{3} \d{3} \d{3}", (0.0, 0.3), au_tfn, 0),
    rule(AuTfn, r"\d{9}", (0.0, 0.2), au_tfn, 0),
    rule(BrCpf, r"\d{3}[.]\d{3}[.]\d{3}-\d{2}", (0.0, 0.9), br_cpf, 0),
    rule(BrCpf, r"\d{11}", (0.0, 0.35), br_cpf, 0),
    rule(CaSin, r"[1-79]\d{8}", (0.0, 0.2), ca_sin, 0),
    rule(CaSin, r"[1-79]\d{2}[ -]\d{3}[ -]\d{3}", (0.0, 0.4), ca_sin, SAME_SEPARATOR),
    rule(CaPostalCode, r"[ABCEGHJ-NPRSTVXY]\d[ABCEGHJ-NPRSTV-Z] ?\d[ABCEGHJ-NPRSTV-Z]\d", (0.4, 0.4), form_only, 0),
    rule(InAadhaar, r"[2-9]\d{11}", (0.0, 0.4), in_aadhaar, 0),
    rule(InAadhaar, r"[2-9]\d{3}[ :-]\d{4}[ :-]\d{4}", (0.0, 0.6), in_aadhaar, SAME_SEPARATOR),
    rule(InGstin, r"[0-3]\d[A-Z]{5}\d{4}[A-Z][0-9A-Z]Z[0-9A-Z]", (0.7, 0.9), in_gstin, 0),
    rule(InPan, r"[A-Z]{3}[ABCFGHJLPT][A-Z]\d{4}[A-Z]", (0.5, 0.5), form_only, 0),
    rule(InPan, r"[A-Z]{5}\d{4}[A-Z]", (0.3, 0.3), form_only, 0),
    rule(InPan, r"[A-Z0-9]{10}", (0.05, 0.05), in_pan_loose, 0),
    rule(InPassport, r"[A-Z][1-9]\d ?\d{4}[1-9]", (0.1, 0.1), form_only, 0),
    rule(InVoter, r"[A-Z]{3}\d{7}", (0.3, 0.3), form_only, 0),
    rule(InVehicleRegistration, r"[A-Z]{1,3}\d{4}", (0.05, 0.05), not_zeros, 0),
    rule(InVehicleRegistration, r"I\d{5}", (0.05, 0.05), not_zeros, 0),
    rule(InVehicleRegistration, r"[A-Z]{2}\d{1,2}[A-Z]{1,3}\d{4}", (0.2, 0.4), in_plate, 0),
    rule(InVehicleRegistration, r"\d{1,3}C[CD]\d{2,4}", (0.2, 0.2), form_only, 0),
    rule(InVehicleRegistration, r"[2-9]\dBH\d{4}[A-HJ-NP-Z]{2}", (0.6, 0.6), form_only, 0),
    rule(KrBrn, r"\d{3}-\d{2}-\d{5}", (0.0, 0.5), kr_brn, 0),
    rule(KrBrn, r"\d{10}", (0.0, 0.2), kr_brn, 0),
    rule(KrDriverLicense, r"\d{2}[ -]?\d{2}[ -]?\d{6}[ -]?\d{2}", (0.1, 0.1), kr_driver, 0),
    rule(KrRrn, r"\d{6}-[1-4]\d{6}", (0.6, 0.85), kr_resident, 0),
    rule(KrRrn, r"\d{6}[1-4]\d{6}", (0.1, 0.45), kr_resident, 0),
    rule(KrFrn, r"\d{6}-[5-8]\d{6}", (0.6, 0.85), kr_foreigner, 0),
    rule(KrFrn, r"\d{6}[5-8]\d{6}", (0.1, 0.45), kr_foreigner, 0),
    rule(KrPassport, r"[MSROD]\d{3}[A-Z]\d{4}", (0.3, 0.3), form_only, 0),
    rule(KrPassport, r"[MSROD]\d{8}", (0.1, 0.1), form_only, 0),
    rule(MedicalLicense, r"[A-HJ-MPRSTUX][A-Z9]\d{7}", (0.0, 0.45), us_dea, LOOSE_START),
    rule(NgNin, r"\d{11}", (0.0, 0.2), |raw| verhoeff(raw).into(), 0),
    rule(NgVehicleRegistration, r"[A-Z]{3}[ -]?\d{3}[A-Z]{2}", (0.2, 0.2), form_only, 0),
    rule(PhTin, r"\d{3}-\d{3}-\d{3}", (0.0, 0.4), ph_tin, 0),
    rule(PhTin, r"\d{3}-\d{3}-\d{3}-\d{3}", (0.0, 0.5), ph_tin, 0),
    rule(PhTin, r"\d{9}", (0.0, 0.15), ph_tin, 0),
    rule(PhTin, r"\d{12}", (0.0, 0.15), ph_tin, 0),
    rule(PhUmid, r"\d{4}-\d{7}-\d", (0.5, 0.5), form_only, 0),
    rule(PhUmid, r"\d{12}", (0.1, 0.1), form_only, 0),
    rule(SgNricFin, r"[STFGM]\d{7}[A-Z]", (0.3, 0.85), sg_nric, 0),
    rule(SgNricFin, r"[A-Z]\d{7}[A-Z]", (0.1, 0.1), form_only, 0),
    rule(SgUen, r"\d{8,9}[A-Z]", (0.0, 0.4), sg_uen, 0),
    rule(SgUen, r"[TSR]\d{2}[A-Z]{2}\d{4}[A-Z]", (0.0, 0.8), sg_uen, 0),
    rule(ThTnin, r"[1-9]\d{12}", (0.0, 0.4), th_tnin, 0),
    rule(UsBankNumber, r"\d{8,17}", (0.1, 0.1), form_only, 0),
    rule(UsDriverLicense, r"[A-Z]\d{1,14}", (0.1, 0.1), us_license, 0),
    rule(UsDriverLicense, r"[A-Z]\d{18}", (0.2, 0.2), form_only, 0),
    rule(UsDriverLicense, r"[A-Z]{2}\d{3,7}", (0.1, 0.1), us_license, 0),
    rule(UsDriverLicense, r"\d{2}[A-Z]{3}\d{5,6}", (0.15, 0.15), form_only, 0),
    rule(UsDriverLicense, r"[A-Z]\d{6}R", (0.15, 0.15), form_only, 0),
    rule(UsDriverLicense, r"\d{7,9}[A-Z]", (0.1, 0.1), form_only, 0),
    rule(UsDriverLicense, r"[A-Z]{2}\d{6}[A-Z]", (0.15, 0.15), form_only, 0),
    rule(UsDriverLicense, r"\d{8}[A-Z]{2}", (0.15, 0.15), form_only, 0),
    rule(UsDriverLicense, r"\d{3}[A-Z]{2}\d{4}", (0.15, 0.15), form_only, 0),
    rule(UsDriverLicense, r"[A-Z]\d[A-Z]\d[A-Z]", (0.1, 0.1), form_only, 0),
    rule(UsDriverLicense, r"\d{6,14}", (0.1, 0.1), form_only, 0),
    rule(UsDriverLicense, r"\d{16}", (0.1, 0.1), form_only, 0),
    rule(UsItin, r"9\d{2}[ -]?\d{2}[ -]?\d{4}", (0.4, 0.4), us_itin, 0),
    rule(UsMbi, r"[1-9][AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]\d-?[AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]\d-?[AC-HJKMNP-RT-Y]{2}\d{2}", (0.6, 0.6), form_only, 0),
    rule(UsNpi, r"[12]\d{9}", (0.0, 0.25), us_npi, 0),
    rule(UsNpi, r"[12]\d{3}[ -]\d{3}[ -]\d{3}", (0.0, 0.6), us_npi, 0),
    rule(UsPassport, r"[0-9A-Z]\d{8}", (0.1, 0.1), form_only, 0),
    rule(UsSsn, r"\d{3}[ .-]\d{2}[ .-]\d{4}", (0.6, 0.6), us_ssn, SAME_SEPARATOR),
    rule(UsSsn, r"\d{5}-\d{4}", (0.1, 0.1), us_ssn, 0),
    rule(UsSsn, r"\d{3}-\d{6}", (0.1, 0.1), us_ssn, 0),
    rule(UsSsn, r"\d{9}", (0.1, 0.1), us_ssn, 0),
    rule(ZaIdNumber, r"\d{10}[0-2][89]\d", (0.0, 0.6), za_id, 0),
];

fn aba(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    let digits = compact.as_bytes();
    (weighted(digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10) && !is_uniform(digits)).into()
}

/// One is taken from the first digit before weighting.
fn au_abn(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    let sum = weighted(compact.as_bytes(), &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
    (compact.as_bytes()[0] != b'0' && (sum - 10).is_multiple_of(89)).into()
}

fn au_acn(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    let digits = compact.as_bytes();
    let sum = weighted(&digits[..8], &[8, 7, 6, 5, 4, 3, 2, 1]);
    ((10 - sum % 10) % 10 == value(digits[8])).into()
}

fn au_medicare(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    let digits = compact.as_bytes();
    (weighted(&digits[..8], &[1, 3, 7, 9, 1, 3, 7, 9]) % 10 == value(digits[8])).into()
}

fn au_tfn(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    weighted(compact.as_bytes(), &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11).into()
}

fn br_cpf(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    let digits = compact.as_bytes();
    let check = |count: u32| {
        let weights: [u32; 10] = std::array::from_fn(|index| (count + 1).saturating_sub(index as u32));
        weighted(&digits[..count as usize], &weights) * 10 % 11 % 10
    };
    (!is_uniform(digits) && check(9) == value(digits[9]) && check(10) == value(digits[10])).into()
}

fn ca_sin(raw: &[u8]) -> Verdict {
    luhn(Compact::of(raw).as_bytes()).into()
}

fn in_aadhaar(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    let digits = compact.as_bytes();
    let palindrome = digits.iter().eq(digits.iter().rev());
    (!palindrome && verhoeff(digits)).into()
}

/// The state's code, then a PAN; the last character is a base-36 check digit, which not every number in use follows.
fn in_gstin(raw: &[u8]) -> Verdict {
    if !(1..=37).contains(&number(&raw[..2])) {
        return Invalid;
    }
    let compact = Compact::of(raw);
    let characters = compact.as_bytes();
    let sum: u32 = characters[..14]
        .iter()
        .enumerate()
        .map(|(index, byte)| value(*byte) * (1 + index as u32 % 2))
        .map(|product| product / 36 + product % 36)
        .sum();
    if (36 - sum % 36) % 36 == value(characters[14]) { Valid } else { Possible }
}

fn in_pan_loose(raw: &[u8]) -> Verdict {
    let letters = raw.iter().any(u8::is_ascii_alphabetic);
    let digits = raw.windows(4).any(|four| four.iter().all(u8::is_ascii_digit));
    if letters && digits { Possible } else { Invalid }
}

fn not_zeros(raw: &[u8]) -> Verdict {
    let mut digits = raw.iter().filter(|byte| byte.is_ascii_digit());
    if digits.all(|byte| *byte == b'0') { Invalid } else { Possible }
}

const IN_STATES: &[u8] = b"ANCHDHDLJKLALDPYCTDNAPARASBRCGGAGJHRHPJHKAKLMPMHMNMLMZNLODPBRJSKTNTSTRUPUKWBUTULORUADD";

fn in_plate(raw: &[u8]) -> Verdict {
    let state = [raw[0].to_ascii_uppercase(), raw[1].to_ascii_uppercase()];
    if raw[raw.len() - 4..] == *b"0000" {
        return Invalid;
    }
    let known = IN_STATES.chunks_exact(2).any(|code| code == state);
    if known { Valid } else { Possible }
}

fn kr_brn(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    let digits = compact.as_bytes();
    let last = value(digits[8]) * 5;
    let sum = weighted(&digits[..8], &[1, 3, 7, 1, 3, 7, 1, 3]) + last / 10 + last;
    ((10 - sum % 10) % 10 == value(digits[9])).into()
}

fn kr_driver(raw: &[u8]) -> Verdict {
    let region = number(&Compact::of(raw).as_bytes()[..2]);
    if matches!(region, 11..=26 | 28) { Possible } else { Invalid }
}

fn kr_person(raw: &[u8], base: u32) -> Verdict {
    let compact = Compact::of(raw);
    let digits = compact.as_bytes();
    if !is_short_date(digits) {
        return Invalid;
    }
    // Numbers given out since October 2020 have no check digit.
    let sum = weighted(&digits[..12], &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]);
    if (base - sum % 11) % 10 == value(digits[12]) && number(&digits[7..9]) <= 95 { Valid } else { Possible }
}

fn kr_resident(raw: &[u8]) -> Verdict {
    kr_person(raw, 11)
}

fn kr_foreigner(raw: &[u8]) -> Verdict {
    kr_person(raw, 13)
}

/// The sum of digits 1, 3, 5 and twice the sum of digits 2, 4, 6 end in digit 7.
fn us_dea(raw: &[u8]) -> Verdict {
    let digits: [u32; 7] = std::array::from_fn(|index| value(raw[index + 2]));
    let sum = digits[0] + digits[2] + digits[4] + 2 * (digits[1] + digits[3] + digits[5]);
    (sum % 10 == digits[6]).into()
}

fn ph_tin(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    let digits = compact.as_bytes();
    (weighted(&digits[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11 == value(digits[8])).into()
}

fn sg_nric(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    let characters = compact.as_bytes();
    let sum = weighted(&characters[1..8], &[2, 7, 6, 5, 4, 3, 2]);
    let (offset, letters): (u32, &[u8; 11]) = match characters[0] {
        b'S' => (0, b"JZIHGFEDCBA"),
        b'T' => (4, b"JZIHGFEDCBA"),
        b'F' => (0, b"XWUTRQPNMLK"),
        b'G' => (4, b"XWUTRQPNMLK"),
        _ => (3, b"KLJNPQRTUWX"),
    };
    let index = ((sum + offset) % 11) as usize;
    let index = if characters[0] == b'M' { 10 - index } else { index };
    if letters[index] == characters[8] { Valid } else { Possible }
}

const SG_ENTITIES: &[u8] = b"LPLLFCPFRFMQMMNBCCCSMBFMGSDPCPNRCMCDMDHSVHCHMHCLXLCXHCRPTUTCFBFNPAPBSSMCSMGAGB";

fn sg_uen(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    let characters = compact.as_bytes();
    let Some((check, body)) = characters.split_last() else { return Invalid };
    if characters[0].is_ascii_alphabetic() {
        const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWX0123456789";
        if !SG_ENTITIES.chunks_exact(2).any(|code| code == &body[3..5]) {
            return Invalid;
        }
        let places: Option<Vec<u32>> = body
            .iter()
            .map(|byte| ALPHABET.iter().position(|letter| letter == byte).map(|index| index as u32))
            .collect();
        let Some(places) = places else { return Invalid };
        let sum: u32 = places.iter().zip([4, 3, 5, 3, 10, 2, 2, 5, 7]).map(|(place, weight)| place * weight).sum();
        return (ALPHABET[((sum + 6) % 11) as usize] == *check).into();
    }
    if body.len() == 8 {
        let sum = weighted(body, &[10, 4, 9, 3, 8, 2, 7, 1]);
        return (b"XMKECAWLJDB"[(sum % 11) as usize] == *check).into();
    }
    let sum = weighted(body, &[10, 8, 6, 4, 9, 7, 5, 3, 1]);
    ((1800..=2100).contains(&number(&body[..4])) && b"ZKCMDNERGWH"[(sum % 11) as usize] == *check).into()
}

fn th_tnin(raw: &[u8]) -> Verdict {
    // The second and third digits are a province.
    let province = number(&raw[1..3]);
    if !matches!(province, 10..=27 | 30..=58 | 60..=67 | 70..=77 | 80..=86 | 90..=96) || is_uniform(raw) {
        return Invalid;
    }
    let sum = weighted(&raw[..12], &[13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
    ((11 - sum % 11) % 10 == value(raw[12])).into()
}

fn us_license(raw: &[u8]) -> Verdict {
    // Shorter ones are in use, but so are names of things: `i386`, `a800`.
    if raw.iter().filter(|byte| byte.is_ascii_digit()).count() >= 5 { Possible } else { Invalid }
}

fn us_itin(raw: &[u8]) -> Verdict {
    let group = number(&Compact::of(raw).as_bytes()[3..5]);
    if matches!(group, 50..=65 | 70..=88 | 90..=92 | 94..=99) { Possible } else { Invalid }
}

fn us_npi(raw: &[u8]) -> Verdict {
    // Luhn over the number with the prefix 80840, whose digits add 24.
    let compact = Compact::of(raw);
    let digits = compact.as_bytes();
    let mut full = *b"808400000000000";
    full[5..].copy_from_slice(digits);
    (!is_uniform(&digits[..9]) && luhn(&full)).into()
}

fn us_ssn(raw: &[u8]) -> Verdict {
    let compact = Compact::of(raw);
    let digits = compact.as_bytes();
    let (area, group, serial) = (number(&digits[..3]), number(&digits[3..5]), number(&digits[5..]));
    let examples = [*b"123456789", *b"987654320", *b"078051120"];
    let impossible = area == 0 || area == 666 || group == 0 || serial == 0 || is_uniform(digits);
    if impossible || examples.iter().any(|example| example == digits) { Invalid } else { Possible }
}

fn za_id(raw: &[u8]) -> Verdict {
    let (year, month, day) = (number(&raw[..2]), number(&raw[2..4]), number(&raw[4..6]));
    // Two digits tell the year up to the present as 20.., beyond as 19..
    let century = if year > 30 { 1900 } else { 2000 };
    (is_date(century + year, month, day) && luhn(raw)).into()
}
