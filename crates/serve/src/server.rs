//! The server itself: one listener, one task a connection, one that follows the source, and an orderly
//! end.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base::{Context, Stop};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::access;
use crate::app::App;
use crate::config::{ENGINE, ServerConfig};
use crate::error::ServeError;
use crate::metrics::UnderWay;
use crate::models::Models;
use crate::routes::router;
use crate::source::Source;
use crate::tls::{self, Tls};
use crate::wire::serve_connection;

/// Threads that talk to clients; computing has its own.
const THREADS: usize = 2;
/// How often sketches are looked after where the source needs no polling.
const TEND: Duration = Duration::from_secs(1);

/// A server that listens and has its model loaded.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    /// The source that keeps the keys.
    keeper: Option<Arc<dyn Source>>,
    app: Arc<App>,
}

/// What a server that listens tells of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Where it listens, with the port that it was given.
    pub address: SocketAddr,
    /// The model's name.
    pub name: String,
    /// The version that answers.
    pub version: u32,
    /// Whether it answers prompts (`/v1/completions`) rather than rows (`/v2`).
    pub language: bool,
    /// Whether it answers chats (`/v1/chat/completions`).
    pub chat: bool,
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Connections that were cut because their requests did not end in time.
    pub cut: usize,
}

impl Server {
    /// Listens, and loads the first source's model; the others are loaded when they are asked for. Nothing is answered before [`Server::run`].
    ///
    /// # Errors
    /// [`ServeError::KeyNeeded`] off loopback without a key; [`ServeError::Bind`] when the address is
    /// taken or not ours; whatever loading the model gives.
    pub async fn bind(config: ServerConfig, sources: Vec<Arc<dyn Source>>) -> Result<Self, ServeError> {
        config.check()?;
        let (settings, known) = (config.clone(), sources.clone());
        let checked = blocking(move || {
            let keeper = access::check(&settings, &known)?;
            let tls = settings.tls.as_ref().map(|files| Tls::load(files).map(Arc::new)).transpose()?;
            Ok((keeper, tls))
        });
        let (keeper, tls) = checked.await?;
        let opened = keeper.clone();
        let bind = |error| ServeError::Bind { address: config.address, error };
        let listener = TcpListener::bind(config.address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let app = blocking(move || {
            let models = Models::open(sources, ENGINE, config.memory_bytes_max)?;
            let app = App::new(config, models);
            if let Some(keeper) = &opened {
                app.keyring.refresh(&**keeper)?;
            }
            Ok(Arc::new(app))
        });
        Ok(Self { listener, address, tls, keeper, app: app.await? })
    }

    /// What it tells of itself.
    #[must_use]
    pub fn ready(&self) -> Ready {
        let first = self.app.models.first();
        let current = first.slot().map(|slot| slot.current());
        Ready {
            address: self.address,
            name: first.name.clone(),
            version: first.version(),
            language: current.as_ref().is_some_and(|current| current.is_language()),
            chat: current.and_then(|current| current.text_model().map(|model| model.template.is_some())) == Some(true),
        }
    }

    /// Answers until `stop` is done; then takes no more connections, lets requests under way end, and
    /// stores the last sketches.
    ///
    /// # Errors
    /// [`ServeError::Store`] when the last sketches could not be stored.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<Summary, ServeError> {
        let Self { listener, tls, keeper, app, .. } = self;
        let (stopping, stopped) = watch::channel(false);
        let tending = tokio::spawn(tend(app.clone(), stopped.clone()));
        let follow = |keeper| tokio::spawn(access::follow(app.clone(), keeper, stopped.clone()));
        let following = keeper.clone().map(follow);
        let tracer = app.tracer.clone();
        let tracing = tracer.clone().map(|tracer| tokio::spawn(tracer.run()));
        if let Some(tls) = &tls {
            tokio::spawn(tls::follow(tls.clone(), app.clone(), stopped.clone()));
        }
        let mut connections = accept(&listener, tls.as_deref(), &app, stop, &stopped).await;
        drop(listener);
        app.draining.store(true, Ordering::Relaxed);
        let _ = stopping.send(true);
        let all_ended = async { while connections.join_next().await.is_some() {} };
        let cut = match tokio::time::timeout(app.config.limits.drain_time_max, all_ended).await {
            Ok(()) => 0,
            Err(_) => connections.len(),
        };
        connections.shutdown().await;
        if let (Some(tracer), Some(tracing)) = (tracer, tracing) {
            tracer.flush().await;
            tracing.abort();
        }
        let _ = tending.await;
        if let Some(following) = following {
            let _ = following.await;
        }
        blocking(move || {
            if let Some(keeper) = keeper {
                app.keyring.flush(&*keeper)?;
            }
            app.models.flush(&app.metrics)
        })
        .await?;
        Ok(Summary { cut })
    }
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ServeError> + Send + 'static,
) -> Result<T, ServeError> {
    let done = tokio::task::spawn_blocking(work);
    done.await.map_err(|error| ServeError::Threads(std::io::Error::other(error)))?
}

/// Accepts until `stop` is done; gives the connections that are open then.
async fn accept(
    listener: &TcpListener,
    tls: Option<&Tls>,
    app: &Arc<App>,
    stop: impl Future<Output = ()>,
    stopped: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut stop = std::pin::pin!(stop);
    let router = router(app.clone());
    let places = Arc::new(Semaphore::new(app.config.limits.connections_max));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => return connections,
            Some(_) = connections.join_next() => continue,
            accepted = accept_one(listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else { continue };
        let (app, router, stopped, tls) = (app.clone(), router.clone(), stopped.clone(), tls.map(Tls::config));
        connections.spawn(async move {
            let _place = place;
            let _open = UnderWay::count(&app.metrics.connections);
            serve_connection(stream, tls, router, &app.config.limits, stopped).await;
        });
    }
}

/// The next connection, once there is a place for it.
async fn accept_one(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(_) => {
            // The client is gone again, or there are no file descriptors left: wait for some to close.
            tokio::time::sleep(Duration::from_millis(20)).await;
            None
        }
    }
}

/// Follows the source and stores sketches, on a thread that may block.
async fn tend(app: Arc<App>, mut stopped: watch::Receiver<bool>) {
    let every = app.models.entries().iter().filter_map(|entry| entry.source.poll()).min().unwrap_or(TEND);
    while tokio::time::timeout(every, stopped.wait_for(|stopped| *stopped)).await.is_err() {
        let app = app.clone();
        let tended = tokio::task::spawn_blocking(move || app.models.tend(&app.metrics));
        let _ = tended.await;
    }
}

/// Serves until the context asks to stop; `announce` is called once requests are answered. Blocks, and
/// must not be called on a thread of an async runtime.
///
/// # Errors
/// As [`Server::bind`] and [`Server::run`].
pub fn run(
    context: &Context,
    config: ServerConfig,
    sources: Vec<Arc<dyn Source>>,
    announce: impl FnOnce(&Ready),
) -> Result<Summary, ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("serve")
        .enable_all()
        .build()
        .map_err(ServeError::Threads)?;
    let kept = sources.clone();
    let result = runtime.block_on(async {
        let server = Server::bind(config, sources).await?;
        announce(&server.ready());
        server.run(asked(context.stop.clone())).await
    });
    // Work that nobody waits for any more sees its cancellation soon.
    runtime.shutdown_timeout(Duration::from_secs(2));
    // A store may only be dropped where blocking is allowed, which is here.
    drop(kept);
    result
}

async fn asked(stop: Stop) {
    while !stop.asked() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A server on threads of its own; dropping it stops it.
#[derive(Debug)]
pub struct Running {
    ready: Ready,
    stop: Stop,
    thread: Option<std::thread::JoinHandle<Result<Summary, ServeError>>>,
}

/// Starts a server on threads of its own, and waits until it answers.
///
/// # Errors
/// As [`Server::bind`].
pub fn start(config: ServerConfig, sources: Vec<Arc<dyn Source>>) -> Result<Running, ServeError> {
    let stop = Stop::default();
    let context = Context { stop: stop.clone(), ..Context::silent() };
    let (sender, receiver) = std::sync::mpsc::channel();
    let serve = move || {
        run(&context, config, sources, |ready| {
            let _ = sender.send(ready.clone());
        })
    };
    let thread = std::thread::Builder::new().name("server".to_owned()).spawn(serve).map_err(ServeError::Threads)?;
    match receiver.recv() {
        Ok(ready) => Ok(Running { ready, stop, thread: Some(thread) }),
        Err(_) => match join(thread) {
            Err(error) => Err(error),
            Ok(_) => Err(ServeError::Threads(std::io::Error::other("the server ended before it was ready"))),
        },
    }
}

impl Running {
    /// What the server tells of itself.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Stops it and waits for its orderly end.
    ///
    /// # Errors
    /// As [`Server::run`].
    pub fn stop(mut self) -> Result<Summary, ServeError> {
        self.stop.ask();
        self.thread.take().map_or(Ok(Summary { cut: 0 }), join)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.ask();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn join(thread: std::thread::JoinHandle<Result<Summary, ServeError>>) -> Result<Summary, ServeError> {
    thread.join().unwrap_or_else(|_| Err(ServeError::Threads(std::io::Error::other("the server's thread panicked"))))
}
