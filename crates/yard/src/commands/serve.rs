//! `yard serve`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base::project::{FILE_NAME, Project, ServeConfig};
use base::{Context, VersionName};
use serde_json::json;
use serve::{FolderSource, LogSink, Ready, RegistrySource, ServerConfig, Source};
use store::{Secret, StoreError};

use super::registry::open;
use super::rollout::parse;
use crate::output::{Error, Output, boxed};
use crate::pipeline::Usage;
use crate::progress::emit;

/// What to serve, and how.
pub struct What {
    pub names: Vec<String>,
    pub model: Option<PathBuf>,
    pub memory_bytes_max: Option<u64>,
    pub draft: Option<PathBuf>,
    pub address: Option<String>,
    pub key: Option<String>,
}

pub fn serve(output: Output, context: &Context, project: &Path, what: What) -> Result<(), Error> {
    let mut files: Vec<Option<FolderSource>> = what.names.iter().map(|name| file(name)).collect();
    if let Some(draft) = what.draft {
        let first = files.first_mut().and_then(Option::take).ok_or_else(|| {
            boxed(Usage::new(
                "failed to use a draft: the first model is not a file or a folder",
                "Name a GGUF file or a folder of Hugging Face's first, as `yard serve MODEL.gguf --draft SMALL.gguf`.",
            ))
        })?;
        files[0] = Some(first.with_draft(draft));
    }
    let all_files = what.model.is_some() || (!files.is_empty() && files.iter().all(Option::is_some));
    let mut settings = settings(project, what.model.is_some())?;
    if let Some(bytes) = what.memory_bytes_max {
        settings.memory_bytes_max = bytes;
    }
    if let Some(address) = what.address {
        settings.address = address;
    }
    let (key, made) = key(&settings, what.key, all_files);
    let mut config = ServerConfig::plan(&settings, key).map_err(boxed)?;
    config.threads = context.threads;
    config.access_log = settings.access_log.as_deref().map(log).transpose()?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let mut sources: Vec<Arc<dyn Source>> = Vec::new();
    if let Some(folder) = &what.model {
        sources.push(Arc::new(FolderSource::new(folder, 1)));
    } else if all_files {
        sources.extend(files.into_iter().flatten().map(|source| Arc::new(source) as Arc<dyn Source>));
    } else {
        let store = Arc::new(open(project)?);
        if what.names.is_empty() {
            sources.push(Arc::new(RegistrySource::new(store.clone(), name(&store, None)?)));
        }
        for (given, file) in what.names.iter().zip(files) {
            sources.push(match file {
                Some(source) => Arc::new(source),
                None => Arc::new(RegistrySource::new(store.clone(), name(&store, Some(given))?)),
            });
        }
    }
    let announce = |ready: &Ready| tell(output, ready, scheme, made.as_deref());
    let summary = serve::run(context, config, sources, announce).map_err(boxed)?;
    let cut = if summary.cut == 0 { String::new() } else { format!("; {} connections were cut", summary.cut) };
    output.aside(&format!("stopped{cut}"));
    Ok(())
}

/// A model that is named by its place on the disk: `PATH` or `NAME=PATH`. A word without a slash or an ending is a name of
/// the registry.
fn file(given: &str) -> Option<FolderSource> {
    let looks_like_a_path = |text: &str| text.ends_with(".gguf") || text.contains(['/', '\\']) || text == ".";
    match given.split_once('=') {
        Some((name, path)) if !name.is_empty() && !name.contains(['/', '\\']) => {
            Some(FolderSource::new(Path::new(path), 1).named(name.to_owned()))
        }
        _ => looks_like_a_path(given).then(|| FolderSource::new(Path::new(given), 1)),
    }
}

/// The `[serve]` table of the project; the defaults where a folder is served or there is no project
/// file.
fn settings(project: &Path, folder: bool) -> Result<ServeConfig, Error> {
    let file = if project.is_dir() { project.join(FILE_NAME) } else { project.to_owned() };
    if folder || !file.exists() {
        return Ok(ServeConfig::default());
    }
    let project = Project::load(&file).map_err(boxed)?;
    let mut settings = project.file.serve;
    for path in [&mut settings.tls_certificate, &mut settings.tls_key, &mut settings.access_log].into_iter().flatten() {
        if *path != Path::new("-") {
            *path = project.folder.join(&*path);
        }
    }
    Ok(settings)
}

/// Where the access log goes: a file that is added to, or standard error.
fn log(path: &Path) -> Result<LogSink, Error> {
    let write: Box<dyn Write + Send> = if path == Path::new("-") {
        Box::new(std::io::stderr())
    } else {
        let file = std::fs::File::options().create(true).append(true).open(path);
        Box::new(file.map_err(|error| boxed(StoreError::io("open the access log", path)(error)))?)
    };
    let write = Mutex::new(write);
    Ok(Arc::new(move |line: &str| {
        // A full disk is no reason to answer no more.
        let mut write = write.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(write, "{line}").and_then(|()| write.flush());
    }))
}

/// A key beside those of the store. Off loopback one is made for a model folder, which has no store,
/// where none is given; that one is printed.
fn key(settings: &ServeConfig, given: Option<String>, folder: bool) -> (Option<String>, Option<String>) {
    let loopback = settings.address.parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_loopback());
    if loopback || given.is_some() || !folder {
        return (given, None);
    }
    // Where the system has no random bytes, the server asks for a key.
    let made = Secret::generate().ok().map(|secret| secret.reveal().to_owned());
    (made.clone(), made)
}

/// The version to serve: as named, or the champion of the only model there is.
fn name(store: &store::Store, given: Option<&str>) -> Result<VersionName, Error> {
    if let Some(name) = given {
        let name = parse(name)?;
        store.version(&name).map_err(boxed)?;
        return Ok(name);
    }
    let aliases = store.aliases("").map_err(boxed)?;
    let champions: Vec<&store::Alias> = aliases.iter().filter(|alias| alias.alias == rollout::CHAMPION).collect();
    match champions.as_slice() {
        [only] => parse(&only.name),
        [] => Err(boxed(Usage::new(
            "failed to choose a model: there is no champion",
            "Run `yard run`, or `yard promote NAME@1`, or name a version: `yard models` lists them.",
        ))),
        several => Err(boxed(Usage::new(
            "failed to choose a model: there are several",
            format!("Name one: {}.", several.iter().map(|alias| alias.name.as_str()).collect::<Vec<_>>().join(", ")),
        ))),
    }
}

fn tell(output: Output, ready: &Ready, scheme: &str, key: Option<&str>) {
    let version = format!("{}@{}", ready.name, ready.version);
    let path = if ready.chat {
        "/v1/chat/completions".to_owned()
    } else if ready.language {
        "/v1/completions".to_owned()
    } else {
        format!("/v2/models/{}/infer", ready.name)
    };
    if output.is_json() {
        return emit(
            &json!({ "event": "ready", "address": ready.address, "version": version, "path": path, "key": key }),
        );
    }
    output.line(&format!("serving {version} on {scheme}://{}{path}", ready.address));
    if let Some(key) = key {
        output.line(&format!(
            "key {key} (made for this run; give YARD_KEY to choose it): send it as `Authorization: Bearer KEY`"
        ));
    }
    output.aside("Ctrl-C stops it");
}
