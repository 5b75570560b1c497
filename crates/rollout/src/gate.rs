//! Gates: what a version must show before it may become champion.
//!
//! A gate with only `min` says that higher is better, one with only `max` that lower is better; then
//! the version may also not be worse than the champion by more than `regression_max`, in the metric's
//! own unit. A gate with both is a band, which has no better side, so only its limits are checked.

use std::collections::BTreeMap;

use base::Measure;
use base::project::{GateConfig, RolloutConfig};
use serde::Serialize;

/// What one gate found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateCheck {
    /// The metric.
    pub metric: String,
    /// The version's value; `None` where it has no such metric.
    pub value: Option<f64>,
    /// The least value that passes.
    pub min: Option<f64>,
    /// The largest value that passes.
    pub max: Option<f64>,
    /// The champion's value; `None` where there is no champion, or it has no such metric.
    pub champion: Option<f64>,
    /// By how much the value may be worse than the champion's; `None` where that was not compared.
    pub regression_max: Option<f64>,
    /// Why it does not pass; empty when it passes.
    pub reasons: Vec<String>,
}

impl GateCheck {
    /// Whether the gate let the version through.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// Holds a version's metrics against every gate. `champion` is `None` where there is none yet.
#[must_use]
pub fn check_gates(
    config: &RolloutConfig,
    metrics: &BTreeMap<String, Measure>,
    champion: Option<&BTreeMap<String, Measure>>,
) -> Vec<GateCheck> {
    config.gate.iter().map(|gate| check_gate(gate, config.regression_max, metrics, champion)).collect()
}

fn check_gate(
    gate: &GateConfig,
    regression_max: f64,
    metrics: &BTreeMap<String, Measure>,
    champion: Option<&BTreeMap<String, Measure>>,
) -> GateCheck {
    let mut check = GateCheck {
        metric: gate.metric.clone(),
        value: metrics.get(&gate.metric).map(|measure| measure.value),
        min: gate.min,
        max: gate.max,
        champion: champion.and_then(|metrics| metrics.get(&gate.metric)).map(|measure| measure.value),
        regression_max: None,
        reasons: Vec::new(),
    };
    let Some(value) = check.value else {
        let known = metrics.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "it has none".to_owned() } else { format!("it has {known}") };
        check.reasons.push(format!("it has no metric {:?} ({known})", gate.metric));
        return check;
    };
    // A value that is not a number passes nothing.
    if let Some(min) = gate.min
        && (value.is_nan() || value < min)
    {
        check.reasons.push(format!("{} is {value}, below the gate's min of {min}", gate.metric));
    }
    if let Some(max) = gate.max
        && (value.is_nan() || value > max)
    {
        check.reasons.push(format!("{} is {value}, above the gate's max of {max}", gate.metric));
    }
    let worse = match (gate.min, gate.max, check.champion) {
        (Some(_), None, Some(champion)) => champion - value,
        (None, Some(_), Some(champion)) => value - champion,
        _ => return check,
    };
    check.regression_max = Some(regression_max);
    if worse.is_nan() || worse > regression_max {
        let champion = check.champion.unwrap_or(f64::NAN);
        check.reasons.push(format!(
            "{} is {value}, and the champion has {champion}: worse by {worse:.4}, more than regression_max {regression_max}",
            gate.metric
        ));
    }
    check
}
