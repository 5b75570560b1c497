//! What repeats what: equal documents, near ones, ones of the same meaning, and passages that stood before. All of it is
//! found by `dedup` from files of the shards, in the memory that the project file allows.

use std::ops::Range;
use std::path::{Path, PathBuf};

use base::Context;
use base::project::{DuplicatesConfig, ShingleUnit};
use dedup::exact::{Cuts, ExactConfig, SpanWriter, find_documents, find_spans};
use dedup::near::{NearConfig, Shingle};
use dedup::substring::{self, SubstringConfig, Symbol, TextWriter};
use dedup::{Clusters, Dropped, Keep};

use super::gather::Gathered;
use super::plan::Plan;
use super::prepared::read_shard;
use super::semantic;
use crate::error::DataError;

/// What is used where the project file asks for exact duplicates alone.
const MEMORY_BYTES_MAX: u64 = 256 << 20;

/// The settings of near duplicates; `None` where they are not looked for.
pub(super) fn near_config(plan: &Plan, threads: usize) -> Option<NearConfig> {
    let config = plan.duplicates.as_ref().filter(|config| config.near)?;
    let unit = config.unit.unwrap_or(if plan.is_chinese() { ShingleUnit::Character } else { ShingleUnit::Word });
    let length = config.shingle as usize;
    Some(NearConfig {
        shingle: match unit {
            ShingleUnit::Word => Shingle::Words(length),
            ShingleUnit::Character => Shingle::Characters(length),
        },
        bands: config.bands as usize,
        rows: config.rows as usize,
        // Of equal documents the first stays, so it must of near ones.
        keep: Keep::First,
        budget_bytes: config.memory_bytes_max,
        threads,
        ..NearConfig::default()
    })
}

/// Where the file of a shard's signatures lies.
pub(super) fn signatures_path(folder: &Path, shard: usize) -> PathBuf {
    folder.join(format!("shard-{shard:06}.near"))
}

/// Where the file of a shard's hashes lies.
pub(super) fn hashes_path(folder: &Path, shard: usize) -> PathBuf {
    folder.join(format!("shard-{shard:06}.exact"))
}

/// Everything that repeats something, on disk.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    /// By kind, in the order in which they decide.
    found: Vec<(&'static str, Clusters)>,
    /// Files of passages to cut.
    cuts: Vec<(&'static str, PathBuf)>,
}

/// What is to be cut out of a text, and why: ranges of bytes that ascend.
pub(super) type Cut = (&'static str, Vec<Range<usize>>);

/// A walk over what repeats something. Rows are asked for in ascending order.
pub(super) struct Repeats {
    found: Vec<(&'static str, std::iter::Peekable<Dropped>)>,
    cuts: Vec<(&'static str, std::iter::Peekable<Cuts>)>,
}

/// Finds what repeats what.
pub(super) fn find(
    context: &Context,
    plan: &Plan,
    gathered: &Gathered,
    folder: &Path,
) -> Result<Duplicates, DataError> {
    let files = |path: fn(&Path, usize) -> PathBuf| -> Vec<PathBuf> {
        (0..gathered.shards).map(|shard| path(folder, shard)).filter(|path| path.exists()).collect()
    };
    let budget_bytes = plan.duplicates.as_ref().map_or(MEMORY_BYTES_MAX, |config| config.memory_bytes_max);
    let exact = ExactConfig { budget_bytes };
    let mut all = Duplicates::default();
    if plan.clean.duplicates == base::project::DropOrKeep::Drop {
        let task = context.begin("duplicates", None, "documents");
        let found = find_documents(&files(hashes_path), &folder.join("equal"), &exact)?;
        task.end(&format!("{} equal", base::units::count(found.dropped)));
        all.found.push(("duplicate", found));
    }
    if let Some(config) = near_config(plan, context.threads) {
        let task = context.begin("near duplicates", None, "documents");
        let found = dedup::near::cluster(&files(signatures_path), &folder.join("near"), &config)?;
        task.end(&format!("{} in {} clusters", base::units::count(found.dropped), base::units::count(found.clusters)));
        all.found.push(("near_duplicate", found));
    }
    stopped(context)?;
    if let Some(config) = plan.duplicates.as_ref().filter(|config| config.embeddings.is_some()) {
        let mut earlier = all.walk()?;
        if let Some(found) = semantic::find(context, config, gathered, folder, &mut earlier)? {
            all.found.push(("semantic_duplicate", found));
        }
    }
    if let Some(config) = &plan.duplicates {
        all.cuts = cuts(context, config, gathered, folder, &exact, &mut all.walk()?)?;
    }
    Ok(all)
}

fn stopped(context: &Context) -> Result<(), DataError> {
    if context.stop.asked() { Err(DataError::Stopped) } else { Ok(()) }
}

/// Passages that stood before: lines, paragraphs, and runs of bytes.
fn cuts(
    context: &Context,
    config: &DuplicatesConfig,
    gathered: &Gathered,
    folder: &Path,
    exact: &ExactConfig,
    earlier: &mut Repeats,
) -> Result<Vec<(&'static str, PathBuf)>, DataError> {
    let length = config.substring_bytes_min.map_or(0, |length| length as usize);
    if !config.lines && !config.paragraphs && length == 0 {
        return Ok(Vec::new());
    }
    let path = |name: &str| folder.join(name);
    let mut lines = config.lines.then(|| SpanWriter::create(&path("lines.spans"))).transpose()?;
    let mut paragraphs = config.paragraphs.then(|| SpanWriter::create(&path("paragraphs.spans"))).transpose()?;
    let mut texts = (length > 0).then(|| TextWriter::create(&path("all.texts"), Symbol::Byte)).transpose()?;
    let task = context.begin("repeated passages", Some(gathered.rows), "documents");
    for shard in 0..gathered.shards {
        stopped(context)?;
        for document in read_shard(folder, shard)? {
            if document.reason.is_some() || earlier.reason(document.row)?.is_some() {
                continue;
            }
            if let Some(writer) = &mut lines {
                writer.push_lines(document.row, &document.text)?;
            }
            if let Some(writer) = &mut paragraphs {
                writer.push_paragraphs(document.row, &document.text)?;
            }
            if let Some(writer) = &mut texts {
                writer.push_text(document.row, &document.text)?;
            }
            task.at(document.row);
        }
    }
    let mut found = Vec::new();
    for (reason, writer, name) in [("repeated_paragraph", paragraphs, "paragraphs"), ("repeated_line", lines, "lines")]
    {
        if let Some(writer) = writer {
            writer.finish()?;
            let out = path(&format!("{name}.cuts"));
            find_spans(&[path(&format!("{name}.spans"))], &out, exact)?;
            found.push((reason, out));
        }
    }
    if let Some(writer) = texts {
        writer.finish()?;
        let config = SubstringConfig {
            symbol: Symbol::Byte,
            length,
            budget_bytes: exact.budget_bytes,
            ..SubstringConfig::default()
        };
        substring::find(&[path("all.texts")], &path("substring.cuts"), &config)?;
        found.push(("repeated_passage", path("substring.cuts")));
    }
    task.end("");
    Ok(found)
}

impl Duplicates {
    /// Begins a walk.
    pub(super) fn walk(&self) -> Result<Repeats, DataError> {
        let found = self.found.iter().map(|(reason, clusters)| Ok((*reason, clusters.dropped()?.peekable())));
        let cuts = self.cuts.iter().map(|(reason, path)| Ok((*reason, Cuts::open(path)?.peekable())));
        Ok(Repeats { found: found.collect::<Result<_, DataError>>()?, cuts: cuts.collect::<Result<_, DataError>>()? })
    }

    /// The clusters of near duplicates, for people to look at.
    pub(super) fn near(&self) -> Option<&Clusters> {
        self.found.iter().find(|(reason, _)| *reason == "near_duplicate").map(|(_, clusters)| clusters)
    }
}

impl Repeats {
    /// Why a row repeats another one, and which.
    pub(super) fn reason(&mut self, row: u64) -> Result<Option<(&'static str, u64)>, DataError> {
        let mut answer = None;
        for (reason, dropped) in &mut self.found {
            while let Some(next) = dropped.next_if(|next| next.as_ref().map_or(true, |(id, _)| *id <= row)) {
                let (id, of) = next?;
                if id == row {
                    answer.get_or_insert((*reason, of));
                }
            }
        }
        Ok(answer)
    }

    /// What is to be cut out of a row's text, with the reasons: ranges of bytes that ascend.
    pub(super) fn cut(&mut self, row: u64) -> Result<Vec<Cut>, DataError> {
        let mut all = Vec::new();
        for (reason, cuts) in &mut self.cuts {
            while let Some(next) = cuts.next_if(|next| next.as_ref().map_or(true, |(id, _)| *id <= row)) {
                let (id, ranges) = next?;
                if id == row {
                    all.push((*reason, ranges));
                }
            }
        }
        Ok(all)
    }
}
