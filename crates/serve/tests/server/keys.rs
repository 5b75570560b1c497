//! Keys against a running server: what they open, how they are revoked, what they are limited to.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use serve::{FolderSource, Kept, Running, ServeError, ServerConfig, Source, Wanted};
use store::{Key, KeyLimits, NewKey, Scope, Store, StoredSketch};

use crate::config;
use crate::http::Http;
use crate::models::{description, write_language, write_predict};

/// The model of a folder, and the keys of a store.
struct Keyed {
    model: FolderSource,
    store: Arc<Store>,
}

impl Source for Keyed {
    fn wanted(&self) -> Result<Wanted, ServeError> {
        self.model.wanted()
    }

    fn folder(&self, wanted: &Wanted) -> Result<PathBuf, ServeError> {
        self.model.folder(wanted)
    }

    fn poll(&self) -> Option<Duration> {
        None
    }

    fn keep(&self, _: &StoredSketch) -> Result<Kept, ServeError> {
        Ok(Kept::NoStore)
    }

    fn keys(&self) -> Result<Option<Vec<Key>>, ServeError> {
        Ok(Some(self.store.keys()?))
    }

    fn charge_keys(&self, tokens: &[(i64, u64)]) -> Result<(), ServeError> {
        Ok(self.store.charge_keys(tokens)?)
    }
}

struct Scene {
    folder: tempfile::TempDir,
    store: Arc<Store>,
}

impl Scene {
    fn new(language: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if language {
            write_language(folder.path(), 3, 64);
        } else {
            write_predict(folder.path(), description(64, 3), 7);
        }
        let store = Arc::new(Store::open(folder.path()).unwrap());
        Self { folder, store }
    }

    /// A new key's header.
    fn key(&self, name: &str, scope: Scope, limits: KeyLimits) -> String {
        let new = NewKey { name: name.to_owned(), scopes: vec![scope], limits, expires_days: None };
        let (_, secret) = self.store.create_key(&new, "test").unwrap();
        format!("authorization: Bearer {}", secret.reveal())
    }

    fn serve(&self) -> Running {
        let source = Keyed { model: FolderSource::new(self.folder.path(), 1), store: self.store.clone() };
        serve::start(ServerConfig { keys_required: true, ..config() }, vec![Arc::new(source)]).unwrap()
    }
}

#[test]
fn a_revoked_key_is_refused_within_a_second() {
    let scene = Scene::new(false);
    let [infer, metrics] = [("app", Scope::Infer), ("scraper", Scope::Metrics)]
        .map(|(name, scope)| scene.key(name, scope, KeyLimits::default()));
    let server = scene.serve();
    let mut http = Http::connect(server.ready().address);
    let mut status = |path: &str, key: &str| http.request("GET", path, &[key], b"").status;
    assert_eq!([status("/v2", &infer), status("/metrics", &infer), status("/traffic", &infer)], [200, 403, 403]);
    assert_eq!([status("/v2", &metrics), status("/metrics", &metrics), status("/traffic", &metrics)], [403, 200, 403]);
    // One that is made under way opens, and one that is revoked no longer.
    let admin = scene.key("boss", Scope::Admin, KeyLimits::default());
    scene.store.revoke_key("app", "test").unwrap();
    let revoked = Instant::now();
    while status("/v2", &infer) != 401 {
        assert!(revoked.elapsed() < Duration::from_secs(1), "a revoked key still opens");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!([status("/v2", &admin), status("/metrics", &admin), status("/traffic", &admin)], [200, 200, 200]);
}

#[test]
fn errors_have_the_shape_of_their_protocol() {
    let scene = Scene::new(false);
    let key = scene.key("scraper", Scope::Metrics, KeyLimits::default());
    let server = scene.serve();
    let mut http = Http::connect(server.ready().address);
    let answer = http.get("/v1/models");
    assert_eq!(answer.status, 401);
    assert!(answer.has_header("www-authenticate: Bearer"));
    let error = &answer.json()["error"];
    assert_eq!((&error["type"], &error["code"]), (&json!("authentication_error"), &json!("missing_api_key")));
    assert!(error["param"].is_null() && error["message"].is_string());
    let answer = http.request("GET", "/v1/models", &[&key], b"");
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (403, &json!("missing_scope")));
    assert!(http.request("GET", "/v2", &[&key], b"").json()["error"].as_str().unwrap().contains("infer"));
    // Who has no key learns that the server is ready, and not of what.
    assert_eq!(http.get("/health/ready").json(), json!({ "ready": true }));
    assert_eq!(http.request("GET", "/health/ready", &[&key], b"").json()["model"], "bank");
}

#[test]
fn tokens_are_charged_when_the_answer_is_complete() {
    let scene = Scene::new(true);
    let limits = KeyLimits { tokens_per_minute: Some(20), ..KeyLimits::default() };
    let key = scene.key("app", Scope::Infer, limits);
    let server = scene.serve();
    let mut http = Http::connect(server.ready().address);
    let body = json!({ "prompt": "the quick", "max_tokens": 40, "temperature": 0, "stream": true }).to_string();
    let mut ask =
        || http.request("POST", "/v1/completions", &[&key, "content-type: application/json"], body.as_bytes());
    let answer = ask();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("[DONE]"));
    let answer = ask();
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (429, &json!("rate_limit_exceeded")));
    let wait = answer.head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((30..=180).contains(&wait.trim().parse::<u32>().unwrap()), "{wait}");
    server.stop().unwrap();
    assert!(scene.store.keys().unwrap()[0].tokens_used > 40);
}

#[test]
fn tokens_for_somebody_who_left_are_charged_too() {
    let scene = Scene::new(true);
    let key = scene.key("app", Scope::Infer, KeyLimits::default());
    let server = scene.serve();
    let mut http = Http::connect(server.ready().address);
    let body = json!({ "prompt": "the quick", "max_tokens": 40, "temperature": 0, "stream": true }).to_string();
    http.write(&crate::http::request(
        "POST",
        "/v1/completions",
        &[&key, "content-type: application/json"],
        body.as_bytes(),
    ));
    assert!(http.head().unwrap().contains("200"));
    for _ in 0..3 {
        http.chunk().unwrap();
    }
    drop(http);
    let begun = Instant::now();
    while scene.store.keys().unwrap()[0].tokens_used < 2 {
        assert!(begun.elapsed() < Duration::from_secs(5), "nothing was charged");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_prompt_that_is_too_large_is_refused() {
    let scene = Scene::new(true);
    let limits = serve::Limits { prompt_bytes_max: 100, ..serve::Limits::default() };
    let server = crate::start(scene.folder.path(), ServerConfig { limits, ..config() });
    let mut http = Http::connect(server.ready().address);
    let answer = http.post("/v1/completions", &json!({ "prompt": "x".repeat(101) }));
    assert_eq!((answer.status, &answer.json()["error"]["param"]), (413, &json!("prompt")));
    assert_eq!(http.post("/v1/completions", &json!({ "prompt": "the fox" })).status, 200);
}
