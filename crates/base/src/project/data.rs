//! The tables of `[data]`: where rows come from, what is mended, what is dropped, how they are split. As in `file`, a doc
//! comment here is what the user reads in the reference.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the rows come from and how they are cleaned and split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Files to read and then split. Paths are relative to the project file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<String>,
    /// Files of the training split, where the split is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub train: Vec<String>,
    /// Files of the validation split, where it is given. Otherwise a share of the training rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub valid: Vec<String>,
    /// Files of the test split, where it is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// The format of the files. Without it, the file's ending decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<DataFormat>,
    /// The column that holds the text (`language` only). Plain text files need none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_column: Option<String>,
    /// What decides whether a document stays (`language` only): `web`, `general`, `chat`, `code`, `zh`, or the path of a
    /// recipe of your own (a file that ends in `.toml`). Without it, only `drop_where` decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// Conditions in SQL over the signals of a document, such as `"words < 20 OR digit_ratio > 0.5"`. A document
    /// that one holds of is dropped (`language` only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drop_where: Vec<String>,
    /// A language identification model in fastText's format, such as `lid.176.ftz`. What a recipe says of languages needs
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language_model: Option<PathBuf>,
    /// The languages that are kept, by their ISO 639 codes. Derived: those of the recipe. An empty list keeps every language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub languages: Option<Vec<String>>,
    /// Files of words, one on each line, that are counted in each document (the signal `word_lists`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub word_lists: Vec<PathBuf>,
    /// Files of clean text. The signal `perplexity` is that of a small n-gram model learned from them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reference: Vec<String>,
    /// The licence of sources, by their name or a pattern of names: `{ "wiki/*" = "CC-BY-SA-4.0" }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub licences: BTreeMap<String, String>,
    /// A file of expectations that the rows must meet. `yard data expectations` proposes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expectations: Option<PathBuf>,
    /// How rows are divided among training, validation and test.
    #[serde(default)]
    pub split: SplitConfig,
    /// What is mended and what is dropped. Every change and every drop is in the ledger.
    #[serde(default)]
    pub clean: CleanConfig,
    /// Repair of broken text. Without this table nothing but `clean` is done, unless a recipe asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair: Option<RepairConfig>,
    /// Duplicates that are not equal in every byte (`language` only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicates: Option<DuplicatesConfig>,
    /// Texts that the model is judged by and must not have read (`language` only). Given test and validation files are
    /// held against the training documents without this table, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contamination: Option<ContaminationConfig>,
    /// What happens to personal data and secrets in text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personal: Option<PersonalConfig>,
    /// Labels that are likely wrong, and the corrections of those who looked (`predict` only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<LabelsConfig>,
    /// The largest total size of the source files; larger sources are refused. Derived: 2 GiB in `predict` projects, whose
    /// rows are held in memory; none in `language` projects, whose documents stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub bytes_max: Option<u64>,
}

/// The format of a source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DataFormat {
    /// Comma-separated values with a header line.
    Csv,
    /// Tab-separated values with a header line.
    Tsv,
    /// A list of JSON objects (`language` only).
    Json,
    /// One JSON object a line.
    Jsonl,
    /// Apache Parquet.
    Parquet,
    /// Apache Arrow, file or stream (`language` only).
    Arrow,
    /// Plain text: every line is one row with the single column `text`.
    Text,
    /// Plain text: every file is one document (`language` only).
    Document,
    /// Markdown: every file is one document (`language` only).
    Markdown,
    /// HTML: the main content of a page is one document (`language` only).
    Html,
    /// PDF: the text of a file is one document (`language` only).
    Pdf,
    /// Office Open XML text: the text of a file is one document (`language` only).
    Docx,
    /// A web archive: the main content of each page is one document (`language` only).
    Warc,
}

/// How rows are divided among training, validation and test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SplitConfig {
    /// By what rule.
    pub method: SplitMethod,
    /// The column to split by: the class for `stratified` (default: the first category or binary
    /// output), the time for `time` (required).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The share of the rows for validation (with given splits: of the training rows).
    #[schemars(range(min = 0, max = 0.9))]
    pub valid: f64,
    /// The share of the rows for the test. With given splits the test files decide.
    #[schemars(range(min = 0, max = 0.9))]
    pub test: f64,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self { method: SplitMethod::Auto, by: None, valid: 0.1, test: 0.1 }
    }
}

/// By what rule rows are split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SplitMethod {
    /// Stratified where there is a category or binary output, random otherwise.
    Auto,
    /// Each row by a hash of the seed and the row's contents.
    Random,
    /// Random within each class, so that every split has the same share of each.
    Stratified,
    /// The oldest rows train, the newest test.
    Time,
}

/// What is mended and what is dropped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CleanConfig {
    /// Bring text to Unicode normalisation form C.
    pub unicode: bool,
    /// Trim text, and fold runs of blanks into one (in `language`, only trailing blanks are cut).
    pub whitespace: bool,
    /// What happens to a row that equals an earlier one in every input and output.
    pub duplicates: DropOrKeep,
    /// What happens to a row whose inputs are all missing.
    pub empty: DropOrKeep,
    /// What happens to a row that lacks an input. A row that lacks an output is always dropped.
    pub missing: DropOrKeep,
}

impl Default for CleanConfig {
    fn default() -> Self {
        Self {
            unicode: true,
            whitespace: true,
            duplicates: DropOrKeep::Drop,
            empty: DropOrKeep::Drop,
            missing: DropOrKeep::Keep,
        }
    }
}

/// Drop a row, or keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DropOrKeep {
    /// The row is dropped, and the ledger says so.
    Drop,
    /// The row is kept.
    Keep,
}

/// Repair of broken text. Every change is in the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RepairConfig {
    /// Text that was decoded with the wrong character set (`schÃ¶n`) becomes what was meant (`schön`).
    pub mojibake: bool,
    /// `&amp;` becomes `&`, in texts that hold no markup.
    pub html_entities: bool,
    /// Control characters, terminal escapes and zero-width marks at the wrong place go.
    pub control_characters: bool,
    /// Full-width Latin letters and half-width Katakana get their usual width.
    pub width: bool,
    /// Curly quotes become straight ones.
    pub straight_quotes: bool,
    /// The letters `ﬁ`, `ﬂ` and their like become two letters.
    pub ligatures: bool,
    /// Line ends of all kinds become line feeds.
    pub line_breaks: bool,
    /// Which Unicode form text is brought to.
    pub unicode: UnicodeForm,
    /// Chinese text is written in this script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chinese: Option<ChineseScript>,
}

impl Default for RepairConfig {
    fn default() -> Self {
        Self {
            mojibake: true,
            html_entities: true,
            control_characters: true,
            width: true,
            straight_quotes: true,
            ligatures: true,
            line_breaks: true,
            unicode: UnicodeForm::Nfc,
            chinese: None,
        }
    }
}

/// A normalisation form of Unicode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnicodeForm {
    /// As it is.
    Keep,
    /// Composed, canonically equal.
    Nfc,
    /// Composed, compatibility characters replaced.
    Nfkc,
}

/// A script of Chinese.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChineseScript {
    /// 简体.
    Simplified,
    /// 繁體.
    Traditional,
}

/// Duplicates that are not equal in every byte. What stays is always the first of its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DuplicatesConfig {
    /// Documents that share most of their shingles with an earlier one are dropped (MinHash).
    pub near: bool,
    /// Bands of the MinHash signature. With `rows`, a pair of similarity s is found with probability 1 − (1 − s^rows)^bands.
    #[schemars(range(min = 1, max = 128))]
    pub bands: u32,
    /// Rows of a band.
    #[schemars(range(min = 1, max = 64))]
    pub rows: u32,
    /// The length of a shingle.
    #[schemars(range(min = 1, max = 64))]
    pub shingle: u32,
    /// What a shingle is made of. Derived: words; characters in Chinese.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<ShingleUnit>,
    /// Paragraphs that stood in an earlier document are cut.
    pub paragraphs: bool,
    /// Lines that stood in an earlier document are cut.
    pub lines: bool,
    /// Passages of at least so many bytes that stood before are cut, wherever they begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 20, max = 1_000_000))]
    pub substring_bytes_min: Option<u32>,
    /// Documents whose embeddings are nearer than `similarity` to an earlier one's are dropped; the embeddings are made by
    /// this model (a folder of an encoder, or a GGUF file).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<PathBuf>,
    /// The cosine similarity from which embeddings count as equal.
    #[schemars(range(min = 0.5, max = 1))]
    pub similarity: f64,
    /// The memory that the search may take; the rest is on disk.
    #[schemars(range(min = 1_048_576))]
    pub memory_bytes_max: u64,
}

impl Default for DuplicatesConfig {
    fn default() -> Self {
        Self {
            near: true,
            bands: 14,
            rows: 8,
            shingle: 5,
            unit: None,
            paragraphs: false,
            lines: false,
            substring_bytes_min: None,
            embeddings: None,
            similarity: 0.95,
            memory_bytes_max: 1 << 30,
        }
    }
}

/// What a shingle is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShingleUnit {
    /// Words.
    Word,
    /// Characters.
    Character,
}

/// Texts that the model is judged by and must not have read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ContaminationConfig {
    /// Files of evaluation texts, besides the given test and validation files.
    pub against: Vec<String>,
    /// The column of those files that holds the text. Derived: `data.text_column`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// A training document that shares so many words in a row with an evaluation text is contaminated.
    #[schemars(range(min = 4, max = 64))]
    pub ngram: u32,
    /// What happens to it.
    pub action: DropOrKeep,
}

impl Default for ContaminationConfig {
    fn default() -> Self {
        Self { against: Vec::new(), column: None, ngram: 13, action: DropOrKeep::Drop }
    }
}

/// What happens to personal data and secrets in text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PersonalConfig {
    /// What happens to kinds that `kinds` does not name.
    pub policy: PersonalPolicy,
    /// What happens to each kind, such as `{ email = "pseudonym", ip_address = "keep" }`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<String, PersonalPolicy>,
    /// Findings below this score are left alone.
    #[schemars(range(min = 0, max = 1))]
    pub score_min: f64,
    /// The file of the key that pseudonyms and hashes are made with: at least 16 bytes. Keep it out of the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

impl Default for PersonalConfig {
    fn default() -> Self {
        Self { policy: PersonalPolicy::Redact, kinds: BTreeMap::new(), score_min: 0.5, key_file: None }
    }
}

/// What happens to a piece of personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PersonalPolicy {
    /// A placeholder that says its kind stands in its place.
    Redact,
    /// A pseudonym stands in its place: the same for the same value; only the key leads back.
    Pseudonym,
    /// A keyed hash stands in its place; nothing leads back.
    Hash,
    /// The whole document is dropped.
    Drop,
    /// It stays, and the ledger says so.
    Report,
    /// It stays.
    Keep,
}

/// Labels that are likely wrong, and the corrections of those who looked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LabelsConfig {
    /// Look for labels that are likely wrong (confident learning over cross-validated probabilities).
    pub check: bool,
    /// Parts of the cross-validation.
    #[schemars(range(min = 2, max = 20))]
    pub folds: u32,
    /// A file of corrections, which are applied. The page of likely errors makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrections: Option<PathBuf>,
    /// How many rows to propose for labelling next.
    pub next: u32,
}

impl Default for LabelsConfig {
    fn default() -> Self {
        Self { check: true, folds: 5, corrections: None, next: 0 }
    }
}
