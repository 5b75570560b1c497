//! A loaded version, ready to answer.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use base::Value;
use infer::InferError;
use infer::description::{BASELINE_FILE, MODEL_FILE};
use infer::encoder::Encoder;
use infer::engine::{Engine, EngineConfig, Opened, Packing, Structures, open_with_draft};
use infer::formats::template::ChatTemplate;
use infer::language::Generator;
use infer::model::Model;
use infer::predict::Predictor;
use infer::sampling::Sampling;
use infer::sketch::Sketch;

use crate::error::ServeError;
use crate::oip::output_names;
use crate::source::{Source, Wanted};
use crate::traffic::Traffic;

/// What a folder of Hugging Face's has in place of our `model.json`.
const CONFIG_FILE: &str = "config.json";

/// A loaded version. A request holds one `Arc` of it from its first byte to its last, so that an answer
/// never mixes two versions.
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) wanted: Wanted,
    pub(crate) kind: Kind,
    /// What a version of ours has its traffic compared with; files of others bring nothing to compare.
    pub(crate) traffic: Option<Arc<Traffic>>,
    /// The bytes that its weights and its caches may take.
    pub(crate) bytes: u64,
    /// Whether it has answered a real request.
    pub(crate) proven: AtomicBool,
    structures: OnceLock<Result<Structures, InferError>>,
}

/// What answers.
pub(crate) enum Kind {
    /// A model of ours, in its folder.
    Model(Box<Model>),
    /// A language model of others, behind the engine.
    Text(Box<TextModel>),
    /// A model of others that turns texts into vectors.
    Encoder(Box<Encoder>),
}

/// A language model behind the engine.
pub(crate) struct TextModel {
    pub(crate) engine: Engine,
    pub(crate) template: Option<ChatTemplate>,
    /// The token that begins a text without a template.
    pub(crate) begin: Option<u32>,
}

impl Loaded {
    /// Loads a wanted version and has it answer one request. Blocks.
    pub(crate) fn load(source: &dyn Source, wanted: &Wanted, engine: EngineConfig) -> Result<Self, ServeError> {
        let path = source.folder(wanted)?;
        let theirs = path.is_file() || (path.join(CONFIG_FILE).exists() && !path.join(MODEL_FILE).exists());
        let loaded = if theirs {
            Self::others(&path, source.draft().as_deref(), wanted, engine)?
        } else {
            Self::ours(&path, wanted)?
        };
        loaded.warm_up()?;
        Ok(loaded)
    }

    fn ours(folder: &Path, wanted: &Wanted) -> Result<Self, ServeError> {
        let model = Model::load(folder)?;
        let name = wanted.name.clone().unwrap_or_else(|| model.description().name.clone());
        let path = folder.join(BASELINE_FILE);
        let file = File::open(&path).map_err(InferError::io("open", &path))?;
        let baseline: Sketch = serde_json::from_reader(BufReader::new(file)).map_err(InferError::damaged(&path))?;
        let traffic = Some(Arc::new(Traffic::new(name.clone(), wanted.version, baseline)));
        let bytes = model.bytes();
        Ok(Self::new(name, wanted, Kind::Model(Box::new(model)), traffic, bytes))
    }

    fn others(path: &Path, draft: Option<&Path>, wanted: &Wanted, config: EngineConfig) -> Result<Self, ServeError> {
        let name = wanted.name.clone().unwrap_or_else(|| crate::source::file_name(path));
        let files = crate::source::bytes_of(path);
        if Encoder::knows(path) {
            let kind = Kind::Encoder(Box::new(Encoder::open(path)?));
            return Ok(Self::new(name, wanted, kind, None, files));
        }
        let Opened { engine, template, begin, cache_bytes, .. } = open_with_draft(path, draft, config, Packing::Exact)?;
        let bytes = files + draft.map_or(0, crate::source::bytes_of) + cache_bytes as u64;
        let kind = Kind::Text(Box::new(TextModel { engine, template, begin }));
        Ok(Self::new(name, wanted, kind, None, bytes))
    }

    fn new(name: String, wanted: &Wanted, kind: Kind, traffic: Option<Arc<Traffic>>, bytes: u64) -> Self {
        Self {
            name,
            version: wanted.version,
            wanted: wanted.clone(),
            kind,
            traffic,
            bytes,
            proven: AtomicBool::new(false),
            structures: OnceLock::new(),
        }
    }

    /// `name@3`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    /// What answers rows.
    pub(crate) fn predictor(&self) -> Option<&Predictor> {
        match &self.kind {
            Kind::Model(model) => match model.engine() {
                infer::model::Engine::Predict(predictor) => Some(predictor),
                infer::model::Engine::Language(_) => None,
            },
            Kind::Text(_) | Kind::Encoder(_) => None,
        }
    }

    /// What completes prompts one at a time.
    pub(crate) fn generator(&self) -> Option<&Generator> {
        match &self.kind {
            Kind::Model(model) => match model.engine() {
                infer::model::Engine::Language(generator) => Some(generator),
                infer::model::Engine::Predict(_) => None,
            },
            Kind::Text(_) | Kind::Encoder(_) => None,
        }
    }

    /// What completes prompts behind the engine.
    pub(crate) fn text_model(&self) -> Option<&TextModel> {
        match &self.kind {
            Kind::Text(model) => Some(model),
            Kind::Model(_) | Kind::Encoder(_) => None,
        }
    }

    /// What turns texts into vectors.
    pub(crate) fn encoder(&self) -> Option<&Encoder> {
        match &self.kind {
            Kind::Encoder(encoder) => Some(encoder),
            Kind::Model(_) | Kind::Text(_) => None,
        }
    }

    /// Whether its engine ended by a fault of the program, so that it must be loaded again.
    pub(crate) fn has_ended(&self) -> bool {
        self.text_model().is_some_and(|model| model.engine.has_ended())
    }

    /// Whether it answers prompts.
    pub(crate) fn is_language(&self) -> bool {
        self.generator().is_some() || self.text_model().is_some()
    }

    /// The structures of its tokens, made when they are first asked for. Blocks.
    pub(crate) fn structures(&self) -> Result<&Structures, InferError> {
        let make = || match (&self.kind, self.generator()) {
            (Kind::Text(model), _) => {
                let engine = &model.engine;
                let end = engine.ends().first().copied().unwrap_or_default();
                Structures::new(engine.tokenizer(), end)
            }
            (_, Some(generator)) => Structures::new(generator.tokenizer(), generator.tokenizer().end_of_text()),
            _ => Err(InferError::Structure { verb: "use", what: "this model writes no text".to_owned() }),
        };
        self.structures
            .get_or_init(make)
            .as_ref()
            .map_err(|error| InferError::Structure { verb: "use", what: error.to_string() })
    }

    /// One answer before the first real one: weights are read in, and a model that cannot answer is
    /// found out here.
    fn warm_up(&self) -> Result<(), ServeError> {
        let fail = |message: String| ServeError::Model { version: self.full_name(), message };
        let one = Sampling { max_tokens: 1, temperature: 0.0, ..Sampling::default() };
        if let Some(predictor) = self.predictor() {
            let description = predictor.description();
            let names: Vec<String> = description.columns.outputs.iter().flat_map(output_names).collect();
            if let Some(name) = twice(&names) {
                return Err(fail(format!("two of its outputs would be called {name:?}")));
            }
            let row = vec![Value::Missing; description.columns.inputs.len()];
            predictor.predict(&row)?;
        }
        if let Some(generator) = self.generator() {
            generator.complete("", &one, &mut |_| std::ops::ControlFlow::Continue(()))?;
        }
        if let Some(encoder) = self.encoder() {
            encoder.embed(&[""])?;
        }
        if let Some(model) = self.text_model() {
            model.warm_up(one).map_err(fail)?;
        }
        Ok(())
    }
}

impl TextModel {
    fn warm_up(&self, sampling: Sampling) -> Result<(), String> {
        use infer::engine::{Event, Request};
        let (sender, receiver) = std::sync::mpsc::channel();
        let request = Request {
            prompt: vec![self.begin.or_else(|| self.engine.ends().first().copied()).unwrap_or_default()],
            sampling,
            structure: None,
            ignore_end: false,
            cancelled: Arc::default(),
            on_event: Box::new(move |event| match sender.send(event) {
                Ok(()) => std::ops::ControlFlow::Continue(()),
                Err(_) => std::ops::ControlFlow::Break(()),
            }),
        };
        self.engine.submit(request).map_err(|refused| format!("{refused:?}"))?;
        match receiver.into_iter().last() {
            Some(Event::End(_)) => Ok(()),
            Some(Event::Failed(failure)) => Err(format!("its first token could not be computed: {failure:?}")),
            _ => Err("it ended before its first token".to_owned()),
        }
    }
}

fn twice(names: &[String]) -> Option<&String> {
    let mut seen = BTreeSet::new();
    names.iter().find(|name| !seen.insert(*name))
}
