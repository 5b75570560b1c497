//! `yard key`: the keys that clients of a server send.

use std::path::Path;

use base::units;
use serde_json::json;
use store::{Key, KeyLimits, NewKey, Scope};

use super::registry::{open, when};
use crate::arguments::KeyAction;
use crate::output::{Error, Output, boxed, table};
use crate::pipeline::{Usage, actor};

pub fn key(output: Output, project: &Path, action: KeyAction) -> Result<(), Error> {
    match action {
        KeyAction::Create { name, scope, requests_per_minute, tokens_per_minute, tokens_total, expires } => {
            let scopes = scope.iter().map(|text| read_scope(text)).collect::<Result<_, _>>()?;
            let limits = KeyLimits { requests_per_minute, tokens_per_minute, tokens_total };
            create(output, project, &NewKey { name, scopes, limits, expires_days: expires })
        }
        KeyAction::List => list(output, project),
        KeyAction::Revoke { name } => {
            open(project)?.revoke_key(&name, &actor()).map_err(boxed)?;
            output.line(&format!("revoked {name}; servers that run refuse it within a second"));
            output.result("key revoke", &json!({ "name": name }));
            Ok(())
        }
    }
}

fn read_scope(text: &str) -> Result<Scope, Error> {
    let usage = |message| boxed(Usage::new(message, "Write --scope infer, or several: --scope infer,metrics."));
    text.parse().map_err(usage)
}

fn create(output: Output, project: &Path, new: &NewKey) -> Result<(), Error> {
    let (key, secret) = open(project)?.create_key(new, &actor()).map_err(boxed)?;
    output.line(secret.reveal());
    output.aside("This is shown once; clients send it as `Authorization: Bearer KEY`.");
    output.result("key create", &json!({ "key": key, "secret": secret.reveal() }));
    Ok(())
}

fn list(output: Output, project: &Path) -> Result<(), Error> {
    let keys = open(project)?.keys().map_err(boxed)?;
    let mut rows = vec![["key", "scopes", "limits", "tokens used", "made", "status"].map(str::to_owned).to_vec()];
    rows.extend(keys.iter().map(|key| {
        let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.name()).collect();
        let tokens = units::count(key.tokens_used);
        vec![key.name.clone(), scopes.join(","), limits(&key.limits), tokens, when(key.created_ms), status(key)]
    }));
    output.document("key list", &table(&rows), &json!({ "keys": keys }));
    Ok(())
}

fn limits(limits: &KeyLimits) -> String {
    let parts = [
        limits.requests_per_minute.map(|count| format!("{count} requests/min")),
        limits.tokens_per_minute.map(|count| format!("{count} tokens/min")),
        limits.tokens_total.map(|count| format!("{count} tokens")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

fn status(key: &Key) -> String {
    match (key.revoked_ms, key.expires_ms) {
        (Some(revoked), _) => format!("revoked {}", when(revoked)),
        (None, Some(expires)) if !key.is_valid(store::now_ms()) => format!("expired {}", when(expires)),
        (None, Some(expires)) => format!("until {}", when(expires)),
        (None, None) => "in use".to_owned(),
    }
}
