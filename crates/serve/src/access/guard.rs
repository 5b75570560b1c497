//! What stands before every route.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use futures::FutureExt as _;

use super::table::look_up;
use crate::app::{App, shape};
use crate::metrics::UnderWay;
use crate::refusal::Refusal;
use crate::watch::Finish;

/// Stands before every route, the unknown ones too: checks the key, its scope and its limits, catches
/// panics, counts.
pub(crate) async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let _under_way = UnderWay::count(&app.metrics.in_flight);
    // HTTP/2 names the host in its address.
    if let Some(authority) = request.uri().authority()
        && !request.headers().contains_key(header::HOST)
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    let (route, need) = look_up(request.extensions().get::<MatchedPath>().map(MatchedPath::as_str));
    let shape = shape(request.uri());
    let mut finish = Finish::new(app.clone(), route, &mut request);
    let response = match app.keyring.enter(need, request.headers()) {
        Err(denial) => {
            finish.error = Some(denial.code);
            finish.charge = denial.charge.clone();
            denial.response(shape, is_grpc(request.headers()))
        }
        Ok(charge) => {
            finish.charge = charge.clone();
            request.extensions_mut().insert(charge);
            AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
                app.metrics.panics.fetch_add(1, Ordering::Relaxed);
                Refusal::internal("a fault of the program; its log says more").response(shape)
            })
        }
    };
    finish.watch(response)
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
