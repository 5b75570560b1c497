//! Objects of S3, Google Cloud Storage, Azure and HTTP servers, through `object_store`. Credentials are the
//! environment's (`AWS_*`, `GOOGLE_*`, `AZURE_*`).

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use globset::GlobBuilder;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{Attribute, ClientOptions, ObjectStore, ObjectStoreExt as _, RetryConfig};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use url::Url;

use crate::config::Config;
use crate::error::SourcesError;
use crate::find::{is_pattern, split_pattern};
use crate::input::coded;
use crate::record::{Damage, Reason};
use crate::sink::Halt;

/// The pieces of a stream that wait for their reader.
const PIECES_WAITING: usize = 16;
/// The smallest and the largest range that is asked for.
const RANGE_BYTES: (u64, u64) = (256 << 10, 4 << 20);

/// An object of a store.
#[derive(Clone)]
pub(crate) struct Remote {
    /// The address, which may hold secrets.
    pub url: String,
    key: Path,
    store: Arc<dyn ObjectStore>,
    runtime: Arc<Connections>,
    ranged: bool,
    /// What the store says of its contents: an entity tag, or the time of the last change.
    pub version: Option<String>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The thread that keeps connections; it may be dropped anywhere.
pub(crate) struct Connections(Option<Runtime>);

impl Connections {
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("sources")
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    pub(crate) fn runtime(&self) -> io::Result<&Runtime> {
        self.0.as_ref().ok_or_else(|| io::Error::other("the connections are closed"))
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The stores that patterns named so far, so that their connections are shared.
#[derive(Default)]
pub(crate) struct Stores {
    runtime: Option<Arc<Connections>>,
    stores: HashMap<String, Arc<dyn ObjectStore>>,
}

/// Finds the objects that a URL names, and their sizes.
pub(crate) fn find(
    pattern: &str,
    config: &Config,
    stores: &mut Stores,
) -> Result<Vec<(Remote, Option<u64>)>, SourcesError> {
    let refused = |error: &dyn fmt::Display| SourcesError::store("list", pattern, error);
    let url = Url::parse(pattern).map_err(|error| SourcesError::pattern(pattern, error))?;
    let runtime = match &stores.runtime {
        Some(runtime) => Arc::clone(runtime),
        None => {
            let new = Arc::new(Connections::new().map_err(|error| refused(&error))?);
            stores.runtime = Some(Arc::clone(&new));
            new
        }
    };
    let web = matches!(url.scheme(), "http" | "https");
    // The keys behind the bucket, as they are written: a pattern's signs are not escaped in stores.
    let root = if web { url[..url::Position::BeforePath].to_owned() } else { bucket(pattern).to_owned() };
    // What follows `?` belongs to a web address and is a wildcard elsewhere.
    let store_key = if web { format!("{root}?{}", url.query().unwrap_or_default()) } else { root.clone() };
    let store = match stores.stores.get(&store_key) {
        Some(store) => Arc::clone(store),
        None => {
            let store = build(&url, &root, config).map_err(|what| SourcesError::store("open", pattern, what))?;
            stores.stores.insert(store_key, Arc::clone(&store));
            store
        }
    };
    let remote = |url: String, key: Path, version: Option<String>| Remote {
        url,
        key,
        version,
        store: Arc::clone(&store),
        runtime: Arc::clone(&runtime),
        ranged: !web,
    };
    if web {
        let key = Path::from_url_path(url.path()).map_err(|error| SourcesError::pattern(pattern, error))?;
        return Ok(vec![(remote(pattern.to_owned(), key, None), None)]);
    }
    let rest = pattern[root.len()..].trim_start_matches('/');
    let address = |key: &Path| format!("{root}/{key}");
    let matcher = if is_pattern(rest) {
        let glob = GlobBuilder::new(rest).literal_separator(true).build();
        Some(glob.map_err(|error| SourcesError::pattern(pattern, error.kind()))?.compile_matcher())
    } else {
        let key = Path::parse(rest.trim_end_matches('/')).map_err(|error| SourcesError::pattern(pattern, error))?;
        if !rest.is_empty() {
            let head = runtime.runtime().map_err(|error| refused(&error))?.block_on(store.head(&key));
            match head {
                Ok(found) => return Ok(vec![(remote(address(&key), key, Some(version_of(&found))), Some(found.size))]),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(refused(&error)),
            }
        }
        // No object: what lies below it.
        None
    };
    let prefix = if matcher.is_some() { split_pattern(rest).0 } else { rest };
    let prefix = Path::parse(prefix.trim_matches('/')).map_err(|error| SourcesError::pattern(pattern, error))?;
    let listed: Result<Vec<_>, SourcesError> = runtime.runtime().map_err(|error| refused(&error))?.block_on(async {
        let mut found = Vec::new();
        let mut listing = store.list(Some(&prefix));
        while let Some(meta) = listing.next().await {
            let meta = meta.map_err(|error| refused(&error))?;
            let key = meta.location.as_ref();
            let hidden = key.split('/').any(|part| part.starts_with('.')) && !config.hidden;
            let wanted = matcher.as_ref().map_or(!hidden, |matcher| matcher.is_match(key));
            if wanted && !key.ends_with('/') {
                let version = version_of(&meta);
                found.push((meta.location, meta.size, version));
            }
            if found.len() > config.objects_max {
                return Err(SourcesError::TooMany { max: config.objects_max });
            }
        }
        Ok(found)
    });
    let mut listed = listed?;
    if listed.is_empty() {
        return Err(SourcesError::Nothing { pattern: crate::place::without_secrets(pattern) });
    }
    listed.sort_unstable_by(|one, other| one.0.as_ref().cmp(other.0.as_ref()));
    Ok(listed.into_iter().map(|(key, size, version)| (remote(address(&key), key, Some(version)), Some(size))).collect())
}

/// What tells this state of an object from others.
fn version_of(meta: &object_store::ObjectMeta) -> String {
    meta.e_tag.clone().or_else(|| meta.version.clone()).unwrap_or_else(|| meta.last_modified.to_rfc3339())
}

/// `scheme://bucket` of `scheme://bucket/key`.
fn bucket(pattern: &str) -> &str {
    let start = pattern.find("://").map_or(0, |at| at + 3);
    pattern[start..].find('/').map_or(pattern, |slash| &pattern[..start + slash])
}

fn build(url: &Url, root: &str, config: &Config) -> Result<Arc<dyn ObjectStore>, String> {
    let wait = config.network_wait();
    // The whole of a large object takes longer than any one answer: silence is timed, where it is read.
    let options = ClientOptions::new().with_connect_timeout(wait).with_timeout_disabled();
    let retry = RetryConfig {
        max_retries: config.retries_max,
        retry_timeout: wait.saturating_mul(4).max(Duration::from_secs(1)),
        ..RetryConfig::default()
    };
    let shown = |error: object_store::Error| error.to_string();
    Ok(match url.scheme() {
        "s3" | "s3a" => {
            let builder = AmazonS3Builder::from_env().with_url(root).with_retry(retry);
            // An endpoint of the environment may be plain HTTP, which the environment must then allow.
            let options = match std::env::var("AWS_ALLOW_HTTP") {
                Ok(value) if value == "true" || value == "1" => options.with_allow_http(true),
                _ => options,
            };
            Arc::new(builder.with_client_options(options).build().map_err(shown)?)
        }
        "gs" => {
            let builder = GoogleCloudStorageBuilder::from_env().with_url(root).with_retry(retry);
            Arc::new(builder.with_client_options(options).build().map_err(shown)?)
        }
        "az" | "adl" | "azure" | "abfs" | "abfss" => {
            let builder = MicrosoftAzureBuilder::from_env().with_url(root).with_retry(retry);
            Arc::new(builder.with_client_options(options).build().map_err(shown)?)
        }
        "http" | "https" => {
            let mut root = root.to_owned();
            if let Some(query) = url.query() {
                root.push_str("/?");
                root.push_str(query);
            }
            let builder = HttpBuilder::new().with_url(root).with_retry(retry);
            Arc::new(builder.with_client_options(options.with_allow_http(true)).build().map_err(shown)?)
        }
        other => return Err(format!("nobody knows the scheme {other:?}")),
    })
}

/// An object that is being read.
pub(crate) struct Opened {
    pub stream: Stream,
    pub size: u64,
    pub media_type: Option<String>,
}

impl Remote {
    /// The last part of the key, which tells the format.
    pub(crate) fn file_name(&self) -> String {
        self.key.filename().unwrap_or_default().to_owned()
    }

    /// Begins to read.
    pub(crate) fn open(&self, config: &Config) -> Result<Opened, Halt> {
        let wait = config.network_wait();
        let runtime = self.runtime.runtime()?;
        // Every try may take its time.
        let patience = wait.saturating_mul(config.retries_max as u32 + 1);
        let got = runtime.block_on(async { tokio::time::timeout(patience, self.store.get(&self.key)).await });
        let got = got.map_err(|_| Halt::from(silent()))?.map_err(|error| Halt::from(refusal(&error)))?;
        let media_type = got.attributes.get(&Attribute::ContentType).map(|value| value.as_ref().to_owned());
        let size = got.meta.size;
        let (sender, receiver) = mpsc::channel(PIECES_WAITING);
        let mut pieces = got.into_stream();
        runtime.spawn(async move {
            loop {
                let piece = match tokio::time::timeout(wait, pieces.next()).await {
                    Ok(Some(piece)) => piece.map_err(|error| refusal(&error)),
                    Ok(None) => return,
                    Err(_) => Err(silent()),
                };
                let failed = piece.is_err();
                if sender.send(piece).await.is_err() || failed {
                    return;
                }
            }
        });
        let stream = Stream { receiver, piece: bytes::Bytes::new(), left: size, failed: false };
        Ok(Opened { stream, size, media_type })
    }

    /// The object in any order; None where the server may not know ranges.
    pub(crate) fn ranges(&self, config: &Config, size: u64) -> Option<RangeReader> {
        let patience = config.network_wait().saturating_mul(config.retries_max as u32 + 1);
        self.ranged.then(|| RangeReader {
            remote: self.clone(),
            size,
            position: 0,
            window: bytes::Bytes::new(),
            window_start: 0,
            next_bytes: RANGE_BYTES.0,
            patience,
        })
    }
}

fn silent() -> Damage {
    Damage::new(Reason::Timeout, "the server said nothing for too long")
}

/// What a store's refusal means; its messages hold addresses, and these no secrets.
fn refusal(error: &object_store::Error) -> Damage {
    use object_store::Error as E;
    match error {
        E::NotFound { .. } => Damage::new(Reason::NotFound, "the store has no such object"),
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
            Damage::new(Reason::Denied, "the store does not allow to read it")
        }
        other => Damage::new(Reason::Network, crate::place::without_secrets_in(&other.to_string())),
    }
}

/// The bytes of an object, one after the other.
pub(crate) struct Stream {
    receiver: mpsc::Receiver<Result<bytes::Bytes, Damage>>,
    piece: bytes::Bytes,
    left: u64,
    failed: bool,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(Ok(piece)) => self.piece = piece,
                Some(Err(damage)) => {
                    self.failed = true;
                    return Err(coded(damage));
                }
                None if self.left > 0 && !self.failed => {
                    self.failed = true;
                    return Err(coded(Damage::new(Reason::Truncated, "the server ended it too early")));
                }
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        self.left = self.left.saturating_sub(count as u64);
        Ok(count)
    }
}

/// An object that is read in any order, by ranges that grow while it is read on.
#[derive(Clone)]
pub(crate) struct RangeReader {
    remote: Remote,
    /// The size of the object.
    pub size: u64,
    position: u64,
    window: bytes::Bytes,
    window_start: u64,
    next_bytes: u64,
    patience: Duration,
}

impl Read for RangeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let window_end = self.window_start + self.window.len() as u64;
        if !(self.window_start..window_end).contains(&self.position) {
            let on = self.position == window_end && !self.window.is_empty();
            self.next_bytes = if on { (self.next_bytes * 2).min(RANGE_BYTES.1) } else { RANGE_BYTES.0 };
            let end = (self.position + self.next_bytes.max(buffer.len() as u64)).min(self.size);
            self.window = self.remote.range(self.position..end, self.patience)?;
            self.window_start = self.position;
            if self.window.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let offset = (self.position - self.window_start) as usize;
        let rest = &self.window[offset..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for RangeReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl Remote {
    /// Some bytes of the object.
    fn range(&self, range: std::ops::Range<u64>, patience: Duration) -> io::Result<bytes::Bytes> {
        let got = self
            .runtime
            .runtime()?
            .block_on(async { tokio::time::timeout(patience, self.store.get_range(&self.key, range)).await });
        got.map_err(|_| coded(silent()))?.map_err(|error| coded(refusal(&error)))
    }
}
