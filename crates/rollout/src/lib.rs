//! Who is champion: promotion through gates, and rollback.
//!
//! A promotion checks every gate of the project file against the metrics that were registered with the
//! version, checks that the model's files are intact, and moves the alias in one transaction with its
//! entry in the audit log. A refusal is in the audit log too. A running server sees the move and
//! switches by itself.
//!
//! **Invariant:** this crate measures nothing and knows no server; it only moves a pointer to what
//! exists.

mod error;
mod gate;

use std::collections::BTreeMap;

use base::project::RolloutConfig;
use base::version::Pointer;
use base::{Digest, Measure, VersionName};
use serde::Serialize;
use serde_json::json;
use store::{Store, StoreError, Version};

pub use error::RolloutError;
pub use gate::{GateCheck, check_gates};

/// The alias that a server follows, and that only a promotion or a rollback moves.
pub const CHAMPION: &str = "champion";

/// A promotion that went through.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Promotion {
    /// The model's name.
    pub name: String,
    /// The version that is champion now.
    pub version: u32,
    /// The version that was champion before; `None` for the first.
    pub previous: Option<u32>,
    /// Whether the alias moved; `false` when the version was champion already.
    pub moved: bool,
    /// What the gates found.
    pub checks: Vec<GateCheck>,
    /// What a reader of the checks should know.
    pub notes: Vec<String>,
}

/// A rollback that went through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rollback {
    /// The model's name.
    pub name: String,
    /// The version that is champion again.
    pub version: u32,
    /// The version that is champion no more; a second rollback returns to it.
    pub from: u32,
}

/// Makes a version the champion of its name, if every gate lets it through.
///
/// # Errors
/// [`RolloutError::Refused`] when a gate says no: nothing moves, and the audit log has the refusal.
/// [`RolloutError::Store`] when the version does not exist or its model is damaged.
pub fn promote(
    store: &Store,
    config: &RolloutConfig,
    name: &VersionName,
    actor: &str,
) -> Result<Promotion, RolloutError> {
    let version = store.version(name)?;
    let champion = champion(store, &version.name)?;
    let metrics = metrics(&version)?;
    let champion_metrics = champion.as_ref().map(self::metrics).transpose()?;
    let checks = check_gates(config, &metrics, champion_metrics.as_ref());
    let notes = notes(store, config, &version, champion.as_ref(), &checks)?;
    let subject = format!("{}@{}", version.name, version.number);
    let detail = json!({
        "gates": checks,
        "compared_with": champion.as_ref().map(|champion| champion.number),
        "notes": notes,
    });
    let reasons: Vec<String> = checks.iter().flat_map(|check| check.reasons.clone()).collect();
    if !reasons.is_empty() {
        store.note_audit(actor, "promote_refused", &subject, &detail)?;
        return Err(RolloutError::Refused { version: subject, reasons });
    }
    store.artifact(version.artifact)?;
    store.move_alias(&version.name, CHAMPION, version.number, actor, "promote", &detail)?;
    let previous = champion.map(|champion| champion.number);
    let moved = previous != Some(version.number);
    Ok(Promotion { name: version.name, version: version.number, previous, moved, checks, notes })
}

/// Makes the version that was champion before champion again.
///
/// # Errors
/// [`StoreError::NoPrevious`] where there is none; [`StoreError::Damaged`] when its model is not intact
/// any more, and then nothing moves.
pub fn rollback(store: &Store, name: &str, actor: &str) -> Result<Rollback, RolloutError> {
    let Some(alias) = store.alias(name, CHAMPION)? else {
        // Says that the name or its champion does not exist, and what does.
        store.version(&VersionName { name: name.to_owned(), pointer: Pointer::Alias(CHAMPION.to_owned()) })?;
        return Err(StoreError::NoPrevious { name: name.to_owned() }.into());
    };
    let Some(previous) = alias.previous else {
        return Err(StoreError::NoPrevious { name: name.to_owned() }.into());
    };
    let target = store.version(&VersionName { name: name.to_owned(), pointer: Pointer::Number(previous) })?;
    store.artifact(target.artifact)?;
    let detail = json!({ "artifact": target.artifact });
    store.move_alias(name, CHAMPION, previous, actor, "rollback", &detail)?;
    Ok(Rollback { name: name.to_owned(), version: previous, from: alias.version })
}

fn champion(store: &Store, name: &str) -> Result<Option<Version>, RolloutError> {
    let Some(alias) = store.alias(name, CHAMPION)? else { return Ok(None) };
    let exact = VersionName { name: name.to_owned(), pointer: Pointer::Number(alias.version) };
    Ok(Some(store.version(&exact)?))
}

/// The metrics that were registered with a version.
///
/// # Errors
/// [`RolloutError::Metrics`] when they are not a map from names to measures.
pub fn metrics(version: &Version) -> Result<BTreeMap<String, Measure>, RolloutError> {
    if version.metrics.is_null() {
        return Ok(BTreeMap::new());
    }
    serde_json::from_value(version.metrics.clone()).map_err(|error| RolloutError::Metrics {
        version: format!("{}@{}", version.name, version.number),
        message: error.to_string(),
    })
}

/// What the checks alone do not say: that there were none, and what was compared with what.
fn notes(
    store: &Store,
    config: &RolloutConfig,
    version: &Version,
    champion: Option<&Version>,
    checks: &[GateCheck],
) -> Result<Vec<String>, StoreError> {
    let mut notes = Vec::new();
    if config.gate.is_empty() {
        notes.push("the project file has no gate, so nothing was checked".to_owned());
    }
    let Some(champion) = champion.filter(|champion| champion.number != version.number) else { return Ok(notes) };
    for check in checks.iter().filter(|check| check.champion.is_none()) {
        notes.push(format!("the champion has no metric {:?} to compare with", check.metric));
    }
    if checks.iter().any(|check| check.regression_max.is_some())
        && datasets(store, version.artifact)? != datasets(store, champion.artifact)?
    {
        notes.push(format!(
            "version {} and the champion {} were measured on different datasets, so their metrics compare only roughly",
            version.number, champion.number
        ));
    }
    Ok(notes)
}

/// The datasets behind a model.
fn datasets(store: &Store, artifact: Digest) -> Result<Vec<Digest>, StoreError> {
    let lineage = store.lineage(artifact)?;
    let mut found: Vec<Digest> =
        lineage.iter().filter(|run| run.stage == "data").filter_map(|run| run.artifact).collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests;
