//! One connection: TLS where there is a certificate, then HTTP/1.1 or HTTP/2, as the client begins.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::config::Limits;
use crate::patient::Patient;

/// How long an idle HTTP/2 client may take to answer a goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// What every HTTP/2 client sends first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Answers one connection until it ends, or until the server is to stop and what is under way has ended.
/// Errors here are a client's: it went away, was too slow, or did not speak HTTP; hyper has answered what
/// can be answered.
pub(crate) async fn serve_connection(
    stream: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    router: Router,
    limits: &Limits,
    mut stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let stream = Patient::new(stream, limits.write_time_max);
    let Some(config) = tls else {
        let sniffed = tokio::time::timeout(limits.head_time_max, sniff(stream, &mut stopped)).await;
        if let Ok(Some(stream)) = sniffed {
            let http2 = stream.first == PREFACE;
            serve(stream, http2, router, limits, stopped).await;
        }
        return;
    };
    let handshake = tokio::time::timeout(limits.handshake_time_max, TlsAcceptor::from(config).accept(stream));
    let agreed = tokio::select! {
        agreed = handshake => agreed,
        _ = stopped.wait_for(|stopped| *stopped) => return,
    };
    if let Ok(Ok(stream)) = agreed {
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        serve(stream, http2, router, limits, stopped).await;
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    http2: bool,
    router: Router,
    limits: &Limits,
    stopped: watch::Receiver<bool>,
) {
    let (io, service) = (TokioIo::new(stream), TowerToHyperService::new(router));
    let busy = Busy::default();
    if http2 {
        let counted = busy.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(counted.clone());
            service.call(request)
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(u32::try_from(limits.requests_max).unwrap_or(u32::MAX))
            .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
            .keep_alive_interval(limits.head_time_max)
            .keep_alive_timeout(limits.write_time_max)
            .serve_connection(io, service);
        // HTTP/1.1 has a time limit on what is idle; here are only pings, which an idle client may answer for ever.
        let idle = Idle { busy, time_max: limits.head_time_max };
        until_stopped(connection, |connection| connection.graceful_shutdown(), stopped, Some(idle)).await;
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_time_max)
            .max_buf_size(limits.head_bytes_max)
            .serve_connection(io, service);
        until_stopped(connection, |connection| connection.graceful_shutdown(), stopped, None).await;
    }
}

/// Lies in each request of a connection until its answer has ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Busy(Arc<()>);

/// When a connection counts as idle.
struct Idle {
    busy: Busy,
    time_max: Duration,
}

impl Idle {
    /// Returns when no request was under way for so long. The connection's own service holds one more.
    async fn wait(&self, time_max: Duration) {
        let tick = (time_max / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
        let mut since = Instant::now();
        while since.elapsed() < time_max {
            tokio::time::sleep(tick).await;
            if Arc::strong_count(&self.busy.0) > 2 {
                since = Instant::now();
            }
        }
    }
}

/// Drives a connection until it ends, is idle for too long, or the server is to stop. It then says
/// goodbye, and is waited for as long as it is busy.
async fn until_stopped<C: Future>(
    connection: C,
    shut_down: impl FnOnce(Pin<&mut C>),
    mut stopped: watch::Receiver<bool>,
    idle: Option<Idle>,
) {
    let mut connection = std::pin::pin!(connection);
    let idle_for = async |time_max: Option<Duration>| match &idle {
        Some(idle) => idle.wait(time_max.unwrap_or(idle.time_max)).await,
        None => std::future::pending().await,
    };
    let asked_to_stop = async { stopped.wait_for(|stopped| *stopped).await.is_ok() };
    tokio::select! {
        _ = &mut connection => return,
        _ = asked_to_stop => {}
        () = idle_for(None) => {}
    }
    shut_down(connection.as_mut());
    tokio::select! {
        _ = &mut connection => {}
        () = idle_for(Some(GOODBYE)) => {}
    }
}

/// Reads as far as it takes to tell HTTP/2 from the rest. `None` where nothing comes before the server
/// is to stop, or the client is gone.
async fn sniff(mut stream: Patient, stopped: &mut watch::Receiver<bool>) -> Option<Rewound<Patient>> {
    let mut first = Vec::with_capacity(PREFACE.len());
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        let mut buffer = [0; PREFACE.len()];
        let wanted = PREFACE.len() - first.len();
        let count = tokio::select! {
            biased;
            read = stream.read(&mut buffer[..wanted]) => read.ok()?,
            _ = stopped.wait_for(|stopped| *stopped), if first.is_empty() => return None,
        };
        if count == 0 {
            break;
        }
        first.extend(&buffer[..count]);
    }
    (!first.is_empty()).then_some(Rewound { first, given: 0, stream })
}

/// A stream whose first bytes were read already, and are read again.
struct Rewound<S> {
    first: Vec<u8>,
    given: usize,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let rest = &this.first[this.given..];
        if rest.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, into);
        }
        let count = rest.len().min(into.remaining());
        into.put_slice(&rest[..count]);
        this.given += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
