//! One connection: TLS where there is a certificate, then HTTP/1.1 or HTTP/2, as the client begins.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::config::Limits;
use crate::patient::Patient;

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
    if http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(u32::try_from(limits.requests_max).unwrap_or(u32::MAX))
            .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
            .keep_alive_interval(limits.head_time_max)
            .keep_alive_timeout(limits.write_time_max)
            .serve_connection(io, service);
        until_stopped(connection, |connection| connection.graceful_shutdown(), stopped).await;
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_time_max)
            .max_buf_size(limits.head_bytes_max)
            .serve_connection(io, service);
        until_stopped(connection, |connection| connection.graceful_shutdown(), stopped).await;
    }
}

async fn until_stopped<C: Future>(
    connection: C,
    shut_down: impl FnOnce(Pin<&mut C>),
    mut stopped: watch::Receiver<bool>,
) {
    let mut connection = std::pin::pin!(connection);
    let asked_to_stop = async { stopped.wait_for(|stopped| *stopped).await.is_ok() };
    tokio::select! {
        _ = &mut connection => {}
        _ = asked_to_stop => {
            shut_down(connection.as_mut());
            let _ = connection.await;
        }
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
