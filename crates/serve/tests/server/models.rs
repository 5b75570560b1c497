//! Small models for tests, made of weights from a seed and written as the real folders are.
use std::collections::BTreeMap;
use std::path::Path;

use base::{ColumnType, Value};
use infer::description::{
    BASELINE_FILE, Columns, Encoding, FORMAT, InputDescription, LanguageDescription, ModelDescription,
    OutputDescription, PredictDescription, TOKENIZER_FILE, Target, Task, TextCleaning, TransformerShape, WEIGHTS_FILE,
    Weights,
};
use infer::sketch::Sketch;
use infer::tokenizer::TextTokenizer;
use infer::weights::Tensor;

/// Numbers from a seed (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// From -1 to 1.
    pub fn symmetric(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

const CLEAN: TextCleaning = TextCleaning { unicode: true, whitespace: true };

/// Text, number, category and binary in; category, binary and number out.
pub fn description(buckets: u32, labels: usize) -> PredictDescription {
    let inputs = [
        ("message", ColumnType::Text, bag(buckets)),
        ("age", ColumnType::Number, Encoding::Number { mean: 40.0, deviation: 12.0 }),
        ("plan", ColumnType::Category, Encoding::Category { labels: vec!["basic".into(), "gold".into()] }),
        ("vip", ColumnType::Binary, Encoding::Binary { labels: ["no".into(), "yes".into()] }),
    ];
    let mut offset = 0;
    let inputs = inputs.map(|(name, column_type, encoding)| {
        let input = InputDescription { name: name.into(), column_type, encoding, offset };
        offset += input.sparse_features();
        input
    });
    let outputs = [
        ("intent", Target::Category { labels: (0..labels).map(|index| format!("intent {index:02}")).collect() }),
        ("churn", Target::Binary { labels: ["stays".into(), "leaves".into()] }),
        ("spend", Target::Number { mean: 100.0, deviation: 30.0 }),
    ];
    let outputs =
        outputs.map(|(name, target)| OutputDescription { name: name.into(), target, weight: 1.0, squared: false });
    let columns = Columns { clean: CLEAN, inputs: inputs.into(), outputs: outputs.into() };
    PredictDescription { columns, hidden: vec![], intercept: true }
}

fn bag(buckets: u32) -> Encoding {
    Encoding::Bag { word_ngrams: [1, 2], character_ngrams: [2, 4], buckets }
}

/// Writes a model of columns whose weights come from the seed.
pub fn write_predict(folder: &Path, description: PredictDescription, seed: u64) {
    let baseline = Sketch::new(&description.columns);
    let idf = description.columns.inputs.iter().filter_map(|input| match input.encoding {
        Encoding::Bag { buckets, .. } => Some((format!("input.{}.idf", input.name), vec![2 * buckets as usize])),
        _ => None,
    });
    let idf: Vec<_> = idf.collect();
    write(folder, Task::Predict(description), idf, seed, 0.5);
    save(&folder.join(BASELINE_FILE), &baseline);
}

/// Writes a language model whose weights come from the seed.
pub fn write_language(folder: &Path, seed: u64, context: usize) {
    let texts = ["the quick brown fox jumps over the lazy dog", "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"];
    let tokenizer = TextTokenizer::train(texts.iter().copied(), 320).unwrap();
    let shape = TransformerShape::llama(tokenizer.vocabulary_size(), 32, 2, 2, 64, true);
    tokenizer.save(&folder.join(TOKENIZER_FILE)).unwrap();
    write(folder, Task::Language(LanguageDescription { clean: CLEAN, shape, context }), vec![], seed, 0.3);
    never_end(folder, tokenizer.end_of_text() as usize);
    save(&folder.join(BASELINE_FILE), &Sketch::language());
}

/// Gives the end of a text the logit 0, which is never the largest: a greedy completion goes on until its
/// last token.
fn never_end(folder: &Path, end_of_text: usize) {
    let path = folder.join(WEIGHTS_FILE);
    let mut tensors = infer::weights::read(&path).unwrap();
    let Some(Tensor::F32 { shape, values }) = tensors.get_mut("model.embed_tokens.weight") else { panic!("no table") };
    let width = shape[1];
    values[end_of_text * width..][..width].fill(0.0);
    infer::weights::write(&path, &tensors).unwrap();
}

fn write(folder: &Path, task: Task, more: Vec<(String, Vec<usize>)>, seed: u64, scale: f32) {
    let description =
        ModelDescription { format: FORMAT, made_by: "a test".into(), name: "bank".into(), weights: Weights::F32, task };
    let mut random = Random(seed);
    let mut tensors = BTreeMap::new();
    for (name, shape) in description.tensors().into_iter().chain(more) {
        let count = shape.iter().product();
        let values = (0..count).map(|_| scale * random.symmetric() + if shape.len() == 1 { 1.0 } else { 0.0 });
        tensors.insert(name, Tensor::f32(shape.clone(), values.collect()));
    }
    infer::model::write(folder, &description, &tensors).unwrap();
}

fn save(path: &Path, sketch: &Sketch) {
    std::fs::write(path, serde_json::to_vec(sketch).unwrap()).unwrap();
}

/// Rows for a model of [`description`], some values missing, some never seen, some strange.
pub fn rows(count: usize, seed: u64) -> Vec<Vec<Value>> {
    const WORDS: [&str; 12] =
        ["my", "card", "was", "not", "charged", "转账", "café", "e\u{301}", "🙂", "\u{0}", "  two  blanks ", "\"\\\n"];
    let mut random = Random(seed);
    let mut row = || {
        let words: Vec<&str> = (0..random.below(30)).map(|_| WORDS[random.below(WORDS.len())]).collect();
        let mut row = vec![
            Value::Text(words.join(" ")),
            Value::Number(f64::from(random.symmetric()) * 100.0),
            Value::Text(["basic", "gold", "never seen"][random.below(3)].into()),
            Value::Binary(random.below(2) == 0),
        ];
        if random.below(3) == 0 {
            row[random.below(4)] = Value::Missing;
        }
        row
    };
    (0..count).map(|_| row()).collect()
}
