//! Keys, pseudonyms that only the key turns back, and keyed hashes.
//!
//! Pseudonyms are AES-SIV (RFC 5297) without a nonce: deterministic, so the same value of the same kind under the same
//! key always gets the same pseudonym, and authenticated, so that a changed or foreign one is left alone. The kind is
//! associated data. Hashes are HMAC-SHA-256 (RFC 2104), cut to 64 bits. Both keys derive from the given one by HMAC.

use std::fmt;

use aes_siv::KeyInit as _;
use aes_siv::siv::Aes256Siv;
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::error::PersonalError;
use crate::kind::Kind;
use crate::placeholder;

/// The shortest key.
const KEY_BYTES_MIN: usize = 16;
/// How much of the hash is written.
const HASH_BYTES: usize = 8;

/// A secret key for pseudonyms and hashes.
#[derive(Clone)]
pub struct Key {
    cipher: [u8; 64],
    hash: [u8; 32],
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// A key from 16 or more random bytes.
    ///
    /// # Errors
    ///
    /// [`PersonalError::KeyShort`] if there are fewer.
    pub fn new(bytes: &[u8]) -> Result<Self, PersonalError> {
        if bytes.len() < KEY_BYTES_MIN {
            return Err(PersonalError::KeyShort { bytes: bytes.len(), bytes_min: KEY_BYTES_MIN });
        }
        let mut cipher = [0; 64];
        cipher[..32].copy_from_slice(&authenticate(bytes, &[b"modelyard personal cipher 1"]));
        cipher[32..].copy_from_slice(&authenticate(bytes, &[b"modelyard personal cipher 2"]));
        Ok(Self { cipher, hash: authenticate(bytes, &[b"modelyard personal hash"]) })
    }

    /// The placeholder with the pseudonym of a value.
    pub(crate) fn pseudonym(&self, kind: Kind, value: &str) -> String {
        let mut cipher = Aes256Siv::new(&self.cipher.into());
        // AES-SIV refuses only inputs near 2^64 bytes.
        let sealed = cipher
            .encrypt([kind.name().as_bytes()], value.as_bytes())
            .unwrap_or_else(|error| unreachable!("a value in memory is short enough: {error}"));
        format!("<{}:{}>", kind.name(), BASE32_NOPAD.encode(&sealed))
    }

    /// The placeholder with the keyed hash of a value.
    pub(crate) fn hash(&self, kind: Kind, value: &str) -> String {
        let hash = authenticate(&self.hash, &[kind.name().as_bytes(), b"\0", value.as_bytes()]);
        format!("<{}#{}>", kind.name(), HEXLOWER.encode(&hash[..HASH_BYTES]))
    }

    fn open(&self, kind: Kind, pseudonym: &str) -> Option<String> {
        let sealed = BASE32_NOPAD.decode(pseudonym.as_bytes()).ok()?;
        let mut cipher = Aes256Siv::new(&self.cipher.into());
        let value = cipher.decrypt([kind.name().as_bytes()], &sealed).ok()?;
        String::from_utf8(value).ok()
    }
}

/// HMAC-SHA-256 of the parts in a row.
fn authenticate(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key)
        .unwrap_or_else(|error| unreachable!("HMAC takes keys of any length: {error}"));
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Turns the pseudonyms that were made with this key back into the values. Everything else stays, and so do pseudonyms of
/// other keys and damaged ones.
#[must_use]
pub fn reveal(text: &str, key: &Key) -> String {
    let bytes = text.as_bytes();
    let mut revealed = String::with_capacity(text.len());
    let mut copied = 0;
    for (at, _) in text.match_indices('<') {
        if at < copied {
            continue;
        }
        let Some(found) = placeholder::parse(bytes, at) else { continue };
        if let Some(value) = found.pseudonym.and_then(|pseudonym| key.open(found.kind, pseudonym)) {
            revealed.push_str(&text[copied..at]);
            revealed.push_str(&value);
            copied = found.end;
        }
    }
    revealed.push_str(&text[copied..]);
    revealed
}
