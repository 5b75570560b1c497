//! All models of one server, found by their names, loaded when they are asked for, and unloaded where memory is wanted
//! for another.
//!
//! The first is loaded when the server starts and is the one that answers requests without a name. What is used stays;
//! of the rest, what was not asked for the longest goes first.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use axum::http::StatusCode;
use infer::engine::EngineConfig;
use store::now_ms;

use crate::error::ServeError;
use crate::metrics::Metrics;
use crate::model::Loaded;
use crate::refusal::Refusal;
use crate::slot::Slot;
use crate::source::{Source, Wanted, bytes_of};
use crate::traffic::Recorder;

/// All models of one server.
pub(crate) struct Models {
    entries: Vec<Arc<Entry>>,
    engine: EngineConfig,
    /// The bytes that all of them together may take; 0 for no limit.
    memory_bytes_max: u64,
    /// One is loaded at a time.
    loading: Mutex<()>,
}

/// A model that can be asked for.
pub(crate) struct Entry {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) name: String,
    /// What the source wanted first.
    wanted: Wanted,
    slot: ArcSwapOption<Slot>,
    pub(crate) recorder: Recorder,
    used_ms: AtomicI64,
}

/// What a name leads to.
pub(crate) struct Found {
    pub(crate) slot: Arc<Slot>,
    pub(crate) loaded: Arc<Loaded>,
    /// Whether the client named the version, and no other may answer.
    pub(crate) pinned: bool,
}

impl Entry {
    /// Its slot, while it is loaded.
    pub(crate) fn slot(&self) -> Option<Arc<Slot>> {
        self.slot.load_full()
    }

    /// Its slot, while what is in it can answer.
    pub(crate) fn living(&self) -> Option<Arc<Slot>> {
        self.slot().filter(|slot| !slot.current().has_ended())
    }

    /// The version that answers, or would.
    pub(crate) fn version(&self) -> u32 {
        self.slot().map_or(self.wanted.version, |slot| slot.current().version)
    }

    fn put(&self, loaded: Loaded) -> Arc<Slot> {
        if let Some(traffic) = &loaded.traffic {
            self.recorder.add(traffic);
        }
        let slot = Arc::new(Slot::new(loaded));
        self.slot.store(Some(slot.clone()));
        slot
    }
}

impl Models {
    /// Loads the first source's model; the others are loaded when they are asked for, except those whose name only the
    /// model itself knows. Blocks.
    ///
    /// # Errors
    /// What a source or a model says that is loaded here; [`ServeError::Model`] when two have the same name and version.
    pub(crate) fn open(
        sources: Vec<Arc<dyn Source>>,
        engine: EngineConfig,
        memory_bytes_max: u64,
    ) -> Result<Self, ServeError> {
        let mut entries: Vec<Arc<Entry>> = Vec::new();
        for source in sources {
            let wanted = source.wanted()?;
            let first = if entries.is_empty() || wanted.name.is_none() {
                Some(Loaded::load(&*source, &wanted, engine)?)
            } else {
                None
            };
            let name = first.as_ref().map(|loaded| loaded.name.clone()).or_else(|| wanted.name.clone());
            let name = name.unwrap_or_default();
            if entries.iter().any(|known| known.name == name && known.wanted.version == wanted.version) {
                let message = "it is named twice; give one of them a name of its own, as NAME=PATH".to_owned();
                return Err(ServeError::Model { version: format!("{name}@{}", wanted.version), message });
            }
            let entry = Entry {
                source,
                name,
                wanted,
                slot: ArcSwapOption::empty(),
                recorder: Recorder::new(),
                used_ms: AtomicI64::new(now_ms()),
            };
            if let Some(loaded) = first {
                entry.put(loaded);
            }
            entries.push(Arc::new(entry));
        }
        if entries.is_empty() {
            let message = "there is none".to_owned();
            return Err(ServeError::Model { version: "a model".to_owned(), message });
        }
        Ok(Self { entries, engine, memory_bytes_max, loading: Mutex::new(()) })
    }

    pub(crate) fn entries(&self) -> &[Arc<Entry>] {
        &self.entries
    }

    /// Every version that is loaded.
    pub(crate) fn loaded(&self) -> Vec<Arc<Loaded>> {
        self.entries.iter().filter_map(|entry| entry.slot()).map(|slot| slot.current()).collect()
    }

    /// The first model.
    pub(crate) fn first(&self) -> &Arc<Entry> {
        &self.entries[0]
    }

    /// The entry that a name (`name` or `name@3`) means; none means the first.
    pub(crate) fn entry(&self, name: Option<&str>) -> Result<(&Arc<Entry>, bool), Refusal> {
        let Some(name) = name else { return Ok((self.first(), false)) };
        if let Some(entry) = self.entries.iter().find(|entry| entry.name == name) {
            return Ok((entry, false));
        }
        let pinned = name.rsplit_once('@').and_then(|(name, version)| Some((name, version.parse::<u32>().ok()?)));
        let found = pinned.and_then(|(name, version)| self.version(name, version));
        found.map(|entry| (entry, true)).ok_or_else(|| {
            let served: Vec<String> =
                self.entries.iter().map(|entry| format!("\"{}@{}\"", entry.name, entry.version())).collect();
            let message = match served.as_slice() {
                [only] => format!("the model {name:?} is not served; {only} is"),
                several => format!("the model {name:?} is not served; {} are", several.join(", ")),
            };
            Refusal { param: Some("model"), ..Refusal::not_found(message).code("model_not_found") }
        })
    }

    /// The entry of a version.
    pub(crate) fn version(&self, name: &str, version: u32) -> Option<&Arc<Entry>> {
        self.entries.iter().find(|entry| entry.name == name && entry.version() == version)
    }

    /// The entry's slot, loaded if it has to be. Blocks then.
    pub(crate) fn load(&self, entry: &Arc<Entry>, metrics: &Metrics) -> Result<Arc<Slot>, Refusal> {
        entry.used_ms.store(now_ms(), Ordering::Relaxed);
        if let Some(slot) = entry.living() {
            return Ok(slot);
        }
        let _one = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = entry.living() {
            return Ok(slot);
        }
        // One that ended by a fault makes room for itself.
        drop(entry.slot.swap(None));
        let load = || -> Result<Loaded, ServeError> {
            let wanted = entry.source.wanted()?;
            self.make_room(bytes_of(&entry.source.folder(&wanted)?))?;
            let loaded = Loaded::load(&*entry.source, &wanted, self.engine)?;
            // Caches come on top of what the files told.
            self.make_room(loaded.bytes)?;
            Ok(loaded)
        };
        match load() {
            Ok(loaded) => {
                metrics.loads.fetch_add(1, Ordering::Relaxed);
                Ok(entry.put(loaded))
            }
            Err(error) => {
                metrics.load_failures.fetch_add(1, Ordering::Relaxed);
                let message = format!("{} could not be loaded: {error}", entry.name);
                Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message))
            }
        }
    }

    /// Unloads what is not in use until so many bytes more fit.
    fn make_room(&self, more: u64) -> Result<(), ServeError> {
        if self.memory_bytes_max == 0 {
            return Ok(());
        }
        loop {
            let taken: u64 = self.loaded().iter().map(|loaded| loaded.bytes).sum();
            if taken + more <= self.memory_bytes_max {
                return Ok(());
            }
            let idle = |entry: &&Arc<Entry>| {
                // The slot's own pointer, and the one that is looked through here.
                entry.slot().is_some_and(|slot| Arc::strong_count(&slot) == 2 && slot.is_idle())
            };
            let oldest =
                self.entries.iter().filter(idle).min_by_key(|entry| entry.used_ms.load(Ordering::Relaxed)).cloned();
            let Some(oldest) = oldest else {
                let message = format!(
                    "it needs {more} bytes, the models that are in use have {taken}, and the limit is {}",
                    self.memory_bytes_max
                );
                return Err(ServeError::Model { version: "one more model".to_owned(), message });
            };
            drop(oldest.slot.swap(None));
        }
    }

    /// Every loaded model follows its source, and sketches are stored. Blocks.
    pub(crate) fn tend(&self, metrics: &Metrics) {
        for entry in &self.entries {
            if let Some(slot) = entry.slot()
                && entry.source.poll().is_some()
            {
                slot.follow(&*entry.source, &entry.recorder, metrics, self.engine);
            }
            // What cannot be stored is counted, kept, and tried again.
            let _ = entry.recorder.flush(&*entry.source, metrics, false);
        }
    }

    /// Stores the last sketches. Blocks.
    ///
    /// # Errors
    /// [`ServeError::Store`] when that is not possible.
    pub(crate) fn flush(&self, metrics: &Metrics) -> Result<(), ServeError> {
        let flush = |entry: &Arc<Entry>| entry.recorder.flush(&*entry.source, metrics, true);
        self.entries.iter().map(flush).fold(Ok(()), Result::and)
    }
}
