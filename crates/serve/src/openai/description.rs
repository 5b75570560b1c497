//! What `/v1` takes and gives, as an OpenAPI document: `/openapi.json`.

use axum::http::StatusCode;
use axum::response::Response;

use crate::refusal::json_response;

const DOCUMENT: &str = include_str!("openapi.json");

/// `GET /openapi.json`
pub(crate) async fn serve() -> Response {
    let document = DOCUMENT.replacen("VERSION", env!("CARGO_PKG_VERSION"), 1);
    json_response(StatusCode::OK, document.into_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Map, Value as Json, json};

    use super::*;
    use crate::config::Limits;
    use crate::openai::fields::Fields;
    use crate::openai::{chat, completions, embeddings, responses};

    fn documented(name: &str) -> BTreeSet<String> {
        let document: Json = serde_json::from_str(DOCUMENT).unwrap();
        let properties = &document["components"]["schemas"][name]["properties"];
        properties.as_object().unwrap().keys().cloned().collect()
    }

    fn asked(request: Json, read: impl Fn(&mut Fields)) -> BTreeSet<String> {
        let Json::Object(map) = request else { return BTreeSet::new() };
        let mut fields = Fields::of(map);
        read(&mut fields);
        fields.asked.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn every_field_that_is_read_is_described_and_every_other_way_round() {
        let limits = Limits::default();
        let messages = json!({ "messages": [{ "role": "user", "content": "hi" }], "stream": true });
        let found = asked(messages, |fields| drop(chat::read(fields, &limits).unwrap()));
        assert_eq!(found, documented("ChatCompletionRequest"));
        let found = asked(Map::new().into(), |fields| drop(completions::read(fields, &limits).unwrap()));
        assert_eq!(found, documented("CompletionRequest"));
        let found = asked(json!({ "input": "hi" }), |fields| drop(responses::read(fields, &limits).unwrap()));
        assert_eq!(found, documented("ResponseRequest"));
        let found = asked(json!({ "input": "hi" }), |fields| drop(embeddings::read(fields).unwrap()));
        assert_eq!(found, documented("EmbeddingRequest"));
    }
}
