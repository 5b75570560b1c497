//! The plan of documents: which objects there are, what a first look at them says, and what will be done to them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use base::Digest;
use base::project::{
    CleanConfig, ContaminationConfig, DataFormat, DuplicatesConfig, PersonalConfig, ProjectFile, RepairConfig,
    SplitConfig, SplitMethod,
};
use dataset::{PerSplit, Split};
use infer::description::TextCleaning;
use serde_json::{Value as Json, json};
use signals::Recipe;
use sources::{Body, Config, Format, Item, Object, TextUnit};

use super::recipe;
use crate::error::DataError;
use crate::plan::vocabulary;

/// Records of the first object that are looked at.
const RECORDS_LOOKED_AT: usize = 64;

/// An object, and the split that it was given as.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) object: Object,
    pub(crate) split: Option<Split>,
}

/// What will be done with the documents of a `language` project.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Given test and validation documents first, so that they win over equal training documents.
    pub(crate) objects: Vec<Given>,
    pub(crate) reading: Config,
    pub(crate) text_column: String,
    pub(crate) clean: CleanConfig,
    pub(crate) repair: Option<RepairConfig>,
    pub(crate) recipe: Option<Recipe>,
    pub(crate) drop_where: Vec<String>,
    pub(crate) language_model: Option<PathBuf>,
    pub(crate) word_lists: Vec<PathBuf>,
    /// The objects that perplexity is measured against.
    pub(crate) reference: Vec<Object>,
    pub(crate) duplicates: Option<DuplicatesConfig>,
    pub(crate) contamination: Option<ContaminationConfig>,
    /// The objects of evaluation texts.
    pub(crate) evaluation: Vec<Object>,
    pub(crate) personal: Option<PersonalConfig>,
    pub(crate) licences: BTreeMap<String, String>,
    pub(crate) split: SplitConfig,
    pub(crate) vocabulary: usize,
    pub(crate) seed: u64,
    /// Where the project lies.
    #[cfg(feature = "ballista")]
    pub(crate) folder: PathBuf,
    /// What its file says.
    #[cfg(feature = "ballista")]
    pub(crate) file: ProjectFile,
    /// The scheduler of the cluster that prepares the documents, `HOST:PORT`; none where this process does.
    pub(crate) scheduler: Option<String>,
    /// Bytes of text in a record, as a first look found.
    record_bytes: f64,
}

/// Looks at the sources of the project in `folder` and plans the stage.
pub(crate) fn plan(file: &ProjectFile, folder: &Path) -> Result<Plan, DataError> {
    let data = &file.data;
    let reading = Config {
        format: data.format.map(format),
        text: if data.format == Some(DataFormat::Document) { TextUnit::Whole } else { TextUnit::Line },
        ..Config::default()
    };
    let lists = [
        (&data.test, Some(Split::Test)),
        (&data.valid, Some(Split::Valid)),
        (&data.train, Some(Split::Train)),
        (&data.source, None),
    ];
    let mut objects = Vec::new();
    for (patterns, split) in lists {
        if !patterns.is_empty() {
            let found = sources::find(patterns, folder, &reading)?;
            objects.extend(found.into_iter().map(|object| Given { object, split }));
        }
    }
    let mut split = data.split.clone();
    if split.method == SplitMethod::Auto {
        split.method = SplitMethod::Random;
    }
    let mut plan = Plan {
        objects,
        reading,
        text_column: data.text_column.clone().unwrap_or_else(|| "text".to_owned()),
        clean: data.clean.clone(),
        repair: data.repair.clone().or_else(|| {
            // Curly quotation marks are the usual ones in Chinese.
            let straight_quotes = data.recipe.as_deref() != Some("zh");
            data.recipe.is_some().then(|| RepairConfig { straight_quotes, ..RepairConfig::default() })
        }),
        recipe: match &data.recipe {
            None => None,
            Some(name) => Some(recipe::find(name, folder, data.languages.as_deref())?),
        },
        drop_where: data.drop_where.clone(),
        language_model: data.language_model.as_ref().map(|path| folder.join(path)),
        word_lists: data.word_lists.iter().map(|path| folder.join(path)).collect(),
        reference: Vec::new(),
        duplicates: data.duplicates.clone().map(|duplicates| DuplicatesConfig {
            embeddings: duplicates.embeddings.map(|path| folder.join(path)),
            ..duplicates
        }),
        contamination: data.contamination.clone(),
        evaluation: Vec::new(),
        personal: data
            .personal
            .clone()
            .map(|personal| PersonalConfig { key_file: personal.key_file.map(|path| folder.join(path)), ..personal }),
        licences: data.licences.clone(),
        split,
        vocabulary: vocabulary(file),
        seed: u64::from(file.seed),
        #[cfg(feature = "ballista")]
        folder: folder.to_owned(),
        #[cfg(feature = "ballista")]
        file: file.clone(),
        scheduler: None,
        record_bytes: 0.0,
    };
    if let Some(contamination) = plan.contamination.as_ref().filter(|config| !config.against.is_empty()) {
        plan.evaluation = sources::find(&contamination.against, folder, &plan.reading)?;
    }
    if !data.reference.is_empty() {
        plan.reference = sources::find(&data.reference, folder, &plan.reading)?;
    }
    plan.check_size(data.bytes_max)?;
    plan.look()?;
    Ok(plan)
}

/// The reader's word for a format.
fn format(format: DataFormat) -> Format {
    match format {
        DataFormat::Csv => Format::Csv,
        DataFormat::Tsv => Format::Tsv,
        DataFormat::Json => Format::Json,
        DataFormat::Jsonl => Format::Jsonl,
        DataFormat::Parquet => Format::Parquet,
        DataFormat::Arrow => Format::Arrow,
        DataFormat::Text | DataFormat::Document => Format::Text,
        DataFormat::Markdown => Format::Markdown,
        DataFormat::Html => Format::Html,
        DataFormat::Pdf => Format::Pdf,
        DataFormat::Docx => Format::Docx,
        DataFormat::Warc => Format::Warc,
    }
}

/// The files of a model, which is a file or a folder.
fn files(model: &Path) -> Result<Vec<PathBuf>, DataError> {
    if !model.is_dir() {
        return Ok(vec![model.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(model).map_err(DataError::io("list", model))? {
        let path = entry.map_err(DataError::io("list", model))?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl Plan {
    fn check_size(&self, most: Option<u64>) -> Result<(), DataError> {
        let Some(most) = most.filter(|most| self.bytes() > *most) else { return Ok(()) };
        Err(DataError::rows(
            format!("the sources have {}, more than {}", base::units::bytes(self.bytes()), base::units::bytes(most)),
            "Raise data.bytes_max, or name fewer files.",
        ))
    }

    /// Looks at the first records of the first object of each list: is there any text?
    fn look(&mut self) -> Result<(), DataError> {
        let (mut records, mut bytes) = (0_u64, 0_u64);
        let mut looked: Option<Option<Split>> = None;
        for given in &self.objects {
            if looked == Some(given.split) {
                continue;
            }
            looked = Some(given.split);
            let mut wrong: Option<DataError> = None;
            let (mut seen, mut texts) = (0, 0);
            sources::read(&given.object, &self.reading, &mut |item| {
                seen += 1;
                match item {
                    Item::Record(record) => match record.body {
                        Body::Document(document) => {
                            texts += 1;
                            records += 1;
                            bytes += document.text.len() as u64;
                        }
                        Body::Row(row) => match row.into_document(&self.text_column) {
                            Ok(document) => {
                                texts += 1;
                                records += 1;
                                bytes += document.text.len() as u64;
                            }
                            Err(row) => {
                                wrong.get_or_insert_with(|| DataError::Column {
                                    column: self.text_column.clone(),
                                    path: PathBuf::from(&*given.object.name),
                                    known: row.columns.to_vec(),
                                });
                            }
                        },
                        _ => {}
                    },
                    Item::Damaged { place, damage } => {
                        wrong.get_or_insert_with(|| {
                            DataError::file(
                                Path::new(&place.to_string()),
                                damage.message,
                                "Mend the file, or set data.format if it has another format.",
                            )
                        });
                    }
                    _ => {}
                }
                if seen >= RECORDS_LOOKED_AT { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            // What is damaged here and there is for the ledger; what holds no text at all is a mistake.
            if let Some(error) = wrong.filter(|_| texts == 0) {
                return Err(error);
            }
        }
        self.record_bytes = bytes as f64 / records.max(1) as f64;
        Ok(())
    }

    /// Whether the recipe is that of Chinese text.
    pub(crate) fn is_chinese(&self) -> bool {
        self.recipe.as_ref().is_some_and(|recipe| recipe.language == "zh")
    }

    /// How a document is cleaned: its inner blanks stay.
    pub(crate) fn cleaning(&self) -> TextCleaning {
        TextCleaning { unicode: self.clean.unicode, whitespace: false }
    }

    /// What identifies the sources: their contents where they lie here, else what their store tells.
    pub(crate) fn inputs(&self) -> Result<Vec<(String, Digest)>, DataError> {
        let mut inputs = Vec::new();
        let objects = self.objects.iter().map(|given| ("source", &given.object));
        for (role, object) in objects
            .chain(self.evaluation.iter().map(|object| ("evaluation", object)))
            .chain(self.reference.iter().map(|object| ("reference", object)))
        {
            let digest = match object.path() {
                Some(path) if path.is_file() => Digest::of_file(path).map_err(DataError::io("read", path))?.0,
                _ => {
                    // Nobody says whether a page or a table is still what it was, so it is read anew.
                    let version = object.version().map_or_else(|| store::now_ms().to_string(), str::to_owned);
                    Digest::of(format!("{}\n{:?}\n{version}", object.name, object.size_bytes).as_bytes())
                }
            };
            inputs.push((format!("{role}:{}", object.name), digest));
        }
        inputs.extend(self.settings()?);
        if let Some(model) = self.duplicates.as_ref().and_then(|duplicates| duplicates.embeddings.as_ref()) {
            for path in files(model)? {
                let name = path.strip_prefix(model).unwrap_or(&path).display();
                let digest = Digest::of_file(&path).map_err(DataError::io("read", &path))?.0;
                inputs.push((format!("embeddings:{name}"), digest));
            }
        }
        inputs.sort();
        inputs.dedup();
        Ok(inputs)
    }

    /// The files that settings name, whose contents the documents depend on.
    fn settings(&self) -> Result<Vec<(String, Digest)>, DataError> {
        let mut inputs = Vec::new();
        let keys = self.personal.iter().filter_map(|personal| personal.key_file.as_ref());
        for path in self.language_model.iter().chain(&self.word_lists).chain(keys) {
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            inputs.push((format!("setting:{name}"), Digest::of_file(path).map_err(DataError::io("read", path))?.0));
        }
        Ok(inputs)
    }

    /// What a prepared document depends on. Sources are told by their names, sizes and versions, so that many machines may
    /// ask whether they see the same ones without reading them.
    #[cfg(any(feature = "ballista", test))]
    #[cfg_attr(not(feature = "ballista"), allow(dead_code, reason = "asked for by clusters"))]
    pub(crate) fn identity(&self) -> Result<Digest, DataError> {
        let told = |objects: &[Object]| -> Vec<Json> {
            objects.iter().map(|object| json!([&*object.name, object.size_bytes, object.version()])).collect()
        };
        let objects: Vec<Object> = self.objects.iter().map(|given| given.object.clone()).collect();
        let settings: Vec<Json> =
            self.settings()?.into_iter().map(|(name, digest)| json!([name, digest.to_string()])).collect();
        let identity = json!({
            "program": env!("CARGO_PKG_VERSION"), "code_version": super::CODE_VERSION, "config": self.config(),
            "objects": told(&objects), "evaluation": told(&self.evaluation), "reference": told(&self.reference),
            "settings": settings,
        });
        Ok(Digest::of(identity.to_string().as_bytes()))
    }

    /// What the result depends on, besides the sources and the seed.
    pub(crate) fn config(&self) -> Json {
        // How much memory is used changes nothing, nor where an encoder lies; what it is stands among the inputs.
        let duplicates = self.duplicates.clone().map(|duplicates| DuplicatesConfig {
            memory_bytes_max: 0,
            embeddings: duplicates.embeddings.map(|_| PathBuf::new()),
            ..duplicates
        });
        // Where the key lies changes nothing; what it is stands among the inputs.
        let personal = self.personal.clone().map(|personal| PersonalConfig { key_file: None, ..personal });
        json!({
            "family": "language", "text_column": self.text_column, "reading": self.reading, "clean": self.clean,
            "repair": self.repair, "recipe": self.recipe, "drop_where": self.drop_where, "duplicates": duplicates,
            "contamination": self.contamination, "personal": personal, "licences": self.licences,
            "split": self.split, "vocabulary": self.vocabulary,
            "sources": self.objects.iter().map(|given| json!([&*given.object.name, given.split])).collect::<Vec<_>>(),
        })
    }

    /// Whether a split was given.
    pub(crate) fn given(&self, split: Split) -> bool {
        self.objects.iter().any(|given| given.split == Some(split))
    }

    /// Documents, estimated from the sizes of the objects and of the first records.
    pub(crate) fn rows(&self) -> u64 {
        (self.bytes() as f64 / self.record_bytes.max(1.0)).ceil() as u64
    }

    /// Bytes of the objects as they lie there.
    pub(crate) fn bytes(&self) -> u64 {
        self.objects.iter().filter_map(|given| given.object.size_bytes).sum()
    }

    /// The documents of each split, estimated as if nothing were dropped.
    pub(crate) fn split_estimate(&self) -> PerSplit {
        let share = |rows: u64, share: f64| (rows as f64 * share).round() as u64;
        let of = |wanted: Option<Split>| {
            let bytes =
                self.objects.iter().filter(|given| given.split == wanted).filter_map(|given| given.object.size_bytes);
            (bytes.sum::<u64>() as f64 / self.record_bytes.max(1.0)).ceil() as u64
        };
        let open = of(None);
        let (mut valid, test) = (share(open, self.split.valid), share(open, self.split.test));
        let mut train = open.saturating_sub(valid + test) + of(Some(Split::Train));
        if !self.given(Split::Valid) && self.given(Split::Train) {
            valid += share(of(Some(Split::Train)), self.split.valid);
            train = train.saturating_sub(valid);
        }
        PerSplit { train, valid: valid + of(Some(Split::Valid)), test: test + of(Some(Split::Test)) }
    }

    /// The vocabulary and cleaning, and the tokens estimated at three bytes each.
    pub(crate) fn language_estimate(&self) -> (TextCleaning, usize, PerSplit) {
        let rows = self.split_estimate();
        let tokens = |part: u64| (part as f64 * self.record_bytes / 3.0) as u64;
        let tokens = PerSplit { train: tokens(rows.train), valid: tokens(rows.valid), test: tokens(rows.test) };
        (self.cleaning(), self.vocabulary, tokens)
    }

    /// What was derived, one line each, for people.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for given in self.objects.iter().take(8) {
            let size = given.object.size_bytes.map_or_else(|| "of unknown size".to_owned(), base::units::bytes);
            notes.push(format!("source {}: {size}", given.object.name));
        }
        if self.objects.len() > 8 {
            notes.push(format!("and {} more", base::units::count(self.objects.len() as u64 - 8)));
        }
        if let Some(recipe) = &self.recipe {
            notes.push(format!("recipe {}: {} rules", recipe.name, recipe.rules.len()));
        }
        let method = if self.split.method == SplitMethod::Time { "time" } else { "random" };
        notes.push(format!("split: {method}"));
        notes
    }
}
