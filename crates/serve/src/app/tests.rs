use std::sync::mpsc;

use super::*;
use crate::config::ENGINE;
use crate::model::Loaded;
use crate::models::{Found, Models};
use crate::routes::with_fallback;
use crate::slot::tests::{Folders, folders};

pub(crate) fn app() -> (tempfile::TempDir, Arc<Folders>, Arc<App>) {
    let (root, source) = folders();
    let source = Arc::new(source);
    let limits = crate::config::Limits { requests_max: 2, ..crate::config::Limits::default() };
    let config = ServerConfig { limits, threads: 1, ..ServerConfig::new(([127, 0, 0, 1], 0).into()) };
    let models = Models::open(vec![source.clone()], ENGINE, 0).unwrap();
    (root, source, Arc::new(App::new(config, models)))
}

#[tokio::test]
async fn a_panic_is_an_answer_and_the_worker_is_free_again() {
    let (_root, _source, app) = app();
    let limit = Duration::from_secs(5);
    for count in 1..=3 {
        let refusal = app.work::<()>(limit, |_, _| panic!("on purpose")).await.unwrap_err();
        assert!(refusal.is_internal());
        assert_eq!(app.metrics.panics.load(Ordering::Relaxed), count);
    }
    assert_eq!(app.work(limit, |_, _| Ok(7)).await.unwrap(), 7);
}

#[tokio::test]
async fn work_that_takes_too_long_is_told_to_end() {
    let (_root, _source, app) = app();
    let (sender, ended) = mpsc::channel();
    let work = move |_: &App, cancel: &Cancel| -> Result<(), Refusal> {
        while !cancel.asked() {
            std::thread::sleep(Duration::from_millis(1));
        }
        sender.send(()).unwrap();
        Ok(())
    };
    let refusal = app.work(Duration::from_millis(50), work).await.unwrap_err();
    assert_eq!(refusal.status, StatusCode::GATEWAY_TIMEOUT);
    ended.recv_timeout(Duration::from_secs(5)).unwrap();
}

#[tokio::test]
async fn only_so_many_wait() {
    let (_root, source, _) = app();
    let limits = crate::config::Limits { queue_max: 1, ..crate::config::Limits::default() };
    let config = ServerConfig { limits, threads: 1, ..ServerConfig::new(([127, 0, 0, 1], 0).into()) };
    let models = Models::open(vec![source], ENGINE, 0).unwrap();
    let app = Arc::new(App::new(config, models));
    let held = app.worker().await.unwrap();
    let waits = tokio::spawn({
        let app = app.clone();
        async move { app.worker().await.is_ok() }
    });
    while app.waiting.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let refusal = app.worker().await.unwrap_err();
    assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refusal.response(Shape::OpenAi).headers().contains_key(header::RETRY_AFTER));
    drop(held);
    assert!(waits.await.unwrap());
    assert!(app.worker().await.is_ok());
}

#[tokio::test]
async fn a_server_that_drains_is_not_ready_and_lives() {
    use hyper::service::Service as _;
    let (_root, _source, app) = app();
    let service = hyper_util::service::TowerToHyperService::new(crate::routes::router(app.clone()));
    let ask = async |path: &str| {
        let request = Request::builder().uri(path).body(axum::body::Body::empty()).unwrap();
        service.call(request).await.unwrap().status()
    };
    for path in ["/health/ready", "/v2/health/ready"] {
        app.draining.store(false, Ordering::Relaxed);
        assert_eq!(ask(path).await, StatusCode::OK);
        app.draining.store(true, Ordering::Relaxed);
        assert_eq!(ask(path).await, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(ask("/health/live").await, StatusCode::OK);
}

#[test]
fn a_version_that_fails_at_first_is_answered_for_by_the_one_before() {
    let (_root, source, app) = app();
    let slot = app.models.first().slot().unwrap();
    slot.answered(&slot.current());
    let answer = |loaded: &Arc<Loaded>| {
        if loaded.version == 2 { Err(Refusal::internal("it broke")) } else { Ok(loaded.version) }
    };
    let switch = |version| {
        source.want(version);
        let entry = app.models.first();
        slot.follow(&*entry.source, &entry.recorder, &app.metrics, ENGINE);
        slot.current()
    };
    let found = |loaded: &Arc<Loaded>, pinned| Found { slot: slot.clone(), loaded: loaded.clone(), pinned };
    let second = switch(2);
    assert_eq!(second.version, 2);
    assert_eq!(with_fallback(&app, &found(&second, false), answer).unwrap(), 1);
    // A client that named the version gets no other; neither does one whose request was wrong.
    assert!(with_fallback(&app, &found(&second, true), answer).unwrap_err().is_internal());
    let third = switch(3);
    let wrong = with_fallback::<()>(&app, &found(&third, false), |_| Err(Refusal::bad("wrong"))).unwrap_err();
    assert_eq!((wrong.status, slot.current().version), (StatusCode::BAD_REQUEST, 3));
    // A panic counts as the program's fault too.
    let panicking = |loaded: &Arc<Loaded>| if loaded.version == 3 { panic!("on purpose") } else { Ok(loaded.version) };
    assert_eq!(with_fallback(&app, &found(&third, false), panicking).unwrap(), 1);
}
