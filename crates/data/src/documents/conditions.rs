//! Conditions in SQL over the signals of a document: `data.drop_where`.

use std::sync::Arc;

use arrow::array::{Array as _, BooleanArray};
use arrow::datatypes::Schema;
use datafusion::common::DFSchema;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::prepared::{Prepared, to_batch};
use crate::error::DataError;

/// Conditions, ready to be asked.
pub(super) struct Conditions(Vec<(String, Arc<dyn PhysicalExpr>)>);

impl Conditions {
    /// Reads conditions over the columns of shards; `None` where there are none.
    pub(super) fn new(conditions: &[String], schema: &Arc<Schema>) -> Result<Option<Self>, DataError> {
        if conditions.is_empty() {
            return Ok(None);
        }
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let wrong = |condition: &str, error: &dyn std::fmt::Display| {
            let what = format!("data.drop_where has {condition:?}: {error}");
            DataError::rows(what, format!("Write a condition of SQL over {}.", names.join(", ")))
        };
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        let columns = DFSchema::try_from(Arc::clone(schema)).map_err(|error| wrong("", &error))?;
        let mut made = Vec::new();
        for condition in conditions {
            let expression = context
                .parse_sql_expr(condition, &columns)
                .and_then(|expression| context.create_physical_expr(expression, &columns))
                .map_err(|error| wrong(condition, &error.strip_backtrace()))?;
            let kind = expression.data_type(schema).map_err(|error| wrong(condition, &error))?;
            if kind != arrow::datatypes::DataType::Boolean {
                return Err(wrong(condition, &format!("it is {kind}, and neither true nor false")));
            }
            made.push((condition.clone(), expression));
        }
        Ok(Some(Self(made)))
    }

    /// Drops the documents that a condition holds of.
    pub(super) fn apply(
        &self,
        schema: &Arc<Schema>,
        documents: &mut [Prepared],
        exempt: impl Fn(&Prepared) -> bool,
    ) -> Result<(), DataError> {
        let failed = |error: &dyn std::fmt::Display| {
            DataError::rows(
                format!("failed to compute data.drop_where: {error}"),
                "Guard the condition, for instance against a division by zero.",
            )
        };
        let batch = to_batch(schema, documents).map_err(|error| failed(&error))?;
        for (condition, expression) in &self.0 {
            let answers = expression
                .evaluate(&batch)
                .and_then(|value| value.into_array(batch.num_rows()))
                .map_err(|error| failed(&error.strip_backtrace()))?;
            let Some(answers) = answers.as_any().downcast_ref::<BooleanArray>() else { continue };
            for (at, document) in documents.iter_mut().enumerate() {
                if answers.is_valid(at) && answers.value(at) && document.reason.is_none() && !exempt(document) {
                    document.reason = Some(format!("where {condition}"));
                }
            }
        }
        Ok(())
    }
}
