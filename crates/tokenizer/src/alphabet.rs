//! GPT-2's alphabet, in which each byte is a visible character: printable Latin-1 characters stand for
//! themselves, and the other bytes, in their order, for the characters from U+0100 on (Radford et al. 2019,
//! `encoder.py`).

/// The character of a byte.
pub(crate) fn character(byte: u8) -> char {
    let code = u32::from(byte);
    let code = match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0..=0x20 => code + 0x100,
        0x7f..=0xa0 => code - 0x7f + 0x121,
        0xad => 0x143,
    };
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte of a character, if it is of the alphabet.
pub(crate) fn byte(character: char) -> Option<u8> {
    let code = u32::from(character);
    let byte = match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// The bytes of a word of the alphabet; none when a character is not of it.
pub(crate) fn bytes(word: &str) -> Option<Vec<u8>> {
    word.chars().map(byte).collect()
}

/// A word of the alphabet for bytes.
pub(crate) fn word(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| character(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_hugging_faces() {
        let theirs = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let ours: std::collections::BTreeSet<char> = (0..=255).map(character).collect();
        assert_eq!(ours, theirs.into_iter().collect());
        for value in 0..=255 {
            assert_eq!(byte(character(value)), Some(value));
        }
        assert_eq!(bytes("Ġ中"), None);
        assert_eq!(word(b" a"), "Ġa");
    }
}
