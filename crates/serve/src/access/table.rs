//! The scope that each route needs. A route that is missing here is an administrator's, and a test that
//! walks the router fails.

use store::Scope;

/// What a request must show to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: whether the server lives and is ready.
    Open,
    /// Any key: for what is no route.
    Key,
    /// A key for predictions and completions. Only these count against a key's limits.
    Infer,
    /// A key for metrics.
    Metrics,
    /// An administrator's key.
    Admin,
}

impl Need {
    /// The scope that the key must have.
    pub(crate) fn scope(self) -> Option<Scope> {
        match self {
            Self::Open | Self::Key => None,
            Self::Infer => Some(Scope::Infer),
            Self::Metrics => Some(Scope::Metrics),
            Self::Admin => Some(Scope::Admin),
        }
    }
}

/// Every route, as the router has it.
const TABLE: &[(&str, Need)] = &[
    ("/health/live", Need::Open),
    ("/health/ready", Need::Open),
    ("/metrics", Need::Metrics),
    ("/openapi.json", Need::Key),
    ("/traffic", Need::Admin),
    ("/v1/chat/completions", Need::Infer),
    ("/v1/completions", Need::Infer),
    ("/v1/embeddings", Need::Infer),
    ("/v1/models", Need::Infer),
    ("/v1/models/{model}", Need::Infer),
    ("/v1/responses", Need::Infer),
    ("/v1/responses/{response}", Need::Infer),
    ("/v2", Need::Infer),
    ("/v2/health/live", Need::Open),
    ("/v2/health/ready", Need::Open),
    ("/v2/models/{model}", Need::Infer),
    ("/v2/models/{model}/infer", Need::Infer),
    ("/v2/models/{model}/ready", Need::Infer),
    ("/v2/models/{model}/versions/{version}", Need::Infer),
    ("/v2/models/{model}/versions/{version}/infer", Need::Infer),
    ("/v2/models/{model}/versions/{version}/ready", Need::Infer),
    ("/inference.GRPCInferenceService/ServerLive", Need::Open),
    ("/inference.GRPCInferenceService/ServerReady", Need::Open),
    ("/inference.GRPCInferenceService/ServerMetadata", Need::Infer),
    ("/inference.GRPCInferenceService/ModelReady", Need::Infer),
    ("/inference.GRPCInferenceService/ModelMetadata", Need::Infer),
    ("/inference.GRPCInferenceService/ModelInfer", Need::Infer),
];

/// The route's name in metrics and logs, and what it needs. `template` is the router's; `None` for what
/// is no route.
pub(crate) fn look_up(template: Option<&str>) -> (&'static str, Need) {
    match template {
        None => ("other", Need::Key),
        Some(template) => {
            let found = TABLE.iter().find(|(route, _)| *route == template);
            found.copied().unwrap_or(("other", Need::Admin))
        }
    }
}

#[cfg(test)]
pub(super) fn is_listed(template: &str) -> bool {
    TABLE.iter().any(|(route, _)| *route == template)
}
