//! Several processes that train together. The leader runs the stages and alone opens the store; before it
//! trains it calls the others, who wait until then, and who read the dataset's folder and nothing else.

use base::{Context, Digest};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use store::{Artifact, Store};
use train::{Plan, Ranks, TrainError};

use super::load;
use crate::arguments::ProjectArguments;
use crate::output::{Error, boxed};

/// What the leader tells the others before it trains.
#[derive(Debug, Serialize, Deserialize)]
struct Call {
    dataset: Digest,
    /// What a search found, on top of the project file.
    settings: Vec<(String, Json)>,
    /// The key of the training, as the leader finds it.
    key: Digest,
}

/// Calls the others to a training, or sends them home where it was done before.
pub fn call(
    ranks: &Ranks,
    store: &Store,
    plan: &Plan,
    dataset: &Artifact,
    settings: &[(String, Json)],
) -> Result<(), Error> {
    let key = plan.key(dataset);
    let call = match store.cached(&key).map_err(boxed)? {
        Some(_) => None,
        None => Some(Call { dataset: dataset.digest, settings: settings.to_vec(), key: key.digest() }),
    };
    let text = serde_json::to_vec(&call).map_err(|error| differ(&error.to_string()))?;
    // It hears itself as well.
    let _ = ranks.tell(&text);
    Ok(())
}

/// Waits for the leader's call, and computes along.
pub fn follow(context: &Context, arguments: &ProjectArguments, ranks: &Ranks) -> Result<(), Error> {
    let heard = serde_json::from_slice(&ranks.tell(&[])).map_err(|error| differ(&error.to_string()))?;
    let Some(Call { dataset, settings, key }) = heard else { return Ok(()) };
    let project = load(arguments)?.with(&settings).map_err(boxed)?;
    let dataset = Artifact::open(&project.folder, dataset).map_err(boxed)?;
    let plan = train::plan(&project, &dataset).map_err(boxed)?;
    if plan.key(&dataset).digest() != key {
        return Err(differ(&format!("process {} would train something else than the leader", ranks.rank())));
    }
    train::follow(context, &plan, &dataset, ranks).map_err(boxed)
}

fn differ(what: &str) -> Error {
    let hint = "Start the same yard with the same yard.toml on every machine.";
    boxed(TrainError::Ranks { what: what.to_owned(), hint })
}
