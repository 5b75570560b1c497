//! What was trained is what is served: a real server on a free port answers the whole test split over
//! HTTP, and every answer must equal the offline one in every bit.

use std::ops::ControlFlow;
use std::sync::Arc;

use base::project::ServeConfig;
use base::{Context, Failure, Fault, Measure};
use dataset::{DatasetError, Split, read_documents, read_split};
use infer::{Engine, Generator, InferError, Model, Predictor, Sampling};
use serde_json::json;
use serve::{FolderSource, ServeError, ServerConfig, VerifyReport, verify_language, verify_predict};
use store::{Artifact, Made, StageKey, Store, StoreError, Work};

use crate::output::{Error, boxed};

/// What the verification found.
pub const FILE: &str = "verify.json";
/// Raised whenever this code would find something else.
const CODE_VERSION: u32 = 1;
/// Documents of a language model's test split whose beginnings are completed, at most.
const PROMPTS_MAX: usize = 200;
/// Tokens that are asked for behind each beginning.
const TOKENS: usize = 24;

#[derive(Debug, thiserror::Error)]
enum VerifyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Infer(#[from] InferError),
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("stopped while verifying")]
    Stopped,
}

impl Failure for VerifyError {
    fn fault(&self) -> Fault {
        match self {
            Self::Store(error) => error.fault(),
            Self::Infer(error) => error.fault(),
            Self::Dataset(error) => error.fault(),
            Self::Serve(error) => error.fault(),
            Self::Stopped => Fault::Stopped,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Infer(error) => error.hint(),
            Self::Dataset(error) => error.hint(),
            Self::Serve(error) => error.hint(),
            Self::Stopped => Some("Run the same command again; nothing was lost.".to_owned()),
        }
    }
}

/// Verifies a model against its dataset's test split, or finds that it was verified before.
pub fn verify(context: &Context, store: &Store, model: &Artifact, dataset: &Artifact) -> Result<Made, Error> {
    let key = StageKey {
        stage: "verify",
        code_version: CODE_VERSION,
        config: json!({ "prompts_max": PROMPTS_MAX, "tokens": TOKENS }),
        inputs: vec![("model".to_owned(), model.digest), ("dataset".to_owned(), dataset.digest)],
        seed: 0,
        makes: "verification",
    };
    store.stage(&key, |work| make(context, work, model, dataset)).map_err(boxed)
}

fn make(context: &Context, work: &Work<'_>, model: &Artifact, dataset: &Artifact) -> Result<(), VerifyError> {
    let offline = Model::load(&model.folder)?;
    let free = ServeConfig { address: "127.0.0.1:0".to_owned(), ..ServeConfig::default() };
    let server = serve::start(ServerConfig::plan(&free, None)?, vec![Arc::new(FolderSource::new(&model.folder, 1))])?;
    let address = server.ready().address;
    let (report, of) = match offline.engine() {
        Engine::Predict(predictor) => {
            let (rows, expected, of) = rows(context, predictor, dataset)?;
            (verify_predict(address, None, predictor.description(), &rows, &expected, context)?, of)
        }
        Engine::Language(generator) => {
            let (prompts, expected) = prompts(context, generator, dataset)?;
            let of = "beginnings of documents of the test split, completed greedily";
            (verify_language(address, None, &prompts, &expected, context)?, of)
        }
    };
    server.stop()?;
    write(work, &report, of)
}

type Rows = (Vec<Vec<base::Value>>, Vec<Vec<infer::Prediction>>, &'static str);

/// The rows of the test split (of the training split where there is none) and their offline answers.
fn rows(context: &Context, predictor: &Predictor, dataset: &Artifact) -> Result<Rows, VerifyError> {
    let columns = &predictor.description().columns;
    let mut of = "every row of the test split";
    let mut split = read_split(&dataset.folder, Split::Test, columns)?;
    if split.is_empty() {
        of = "every row of the training split, because there is no test split";
        split = read_split(&dataset.folder, Split::Train, columns)?;
    }
    let task = context.begin("predict", Some(split.len() as u64), "rows");
    let (mut rows, mut expected) = (Vec::new(), Vec::new());
    for (index, row) in split.into_iter().enumerate() {
        if index % 256 == 0 {
            task.at(index as u64);
            if context.stop.asked() {
                return Err(VerifyError::Stopped);
            }
        }
        expected.push(predictor.predict(&row.inputs)?);
        rows.push(row.inputs);
    }
    task.end("");
    Ok((rows, expected, of))
}

type Prompts = (Vec<(String, Sampling)>, Vec<String>);

/// The first half of each document of the test split, and the offline completions.
fn prompts(context: &Context, generator: &Generator, dataset: &Artifact) -> Result<Prompts, VerifyError> {
    let documents = read_documents(&dataset.folder)?;
    let step = documents.len().div_ceil(PROMPTS_MAX).max(1);
    let chosen: Vec<_> = documents.iter().step_by(step).collect();
    let task = context.begin("complete", Some(chosen.len() as u64), "prompts");
    let (mut prompts, mut expected) = (Vec::new(), Vec::new());
    for (index, document) in chosen.into_iter().enumerate() {
        task.at(index as u64);
        if context.stop.asked() {
            return Err(VerifyError::Stopped);
        }
        let half = document.text.chars().count() / 2;
        let prompt: String = document.text.chars().take(half.min(24)).collect();
        let sampling = Sampling { max_tokens: TOKENS, temperature: 0.0, ..Sampling::default() };
        let done = match generator.complete(&prompt, &sampling, &mut |_| ControlFlow::Continue(())) {
            Ok(done) => done,
            // A model whose context is shorter than prompt and answer cannot be asked this.
            Err(InferError::TooLong { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        expected.push(done.text);
        prompts.push((prompt, sampling));
    }
    task.end("");
    Ok((prompts, expected))
}

fn write(work: &Work<'_>, report: &VerifyReport, of: &str) -> Result<(), VerifyError> {
    let found = json!({
        "answers": Measure::measured(report.rows as f64, "answers", &format!("{of}, each equal in every bit to the offline answer")),
        "requests": Measure::measured(report.requests as f64, "requests", "HTTP requests sent"),
        "seconds": report.seconds, "latency_ms_p50": report.latency_ms_p50, "latency_ms_p99": report.latency_ms_p99,
    });
    let path = work.out().join(FILE);
    std::fs::write(&path, format!("{found:#}\n")).map_err(StoreError::io("write", &path))?;
    Ok(())
}
