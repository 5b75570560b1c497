//! Check digits and dates shared by the identity numbers.
//!
//! Each function takes letters and digits without separators. The published rule is named at each.

use crate::bytes::number;

/// The value of a digit, or of a letter as 10 to 35.
#[inline]
pub(crate) fn value(byte: u8) -> u32 {
    match byte {
        b'0'..=b'9' => u32::from(byte - b'0'),
        b'A'..=b'Z' => u32::from(byte - b'A') + 10,
        _ => 0,
    }
}

/// The sum of digits times weights.
pub(crate) fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| value(*digit) * weight).sum()
}

/// Luhn's check over all digits (ISO/IEC 7812-1).
pub(crate) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, byte)| {
            let digit = value(*byte);
            match index % 2 {
                0 => digit,
                _ if digit > 4 => digit * 2 - 9,
                _ => digit * 2,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

/// ISO 7064 MOD 97-10 with the first four characters moved to the end (ISO 13616).
pub(crate) fn mod_97(characters: &[u8]) -> bool {
    let turned = characters[4..].iter().chain(&characters[..4]);
    let rest = turned.fold(0u32, |rest, byte| match value(*byte) {
        digit @ 0..=9 => (rest * 10 + digit) % 97,
        letter => (rest * 100 + letter) % 97,
    });
    rest == 1
}

/// ISO 7064 MOD 11,10: the German tax numbers.
pub(crate) fn mod_11_10(digits: &[u8]) -> bool {
    let Some((check, body)) = digits.split_last() else { return false };
    let product = body.iter().fold(10u32, |product, digit| {
        let sum = (value(*digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == value(*check)
}

/// ISO 7064 MOD 11-2: the Chinese resident identity number.
pub(crate) fn mod_11_2(characters: &[u8]) -> bool {
    let Some((check, body)) = characters.split_last() else { return false };
    let sum = body.iter().fold(0u32, |sum, digit| (sum + value(*digit)) * 2 % 11);
    let expected = (12 - sum) % 11;
    if expected == 10 { *check == b'X' } else { check.is_ascii_digit() && value(*check) == expected }
}

/// Verhoeff's check (the dihedral group of ten): Aadhaar, the Nigerian NIN.
pub(crate) fn verhoeff(digits: &[u8]) -> bool {
    const SHIFT: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let mut check = 0u8;
    for (index, byte) in digits.iter().rev().enumerate() {
        let mut digit = byte - b'0';
        for _ in 0..index % 8 {
            digit = SHIFT[usize::from(digit)];
        }
        check = dihedral(check, digit);
    }
    check == 0
}

/// The product in the dihedral group of order ten.
fn dihedral(left: u8, right: u8) -> u8 {
    match (left < 5, right < 5) {
        (true, true) => (left + right) % 5,
        (true, false) => (left + right - 5) % 5 + 5,
        (false, true) => (left - 5 + 5 - right) % 5 + 5,
        (false, false) => (left + 5 - right) % 5,
    }
}

/// True for a date of the Gregorian calendar.
pub(crate) fn is_date(year: u64, month: u64, day: u64) -> bool {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// True if `YYMMDD` is a date in the 20th or 21st century.
pub(crate) fn is_short_date(digits: &[u8]) -> bool {
    let (year, month, day) = (number(&digits[..2]), number(&digits[2..4]), number(&digits[4..6]));
    is_date(1900 + year, month, day) || is_date(2000 + year, month, day)
}

/// True if every character is the same.
pub(crate) fn is_uniform(characters: &[u8]) -> bool {
    characters.windows(2).all(|pair| pair[0] == pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers() {
        assert!(luhn(b"4012888888881881") && !luhn(b"4012888888881882"));
        assert!(mod_97(b"GB82WEST12345698765432") && !mod_97(b"GB82WEST12345698765431"));
        assert!(mod_11_2(b"11010519491231002X") && !mod_11_2(b"110105194912310020"));
        assert!(mod_11_10(b"12345678903") && !mod_11_10(b"12345678901"));
        assert!(verhoeff(b"312345678909") && !verhoeff(b"123456789012"));
        assert!(is_short_date(b"960121") && !is_short_date(b"001332"));
        assert!(is_date(2000, 2, 29) && !is_date(1900, 2, 29) && !is_date(2021, 13, 1));
    }
}
