//! A loaded version, ready to answer.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use base::Value;
use infer::InferError;
use infer::description::BASELINE_FILE;
use infer::model::{Engine, Model};
use infer::sampling::Sampling;
use infer::sketch::Sketch;

use crate::error::ServeError;
use crate::oip::output_names;
use crate::source::{Source, Wanted};
use crate::traffic::Traffic;

/// A loaded version. A request holds one `Arc` of it from its first byte to its last, so that an answer
/// never mixes two versions.
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) wanted: Wanted,
    pub(crate) model: Model,
    pub(crate) traffic: Arc<Traffic>,
    /// Whether it has answered a real request.
    pub(crate) proven: AtomicBool,
}

impl Loaded {
    /// Loads a wanted version and has it answer one request. Blocks.
    pub(crate) fn load(source: &dyn Source, wanted: &Wanted) -> Result<Self, ServeError> {
        let folder = source.folder(wanted)?;
        let model = Model::load(&folder)?;
        let name = wanted.name.clone().unwrap_or_else(|| model.description().name.clone());
        let path = folder.join(BASELINE_FILE);
        let file = File::open(&path).map_err(InferError::io("open", &path))?;
        let baseline: Sketch = serde_json::from_reader(BufReader::new(file)).map_err(InferError::damaged(&path))?;
        let traffic = Arc::new(Traffic::new(name.clone(), wanted.version, baseline));
        let loaded = Self {
            name,
            version: wanted.version,
            wanted: wanted.clone(),
            model,
            traffic,
            proven: AtomicBool::new(false),
        };
        loaded.warm_up()?;
        Ok(loaded)
    }

    /// `name@3`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// One answer before the first real one: weights are read in, and a model that cannot answer is
    /// found out here.
    fn warm_up(&self) -> Result<(), ServeError> {
        let fail = |message: String| ServeError::Model { version: self.full_name(), message };
        match self.model.engine() {
            Engine::Predict(predictor) => {
                let description = predictor.description();
                let names: Vec<String> = description.columns.outputs.iter().flat_map(output_names).collect();
                if let Some(name) = twice(&names) {
                    return Err(fail(format!("two of its outputs would be called {name:?}")));
                }
                let row = vec![Value::Missing; description.columns.inputs.len()];
                predictor.predict(&row)?;
            }
            Engine::Language(generator) => {
                let sampling = Sampling { max_tokens: 1, temperature: 0.0, ..Sampling::default() };
                generator.complete("", &sampling, &mut |_| std::ops::ControlFlow::Continue(()))?;
            }
        }
        Ok(())
    }
}

fn twice(names: &[String]) -> Option<&String> {
    let mut seen = BTreeSet::new();
    names.iter().find(|name| !seen.insert(*name))
}
