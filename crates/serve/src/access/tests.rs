use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use store::{Key, KeyLimits, NewKey, Scope, Secret, Store, StoredSketch};

use super::client::Client;
use super::keyring::is_local;
use super::table::{Need, is_listed};
use super::*;
use crate::app::tests::app;
use crate::source::{Kept, Wanted};

const SCOPES: &[Scope] = &[Scope::Infer];

/// A source with keys, and no model.
struct Keys {
    _folder: tempfile::TempDir,
    store: Store,
    charged: Mutex<Vec<(i64, u64)>>,
}

impl Source for Keys {
    fn wanted(&self) -> Result<Wanted, ServeError> {
        Err(ServeError::Stopped)
    }

    fn folder(&self, _: &Wanted) -> Result<PathBuf, ServeError> {
        Err(ServeError::Stopped)
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
        self.charged.lock().unwrap().extend(tokens);
        Ok(self.store.charge_keys(tokens)?)
    }
}

impl Keys {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        Self { _folder: folder, store, charged: Mutex::default() }
    }

    fn make(&self, name: &str, scopes: &[Scope], limits: KeyLimits) -> (Key, Secret) {
        let new = NewKey { name: name.to_owned(), scopes: scopes.to_vec(), limits, expires_days: None };
        self.store.create_key(&new, "test").unwrap()
    }
}

fn config(address: &str) -> ServerConfig {
    ServerConfig::new(address.parse().unwrap())
}

fn bearer(secret: &str) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("Bearer {secret}")).unwrap();
    HeaderMap::from_iter([(header::AUTHORIZATION, value), (header::HOST, HeaderValue::from_static("model.example"))])
}

/// The paths of the whole router, which its debug output lists.
fn routes(app: Arc<crate::app::App>) -> BTreeSet<String> {
    let text = format!("{:?}", crate::routes::router(app));
    let quoted = text.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/'));
    quoted.map(str::to_owned).collect()
}

#[tokio::test]
async fn every_route_is_in_the_table_of_scopes() {
    let (_root, _source, app) = app();
    let routes = routes(app);
    for known in ["/metrics", "/v1/completions", "/v2/models/{model}/versions/{version}/infer", "/health/live"] {
        assert!(routes.contains(known), "{known} was not found by this test's walk: {routes:?}");
    }
    let missing: Vec<&String> =
        routes.iter().filter(|route| !route.contains("__private__") && !is_listed(route) && *route != "/").collect();
    assert!(missing.is_empty(), "routes without a scope in access/table.rs: {missing:?}");
}

#[tokio::test]
async fn every_route_but_those_of_health_asks_for_a_key() {
    use hyper::service::Service as _;
    let (_root, source, _) = app();
    let config = ServerConfig { key: Some("0123456789abcdef".to_owned()), ..config("127.0.0.1:0") };
    let models = crate::models::Models::open(vec![source], crate::config::ENGINE, 0).unwrap();
    let app = Arc::new(crate::app::App::new(config, models));
    let service = hyper_util::service::TowerToHyperService::new(crate::routes::router(app.clone()));
    let mut open = Vec::new();
    for route in routes(app) {
        let path = route.replace(['{', '}', '*'], "");
        for method in ["GET", "POST", "DELETE"] {
            let request = hyper::Request::builder().method(method).uri(&path).body(axum::body::Body::empty()).unwrap();
            if service.call(request).await.unwrap().status() != StatusCode::UNAUTHORIZED && !open.contains(&route) {
                open.push(route.clone());
            }
        }
    }
    let live = ["/inference.GRPCInferenceService/ServerLive", "/inference.GRPCInferenceService/ServerReady"];
    assert_eq!(
        open,
        [&["/health/live", "/health/ready"], &live[..], &["/v2/health/live", "/v2/health/ready"]].concat()
    );
}

#[test]
fn a_server_that_others_reach_needs_a_key() {
    let keys = Arc::new(Keys::new());
    // The keys are found behind a source that keeps none.
    let folder: Arc<dyn Source> = Arc::new(crate::source::FolderSource::new(std::path::Path::new("."), 1));
    let check = |config: &ServerConfig| check(config, &[folder.clone(), keys.clone()]).map(drop);
    let open = config("0.0.0.0:0");
    let error = check(&open).unwrap_err();
    assert!(matches!(error, ServeError::KeyNeeded { .. }), "{error}");
    assert!(base::Failure::hint(&error).unwrap().contains("yard key create"));
    assert!(check(&config("127.0.0.1:0")).is_ok());
    let asks = ServerConfig { keys_required: true, ..config("127.0.0.1:0") };
    assert!(check(&asks).is_err());
    assert!(check(&ServerConfig { key: Some("0123456789abcdef".into()), ..open.clone() }).is_ok());
    keys.make("app", SCOPES, KeyLimits::default());
    assert!(check(&open).is_ok() && check(&asks).is_ok());
    keys.store.revoke_key("app", "test").unwrap();
    assert!(check(&open).is_err());
}

#[test]
fn keys_open_what_their_scopes_say() {
    let keys = Keys::new();
    let ring = Keyring::new(&config("0.0.0.0:0"));
    let secrets = Scope::ALL.map(|scope| (scope, keys.make(scope.name(), &[scope], KeyLimits::default()).1));
    ring.refresh(&keys).unwrap();
    for (scope, secret) in &secrets {
        for need in [Need::Infer, Need::Metrics, Need::Admin] {
            let entered = ring.enter(need, &bearer(secret.reveal()));
            if *scope == Scope::Admin || need.scope() == Some(*scope) {
                assert_eq!(entered.unwrap().key_name(), Some(scope.name()));
            } else {
                let denial = entered.unwrap_err();
                assert_eq!((denial.status, denial.charge.key_name()), (StatusCode::FORBIDDEN, Some(scope.name())));
            }
        }
        for need in [Need::Open, Need::Key] {
            assert!(ring.enter(need, &bearer(secret.reveal())).is_ok());
        }
    }
    assert!(ring.enter(Need::Open, &HeaderMap::new()).is_ok());
    for need in [Need::Key, Need::Infer, Need::Metrics, Need::Admin] {
        let denial = ring.enter(need, &HeaderMap::new()).unwrap_err();
        assert_eq!((denial.status, denial.code), (StatusCode::UNAUTHORIZED, "missing_api_key"));
        let denial = ring.enter(need, &bearer("yard-0123")).unwrap_err();
        assert_eq!((denial.status, denial.code), (StatusCode::UNAUTHORIZED, "invalid_api_key"));
    }
}

#[test]
fn a_revoked_or_expired_key_opens_nothing() {
    let keys = Keys::new();
    let ring = Keyring::new(&config("0.0.0.0:0"));
    let (_, secret) = keys.make("app", SCOPES, KeyLimits::default());
    let new =
        NewKey { name: "old".into(), scopes: SCOPES.to_vec(), limits: KeyLimits::default(), expires_days: Some(0) };
    let (_, expired) = keys.store.create_key(&new, "test").unwrap();
    ring.refresh(&keys).unwrap();
    assert!(ring.enter(Need::Infer, &bearer(secret.reveal())).is_ok());
    assert!(ring.enter(Need::Infer, &bearer(expired.reveal())).is_err());
    keys.store.revoke_key("app", "test").unwrap();
    ring.refresh(&keys).unwrap();
    assert!(ring.enter(Need::Infer, &bearer(secret.reveal())).is_err());
}

#[test]
fn on_loopback_a_key_is_optional_and_its_limits_hold() {
    let keys = Keys::new();
    let ring = Keyring::new(&config("127.0.0.1:0"));
    let limits = KeyLimits { requests_per_minute: Some(1), ..KeyLimits::default() };
    let (_, secret) = keys.make("app", SCOPES, limits);
    ring.refresh(&keys).unwrap();
    assert!(ring.enter(Need::Infer, &HeaderMap::new()).is_ok());
    // Clients that insist on a key send any.
    let any = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("Bearer EMPTY"))]);
    assert_eq!(ring.enter(Need::Infer, &any).unwrap().key_name(), None);
    assert_eq!(ring.enter(Need::Infer, &bearer("EMPTY")).unwrap_err().code, "not_local");
    assert!(ring.enter(Need::Infer, &bearer(secret.reveal())).is_ok());
    assert_eq!(ring.enter(Need::Infer, &bearer(secret.reveal())).unwrap_err().code, "rate_limit_exceeded");
}

#[test]
fn requests_tokens_and_quotas_are_limited_by_the_clock() {
    let keys = Keys::new();
    let limits = KeyLimits { requests_per_minute: Some(3), tokens_per_minute: Some(600), tokens_total: Some(1000) };
    let (key, _) = keys.make("app", SCOPES, limits);
    let at = Duration::from_secs;
    let client = Client::stored(&key, None, at(0));
    for _ in 0..3 {
        client.admit(at(0)).unwrap();
    }
    let denial = client.admit(at(0)).unwrap_err();
    assert_eq!((denial.status, denial.code), (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded"));
    let response = denial.response(crate::refusal::Shape::OpenAi, false);
    assert_eq!(response.headers()[header::RETRY_AFTER], "20");
    client.admit(at(20)).unwrap();
    // Charged after the fact, 300 more than there were: half a minute until the first is there again.
    client.charge(900, at(60));
    let denial = client.admit(at(60)).unwrap_err();
    assert!(denial.message.contains("600 tokens a minute; try again in 31 s"), "{}", denial.message);
    client.admit(at(91)).unwrap();
    // Reading the keys again gives nothing back.
    let client = Client::stored(&key, Some(&client), at(91));
    client.charge(100, at(92));
    let denial = client.admit(at(10_000)).unwrap_err();
    assert_eq!((denial.status, denial.code), (StatusCode::TOO_MANY_REQUESTS, "insufficient_quota"));
    assert!(denial.response(crate::refusal::Shape::Inference, false).headers().contains_key(header::RETRY_AFTER));
}

#[test]
fn what_was_used_is_stored_and_counts_after_a_restart() {
    let keys = Keys::new();
    let limits = KeyLimits { tokens_total: Some(100), ..KeyLimits::default() };
    let (key, secret) = keys.make("app", SCOPES, limits);
    let ring = Keyring::new(&config("0.0.0.0:0"));
    ring.refresh(&keys).unwrap();
    let charge = ring.enter(Need::Infer, &bearer(secret.reveal())).unwrap();
    charge.usage(40, 20);
    charge.tokens(40);
    assert_eq!(charge.used(), (40, 20));
    assert_eq!(ring.enter(Need::Infer, &bearer(secret.reveal())).unwrap_err().code, "insufficient_quota");
    ring.flush(&keys).unwrap();
    ring.flush(&keys).unwrap();
    assert_eq!(*keys.charged.lock().unwrap(), [(key.id, 100)]);
    let again = Keyring::new(&config("0.0.0.0:0"));
    again.refresh(&keys).unwrap();
    assert_eq!(again.enter(Need::Infer, &bearer(secret.reveal())).unwrap_err().code, "insufficient_quota");
}

#[test]
fn only_names_of_this_machine_are_local() {
    for text in ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "127.9.9.9", "[::1]:1", "http://localhost:3000"] {
        assert!(is_local(text.as_bytes()), "{text}");
    }
    for text in ["", "null", "evil.example", "127.0.0.1.evil.example", "http://evil.example", "0.0.0.0", "[::2]"] {
        assert!(!is_local(text.as_bytes()), "{text}");
    }
}
