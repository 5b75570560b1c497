use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;

use store::StoredSketch;

use super::*;
use crate::config::ENGINE;
use crate::source::Kept;

#[allow(dead_code, clippy::unwrap_used, reason = "the tests outside share it and use more of it")]
#[path = "../../tests/server/models.rs"]
mod models;

/// A source of versions 1 to 3, each of which is a model in a folder of that number.
pub(crate) struct Folders {
    root: PathBuf,
    wanted: AtomicU32,
}

impl Source for Folders {
    fn wanted(&self) -> Result<Wanted, ServeError> {
        let version = self.wanted.load(Ordering::Relaxed);
        Ok(Wanted { name: Some("bank".to_owned()), version, artifact: None })
    }

    fn folder(&self, wanted: &Wanted) -> Result<PathBuf, ServeError> {
        Ok(self.root.join(wanted.version.to_string()))
    }

    fn poll(&self) -> Option<Duration> {
        None
    }

    fn keep(&self, _: &StoredSketch) -> Result<Kept, ServeError> {
        Ok(Kept::NoStore)
    }
}

struct Scene {
    _root: tempfile::TempDir,
    source: Folders,
    slot: Slot,
    recorder: Recorder,
    metrics: Metrics,
}

/// Three models; the first is wanted.
pub(crate) fn folders() -> (tempfile::TempDir, Folders) {
    let root = tempfile::tempdir().unwrap();
    for version in 1..=3 {
        let folder = root.path().join(version.to_string());
        std::fs::create_dir(&folder).unwrap();
        models::write_predict(&folder, models::description(16, 3), version);
    }
    let source = Folders { root: Path::to_owned(root.path()), wanted: AtomicU32::new(1) };
    (root, source)
}

impl Folders {
    pub(crate) fn want(&self, version: u32) {
        self.wanted.store(version, Ordering::Relaxed);
    }
}

fn scene() -> Scene {
    let (root, source) = folders();
    let first = Loaded::load(&source, &source.wanted().unwrap(), ENGINE).unwrap();
    Scene { _root: root, source, slot: Slot::new(first), recorder: Recorder::new(), metrics: Metrics::default() }
}

impl Scene {
    fn want(&self, version: u32) -> Arc<Loaded> {
        self.source.want(version);
        self.slot.follow(&self.source, &self.recorder, &self.metrics, ENGINE);
        self.slot.current()
    }

    fn previous(&self) -> Option<u32> {
        self.slot.previous().map(|previous| previous.version)
    }
}

#[test]
fn the_previous_version_goes_when_the_new_one_has_answered() {
    let scene = scene();
    let first = scene.slot.current();
    scene.slot.answered(&first);
    let weak = Arc::downgrade(&first);
    drop(first);
    let second = scene.want(2);
    assert_eq!((second.version, scene.previous()), (2, Some(1)));
    assert!(weak.upgrade().is_some());
    scene.slot.answered(&second);
    assert_eq!(scene.previous(), None);
    assert!(weak.upgrade().is_none(), "the old version is still in memory");
    assert!(scene.slot.trouble().is_none());
}

#[test]
fn a_version_that_fails_at_first_gives_way_to_the_one_before() {
    let scene = scene();
    scene.slot.answered(&scene.slot.current());
    let second = scene.want(2);
    let first = scene.slot.reject(&second, "it broke", &scene.metrics).unwrap();
    assert_eq!((first.version, scene.slot.current().version), (1, 1));
    assert!(scene.slot.trouble().unwrap().contains("bank@2 failed at its first request: it broke"));
    // A second request that held the failed version is answered as well.
    assert_eq!(scene.slot.reject(&second, "it broke", &scene.metrics).unwrap().version, 1);
    // The failed version is left alone for a while; another is taken.
    assert_eq!(scene.want(2).version, 1);
    assert_eq!(scene.want(3).version, 3);
    assert!(scene.slot.trouble().is_none());
    // One that has answered is not rejected for one failure, and neither is one without another.
    let third = scene.slot.current();
    scene.slot.answered(&third);
    assert!(scene.slot.reject(&third, "it broke", &scene.metrics).is_none());
    assert_eq!(scene.slot.current().version, 3);
}

#[test]
fn one_that_never_answered_does_not_push_out_the_proven() {
    let scene = scene();
    scene.slot.answered(&scene.slot.current());
    scene.want(2);
    let third = scene.want(3);
    assert_eq!((third.version, scene.previous()), (3, Some(1)));
    // Back to the version that is still in memory: it is not loaded again.
    let before = scene.slot.previous().unwrap();
    let back = scene.want(1);
    assert!(Arc::ptr_eq(&before, &back));
    assert_eq!(scene.previous(), None);
}
