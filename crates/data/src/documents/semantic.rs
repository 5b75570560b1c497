//! Documents of the same meaning: an encoder makes a vector of each, and those that are nearly the same are found within
//! clusters of vectors (SemDeDup).

use std::path::Path;

use base::Context;
use base::project::DuplicatesConfig;
use dedup::Clusters;
use dedup::semantic::{self, EmbeddingWriter, SemanticConfig};
use infer::encoder::Encoder;

use super::duplicates::Repeats;
use super::gather::Gathered;
use super::prepared::read_shard;
use crate::error::DataError;

/// Documents whose vectors are made at once.
const BATCH: usize = 64;

/// Finds documents whose vectors are as near as the project file says, among those that nothing has dropped.
pub(super) fn find(
    context: &Context,
    config: &DuplicatesConfig,
    gathered: &Gathered,
    folder: &Path,
    earlier: &mut Repeats,
) -> Result<Option<Clusters>, DataError> {
    let Some(model) = &config.embeddings else { return Ok(None) };
    let encoder = Encoder::open(model)?;
    let path = folder.join("all.embeddings");
    let mut writer = EmbeddingWriter::create(&path, encoder.width())?;
    let task = context.begin("embeddings", Some(gathered.rows), "documents");
    for shard in 0..gathered.shards {
        let mut kept = Vec::new();
        for document in read_shard(folder, shard)? {
            let repeats = earlier.reason(document.row)?.is_some();
            if document.reason.is_none() && !repeats {
                kept.push(document);
            }
        }
        for batch in kept.chunks(BATCH) {
            if context.stop.asked() {
                return Err(DataError::Stopped);
            }
            let texts: Vec<&str> = batch.iter().map(|document| document.text.as_str()).collect();
            for (document, embedding) in batch.iter().zip(encoder.embed(&texts)?) {
                writer.push(document.row, &embedding.vector)?;
            }
            task.at(batch[batch.len() - 1].row);
        }
    }
    writer.finish()?;
    let settings = SemanticConfig {
        similarity: config.similarity as f32,
        budget_bytes: config.memory_bytes_max,
        threads: context.threads,
        ..SemanticConfig::default()
    };
    let found = semantic::find(&[path], &folder.join("semantic"), &settings)?;
    task.end(&format!("{} of the same meaning", base::units::count(found.dropped)));
    Ok(Some(found))
}
