//! The gate: by how much the quality may fall.

use std::collections::BTreeMap;

use base::Measure;
use infer::metrics::primary;
use serde_json::{Map, Value as Json, json};

use crate::{CompressError, Plan};

/// Room for rounding, so that a fall of exactly what is allowed passes.
const ROUNDING: f64 = 1e-9;

/// Holds every output's main metric against the gate, and says for each what changed.
///
/// # Errors
/// [`CompressError::Refused`] for the one that fell furthest beyond what is allowed;
/// [`CompressError::Unmeasured`] when a metric is missing or not a number.
pub(crate) fn hold(plan: &Plan, metrics: &[BTreeMap<String, Measure>; 2]) -> Result<Json, CompressError> {
    let [before, after] = metrics;
    let names = primary(before);
    if names.is_empty() {
        let what = "no row of the dataset gives an accuracy, an r2 or a perplexity".to_owned();
        return Err(CompressError::Unmeasured { what });
    }
    let mut verdicts = Map::new();
    let mut worst: Option<CompressError> = None;
    let mut worst_change = plan.quality_drop_max + ROUNDING;
    for (metric, higher_is_better) in names {
        let value = |of: &BTreeMap<String, Measure>| of.get(&metric).map_or(f64::NAN, |measure| measure.value);
        let (before, after) = (value(before), value(after));
        let (what, change) =
            if higher_is_better { ("a fall of", before - after) } else { ("a relative rise of", after / before - 1.0) };
        if !change.is_finite() {
            return Err(CompressError::Unmeasured { what: format!("{metric} is {before} before and {after} after") });
        }
        if change > worst_change {
            worst_change = change;
            let (metric, allowed) = (metric.clone(), plan.quality_drop_max);
            worst = Some(CompressError::Refused { metric, before, after, what, change, allowed });
        }
        verdicts.insert(metric, json!({ "change": change, "allowed": plan.quality_drop_max, "kind": what }));
    }
    worst.map_or(Ok(Json::Object(verdicts)), Err)
}

#[cfg(test)]
mod tests {
    use base::project::Compression;
    use base::{Failure, Fault};

    use super::*;

    fn metrics(list: &[(&str, f64)]) -> BTreeMap<String, Measure> {
        list.iter().map(|(name, value)| ((*name).to_owned(), Measure::measured(*value, "", "test"))).collect()
    }

    fn try_gate(allowed: f64, before: &[(&str, f64)], after: &[(&str, f64)]) -> Result<Json, CompressError> {
        let plan = Plan { method: Compression::Int8, quality_drop_max: allowed };
        hold(&plan, &[metrics(before), metrics(after)])
    }

    #[test]
    fn a_fall_within_the_gate_passes_and_a_larger_one_is_refused_with_its_numbers() {
        assert!(try_gate(0.01, &[("accuracy", 0.90)], &[("accuracy", 0.89)]).is_ok());
        assert!(try_gate(0.0, &[("accuracy", 0.90)], &[("accuracy", 0.95)]).is_ok());
        let error = try_gate(0.01, &[("accuracy", 0.90)], &[("accuracy", 0.85)]).unwrap_err();
        assert_eq!(error.fault(), Fault::Gate);
        let text = error.to_string();
        for part in ["accuracy", "0.9000", "0.8500", "0.0500", "0.01"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(error.hint().unwrap().contains("quality_drop_max"));
    }

    #[test]
    fn perplexity_may_rise_by_a_share() {
        assert!(try_gate(0.02, &[("perplexity", 200.0)], &[("perplexity", 203.0)]).is_ok());
        assert!(try_gate(0.01, &[("perplexity", 200.0)], &[("perplexity", 203.0)]).is_err());
    }

    #[test]
    fn the_worst_of_several_outputs_is_named() {
        let before = [("a.accuracy", 0.9), ("b.r2", 0.8)];
        let error = try_gate(0.01, &before, &[("a.accuracy", 0.88), ("b.r2", 0.5)]).unwrap_err();
        assert!(matches!(error, CompressError::Refused { metric, .. } if metric == "b.r2"));
    }

    #[test]
    fn what_cannot_be_measured_does_not_pass() {
        assert!(matches!(try_gate(1.0, &[], &[]), Err(CompressError::Unmeasured { .. })));
        assert!(matches!(try_gate(1.0, &[("r2", 0.5)], &[]), Err(CompressError::Unmeasured { .. })));
        let nan = try_gate(1.0, &[("accuracy", 0.9)], &[("accuracy", f64::NAN)]);
        assert!(matches!(nan, Err(CompressError::Unmeasured { .. })));
    }
}
