//! fastText's model files, version 12: arguments, dictionary, input and output matrix, both of which may be
//! compressed by product quantisation.

use std::collections::HashMap;

use crate::hash::{NumberMap, hash_bytes};
use crate::language::LanguageModel;

const MAGIC: i32 = 793_712_314;
const VERSION: i32 = 12;
const HIERARCHICAL_SOFTMAX: i32 = 1;
const SUPERVISED: i32 = 3;
const CENTROIDS: usize = 256;
const DIMENSIONS_MAX: i32 = 1024;
/// fastText's own sentinel.
const COUNT_SUM_MAX: i64 = 1_000_000_000_000_000;
const WORD_BYTES_MAX: usize = 4096;

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        if count > self.rest.len() {
            return Err("it ends too early".to_owned());
        }
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N)?.try_into().map_err(|_| "it ends too early".to_owned())
    }

    fn int(&mut self) -> Result<i32, String> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    fn long(&mut self) -> Result<i64, String> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn flag(&mut self) -> Result<bool, String> {
        Ok(self.array::<1>()?[0] != 0)
    }

    /// A size that the rest of the file can hold at so many bytes each.
    fn size(&mut self, value: i64, bytes_each: usize) -> Result<usize, String> {
        let size = usize::try_from(value).map_err(|_| format!("a size is {value}"))?;
        match size.checked_mul(bytes_each) {
            Some(bytes) if bytes <= self.rest.len() => Ok(size),
            _ => Err("a size is larger than the file".to_owned()),
        }
    }

    fn floats(&mut self, count: usize) -> Result<Vec<f32>, String> {
        let bytes = self.take(count.checked_mul(4).ok_or("a size is too large")?)?;
        Ok(bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect())
    }

    fn word(&mut self) -> Result<&'a [u8], String> {
        let end = self.rest.iter().take(WORD_BYTES_MAX).position(|byte| *byte == 0).ok_or("a word has no end")?;
        let word = self.take(end)?;
        self.take(1)?;
        Ok(word)
    }
}

/// Reads a model.
pub(crate) fn parse(bytes: &[u8]) -> Result<LanguageModel, String> {
    let mut reader = Reader { rest: bytes };
    if reader.int()? != MAGIC {
        return Err("it is no fastText model".to_owned());
    }
    if reader.int()? != VERSION {
        return Err("it is of a version other than 12".to_owned());
    }
    let mut argument = [0; 12];
    for value in &mut argument {
        *value = reader.int()?;
    }
    reader.take(8)?;
    let [dimensions, _, _, _, _, word_runs, loss, model, buckets, shortest, longest, _] = argument;
    if model != SUPERVISED || loss != HIERARCHICAL_SOFTMAX || word_runs > 1 {
        return Err("it is no classifier with hierarchical softmax over single words".to_owned());
    }
    if !(1..=DIMENSIONS_MAX).contains(&dimensions) || buckets < 1 || !(0..=64).contains(&longest) {
        return Err("its arguments are out of range".to_owned());
    }
    let dimensions = dimensions as usize;
    let dictionary = dictionary(&mut reader)?;
    let compressed = reader.flag()?;
    let (rows, input) = if compressed { compressed_matrix(&mut reader)? } else { matrix(&mut reader)? };
    let output_compressed = reader.flag()?;
    let (output_rows, output) =
        if compressed && output_compressed { compressed_matrix(&mut reader)? } else { matrix(&mut reader)? };
    let labels = dictionary.labels.len();
    let runs = dictionary.kept.as_ref().map_or(buckets as usize, |kept| kept.len());
    if rows < dictionary.words.len() + if longest > 0 { runs } else { 0 }
        || input.len() != rows * dimensions
        || output_rows < labels
        || output.len() != output_rows * dimensions
    {
        return Err("its matrices do not fit its dictionary".to_owned());
    }
    let tree = huffman(&dictionary.label_counts);
    Ok(LanguageModel {
        dimensions,
        shortest_run: shortest.max(0) as usize,
        longest_run: longest as usize,
        buckets: buckets as u32,
        words: dictionary.words,
        kept: dictionary.kept,
        input,
        output,
        labels: dictionary.labels,
        tree,
        fingerprint: hash_bytes(bytes).max(1),
    })
}

struct Dictionary {
    words: HashMap<Box<[u8]>, u32>,
    labels: Vec<String>,
    label_counts: Vec<i64>,
    kept: Option<NumberMap>,
}

fn dictionary(reader: &mut Reader<'_>) -> Result<Dictionary, String> {
    let (entries, _, _) = (reader.int()?, reader.int()?, reader.int()?);
    reader.long()?;
    let kept_count = reader.long()?;
    let entries = reader.size(i64::from(entries), 10)?;
    let mut out = Dictionary { words: HashMap::new(), labels: Vec::new(), label_counts: Vec::new(), kept: None };
    for _ in 0..entries {
        let word = reader.word()?;
        let count = reader.long()?;
        if reader.flag()? {
            let label = String::from_utf8_lossy(word);
            out.labels.push(label.strip_prefix("__label__").unwrap_or(&label).to_owned());
            out.label_counts.push(count);
        } else {
            let row = out.words.len() as u32;
            out.words.insert(word.into(), row);
        }
    }
    if out.labels.len() < 2 {
        return Err("it has fewer than two labels".to_owned());
    }
    // The tree is built with a number larger than any sum of counts.
    let total = out.label_counts.iter().try_fold(0i64, |sum, count| sum.checked_add(*count).filter(|_| *count >= 0));
    if total.is_none_or(|total| total >= COUNT_SUM_MAX) {
        return Err("its labels' counts are out of range".to_owned());
    }
    if out.words.len() + out.labels.len() != entries {
        return Err("a word occurs twice in its dictionary".to_owned());
    }
    if kept_count >= 0 {
        let count = reader.size(kept_count, 8)?;
        let mut kept = Vec::with_capacity(count);
        for _ in 0..count {
            let (bucket, row) = (reader.int()?, reader.int()?);
            if bucket < 0 || row < 0 || row as usize >= count {
                return Err("its pruned runs are out of range".to_owned());
            }
            kept.push((bucket as u32, row as u32));
        }
        out.kept = Some(NumberMap::new(&kept));
    }
    Ok(out)
}

fn matrix(reader: &mut Reader<'_>) -> Result<(usize, Vec<f32>), String> {
    let (rows, columns) = (reader.long()?, reader.long()?);
    let (rows, columns) = (reader.size(rows, 4)?, reader.size(columns, 4)?);
    let values = reader.floats(rows.checked_mul(columns).ok_or("a matrix is too large")?)?;
    Ok((rows, values))
}

/// Product quantisation: a byte for each part of a row stands for one of 256 vectors.
struct Quantizer {
    parts: usize,
    part: usize,
    last_part: usize,
    centroids: Vec<f32>,
}

impl Quantizer {
    fn read(reader: &mut Reader<'_>) -> Result<Self, String> {
        let (dimensions, parts, part, last_part) = (reader.int()?, reader.int()?, reader.int()?, reader.int()?);
        let sizes = [dimensions, parts, part, last_part];
        let fits = sizes.iter().all(|size| (1..=DIMENSIONS_MAX).contains(size))
            && (parts - 1) * part + last_part == dimensions;
        if !fits {
            return Err("its quantisation is out of range".to_owned());
        }
        let centroids = reader.floats(dimensions as usize * CENTROIDS)?;
        Ok(Self { parts: parts as usize, part: part as usize, last_part: last_part as usize, centroids })
    }

    fn centroid(&self, part: usize, code: u8) -> &[f32] {
        let length = if part + 1 == self.parts { self.last_part } else { self.part };
        let start = part * CENTROIDS * self.part + usize::from(code) * length;
        &self.centroids[start..start + length]
    }
}

fn compressed_matrix(reader: &mut Reader<'_>) -> Result<(usize, Vec<f32>), String> {
    let with_norms = reader.flag()?;
    let (rows, columns) = (reader.long()?, reader.long()?);
    let code_count = reader.int()?;
    let code_count = reader.size(i64::from(code_count), 1)?;
    let codes = reader.take(code_count)?;
    let quantizer = Quantizer::read(reader)?;
    let rows = usize::try_from(rows).map_err(|_| "a matrix is out of range")?;
    let width = (quantizer.parts - 1) * quantizer.part + quantizer.last_part;
    if rows.checked_mul(quantizer.parts) != Some(code_count) || columns != width as i64 {
        return Err("a compressed matrix does not fit its codes".to_owned());
    }
    let norms = if with_norms {
        let codes = reader.take(rows)?;
        let quantizer = Quantizer::read(reader)?;
        Some((codes, quantizer))
    } else {
        None
    };
    let mut values = Vec::with_capacity(rows * width);
    for (row, codes) in codes.chunks_exact(quantizer.parts).enumerate() {
        let norm = norms.as_ref().map_or(1.0, |(codes, quantizer)| quantizer.centroid(0, codes[row])[0]);
        for (part, code) in codes.iter().enumerate() {
            values.extend(quantizer.centroid(part, *code).iter().map(|value| norm * value));
        }
    }
    Ok((rows, values))
}

/// The tree of the labels, whose counts fall: the two rarest are joined until one is left.
fn huffman(counts: &[i64]) -> Vec<(u32, u32)> {
    let labels = counts.len();
    let mut all: Vec<i64> = counts.to_vec();
    all.resize(2 * labels - 1, COUNT_SUM_MAX);
    let mut tree = Vec::with_capacity(labels - 1);
    let (mut leaf, mut node) = (labels as i64 - 1, labels);
    for place in labels..2 * labels - 1 {
        let mut pick = || {
            if leaf >= 0 && all[leaf as usize] < all[node] {
                leaf -= 1;
                (leaf + 1) as usize
            } else {
                node += 1;
                node - 1
            }
        };
        let (left, right) = (pick(), pick());
        tree.push((left as u32, right as u32));
        all[place] = all[left].saturating_add(all[right]);
    }
    tree
}
