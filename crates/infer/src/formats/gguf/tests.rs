//! GGUF files as they should be, and as they should not.

use proptest::prelude::*;

use super::*;

/// Writes files.
#[derive(Default)]
pub(crate) struct Writer {
    pairs: Vec<u8>,
    pair_count: u64,
    table: Vec<u8>,
    tensor_count: u64,
    data: Vec<u8>,
}

fn text(to: &mut Vec<u8>, text: &[u8]) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text);
}

impl Writer {
    /// A pair with its value as it stands in the file.
    pub(crate) fn pair(&mut self, key: &str, kind: u32, value: &[u8]) -> &mut Self {
        text(&mut self.pairs, key.as_bytes());
        self.pairs.extend(kind.to_le_bytes());
        self.pairs.extend(value);
        self.pair_count += 1;
        self
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        let mut bytes = Vec::new();
        text(&mut bytes, value.as_bytes());
        self.pair(key, 8, &bytes)
    }

    pub(crate) fn number(&mut self, key: &str, value: u32) -> &mut Self {
        self.pair(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn texts(&mut self, key: &str, values: &[&str]) -> &mut Self {
        let mut bytes = 8_u32.to_le_bytes().to_vec();
        bytes.extend((values.len() as u64).to_le_bytes());
        values.iter().for_each(|value| text(&mut bytes, value.as_bytes()));
        self.pair(key, 9, &bytes)
    }

    /// A tensor, its sizes with the slowest first.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize], kind: u32, bytes: &[u8]) -> &mut Self {
        text(&mut self.table, name.as_bytes());
        self.table.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|size| self.table.extend((*size as u64).to_le_bytes()));
        self.table.extend(kind.to_le_bytes());
        self.table.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(bytes);
        self.data.resize(self.data.len().next_multiple_of(32), 0);
        self.tensor_count += 1;
        self
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        let mut all = b"GGUF".to_vec();
        all.extend(3_u32.to_le_bytes());
        all.extend(self.tensor_count.to_le_bytes());
        all.extend(self.pair_count.to_le_bytes());
        all.extend(&self.pairs);
        all.extend(&self.table);
        all.resize(all.len().next_multiple_of(32), 0);
        all.extend(&self.data);
        all
    }
}

fn small() -> Vec<u8> {
    let mut writer = Writer::default();
    writer.text("general.architecture", "llama").number("llama.block_count", 2).texts("tokens", &["a", "b", "天"]);
    writer.pair(
        "scores",
        9,
        &[6_u32.to_le_bytes().to_vec(), 2_u64.to_le_bytes().to_vec(), vec![0, 0, 128, 63, 0, 0, 0, 64]].concat(),
    );
    writer.pair("flag", 7, &[1]);
    writer.tensor("norm", &[2], 0, &[1.0_f32.to_le_bytes(), 2.0_f32.to_le_bytes()].concat());
    writer.tensor("matrix", &[3, 64], 2, &[7; 3 * 36]);
    writer.file()
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.gguf");
    std::fs::write(&path, small()).unwrap();
    let file = Gguf::open(&path).unwrap();
    assert_eq!(file.text("general.architecture").unwrap(), "llama");
    assert_eq!(file.size("llama.block_count").unwrap(), Some(2));
    assert_eq!(file.size("nothing").unwrap(), None);
    assert_eq!(file.pairs()["tokens"], Value::Texts(["a", "b", "天"].map(str::to_owned).to_vec()));
    assert_eq!(file.pairs()["scores"], Value::Floats(vec![1.0, 2.0]));
    assert_eq!(file.pairs()["flag"], Value::Bool(true));
    let matrix = &file.tensors()["matrix"];
    assert_eq!((&matrix.shape[..], matrix.encoding), (&[3, 64][..], Encoding::Blocks(Format::Q4_0)));
    assert_eq!(file.bytes(matrix), [7; 108]);
    assert_eq!(file.bytes(&file.tensors()["norm"]).len(), 8);
    assert!(file.text("flag").is_err() && file.size("flag").is_err() && file.number("flag").is_err());
}

#[test]
fn every_cut_is_an_error() {
    let whole = small();
    // The last tensor is filled up to a multiple of 32 bytes.
    for length in 0..whole.len() - 20 {
        assert!(parse(&whole[..length]).is_err(), "{length}");
    }
    assert!(parse(&whole).is_ok());
}

#[test]
fn absurd_claims_are_errors() {
    let changed = |at: usize, bytes: &[u8]| {
        let mut all = small();
        all[at..at + bytes.len()].copy_from_slice(bytes);
        parse(&all)
    };
    for at in [8, 16, 24] {
        assert!(changed(at, &u64::MAX.to_le_bytes()).is_err(), "{at}");
    }
    assert!(changed(4, &4_u32.to_le_bytes()).unwrap_err().contains("version 4"));
    let refused = |writer: &mut Writer, what: &str| {
        let error = parse(&writer.file()).unwrap_err();
        assert!(error.contains(what), "{error}");
    };
    refused(Writer::default().tensor("x", &[usize::MAX, usize::MAX, 2], 0, &[]), "impossible sizes");
    refused(Writer::default().tensor("x", &[1, 31], 2, &[0; 18]), "no whole blocks");
    refused(Writer::default().tensor("x", &[1, 32], 99, &[0; 18]), "type 99");
    refused(Writer::default().tensor("x", &[64, 64], 0, &[0; 32]), "outside of the file");
    refused(Writer::default().tensor("x", &[1], 0, &[0; 4]).tensor("x", &[1], 0, &[0; 4]), "two tensors");
    refused(Writer::default().number("k", 1).number("k", 2), "two values");
    refused(Writer::default().number("general.alignment", 33), "alignment");
    refused(Writer::default().pair("k", 7, &[9]), "truth value");
    refused(Writer::default().pair("k", 13, &[]), "unknown type");
    // Arrays in arrays without end.
    let nested = [9_u32.to_le_bytes().to_vec(), 1_u64.to_le_bytes().to_vec()].concat().repeat(50);
    refused(Writer::default().pair("k", 9, &nested), "too deep");
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
        if let Ok((_, tensors)) = parse(&all) {
            prop_assert!(tensors.values().all(|tensor| tensor.offset + tensor.length <= all.len()));
        }
    }

    #[test]
    fn random_bytes_are_no_panic(rest in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut all = b"GGUF\x03\0\0\0".to_vec();
        all.extend(rest);
        drop(parse(&all));
    }
}
