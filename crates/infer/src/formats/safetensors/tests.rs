//! Files as they should be, and as they should not.

use proptest::prelude::*;

use super::*;

fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

const HEADER: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[1,3],"data_offsets":[8,14]},"c":{"dtype":"I64","shape":[],"data_offsets":[14,22]}}"#;

fn small() -> Vec<u8> {
    file(HEADER, &[7; 22])
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(ONE), small()).unwrap();
    let open = Safetensors::open(folder.path()).unwrap();
    let all: Vec<_> = open.tensors().map(|(name, view)| (name, view.shape, view.encoding, view.bytes.len())).collect();
    assert_eq!(
        all,
        [("a", &[2][..], Some(Encoding::F32), 8), ("b", &[1, 3][..], Some(Encoding::Bf16), 6), ("c", &[][..], None, 8)]
    );
    let error = open.numbers("", &[]).unwrap_err().to_string();
    assert!(error.contains("tensor c holds I64; known here: F32, F16, BF16"), "{error}");
    assert_eq!(open.numbers("", &["c"]).unwrap().len(), 2);
}

#[test]
fn every_cut_is_an_error() {
    let whole = small();
    for length in 0..whole.len() {
        assert!(parse(&whole[..length], 0).is_err(), "{length}");
    }
    assert!(parse(&whole, 0).is_ok());
}

#[test]
fn absurd_claims_are_errors() {
    for (header, what) in [
        (r#"{"a":{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,8]}}"#, "overflow"),
        (r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, ""),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, ""),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]}}"#, ""),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, ""),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
            "",
        ),
        (r#"{"a":{"dtype":"F99","shape":[2],"data_offsets":[0,8]}}"#, "F99"),
        (r#"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, ""),
        ("[]", ""),
        (r#"{"a":1}"#, ""),
    ] {
        let error = parse(&file(header, &[0; 8]), 0).unwrap_err();
        assert!(error.to_lowercase().contains(&what.to_lowercase()), "{header}: {error}");
    }
    let mut claims = small();
    claims[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(parse(&claims, 0).unwrap_err().contains("claims"));
    let deep = "[".repeat(100_000);
    assert!(parse(&file(&deep, &[]), 0).is_err());
}

proptest! {
    /// Whatever is changed, the file is read or refused.
    #[test]
    fn changed_bytes_are_no_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut all = small();
        for (place, byte) in changes {
            let place = place.index(all.len());
            all[place] = byte;
        }
        if let Ok(tensors) = parse(&all, 0) {
            prop_assert!(tensors.values().all(|place| place.begin <= place.end && place.end <= all.len()));
        }
    }

    #[test]
    fn random_headers_are_no_panic(header in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut all = (header.len() as u64).to_le_bytes().to_vec();
        all.extend(header);
        drop(parse(&all, 0));
    }
}
