use std::fs;
use std::path::Path;

use sources::{Config, Reason, SourcesError};

fn names(patterns: &[&str], base: &Path, config: &Config) -> Vec<String> {
    let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    sources::find(&patterns, base, config).unwrap().iter().map(|object| object.name.to_string()).collect()
}

fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    folder
}

#[test]
fn patterns_name_files_in_order_and_once() {
    let folder = folder(&[
        "b.csv",
        "a.csv",
        "a.txt",
        "d/e/f.csv",
        "d/g.csv",
        ".hidden.csv",
        ".h/i.csv",
        "d/ü [1].csv",
        "[x].csv",
    ]);
    let base = folder.path();
    let config = Config::default();
    assert_eq!(names(&["*.csv"], base, &config), ["[x].csv", "a.csv", "b.csv"]);
    assert_eq!(
        names(&["**/*.csv"], base, &config),
        ["[x].csv", "a.csv", "b.csv", "d/e/f.csv", "d/g.csv", "d/ü [1].csv"]
    );
    assert_eq!(names(&["d"], base, &config), ["d/e/f.csv", "d/g.csv", "d/ü [1].csv"]);
    assert_eq!(names(&["./d/*/?.csv"], base, &config), ["./d/e/f.csv"]);
    assert_eq!(names(&["{a,b}.{csv,txt}"], base, &config), ["a.csv", "a.txt", "b.csv"]);
    assert_eq!(names(&["b.csv", "*.csv", "./b.csv"], base, &config), ["b.csv", "[x].csv", "a.csv"]);
    // A file whose name has a pattern's signs is itself.
    assert_eq!(names(&["[x].csv"], base, &config), ["[x].csv"]);
    assert_eq!(names(&["."], base, &config).len(), 7);
    assert_eq!(names(&[".h*/*", ".hidden.csv"], base, &config), [".h/i.csv", ".hidden.csv"]);
    assert_eq!(names(&["."], base, &Config { hidden: true, ..config }).len(), 9);
    let absolute = base.join("d").join("*.csv");
    assert_eq!(names(&[absolute.to_str().unwrap()], base, &Config::default()).len(), 2);
}

#[test]
fn what_is_not_there_is_an_error() {
    let folder = folder(&["a.csv"]);
    let find = |pattern: &str| sources::find(&[pattern.to_owned()], folder.path(), &Config::default()).unwrap_err();
    assert!(matches!(find("nowhere.csv"), SourcesError::Io { .. }));
    assert!(matches!(find("*.parquet"), SourcesError::Nothing { .. }));
    assert!(matches!(find("a{.csv"), SourcesError::Pattern { .. }));
    assert!(matches!(find("sqlite:a.csv"), SourcesError::Pattern { .. }));
    assert!(matches!(find("ftp://host/a.csv"), SourcesError::Store { .. }));
    let config = Config { charset: Some("klingon".into()), ..Config::default() };
    assert!(matches!(sources::find(&["a.csv".to_owned()], folder.path(), &config), Err(SourcesError::Setting { .. })));
    let config = Config { objects_max: 0, ..Config::default() };
    assert!(matches!(sources::find(&["a.csv".to_owned()], folder.path(), &config), Err(SourcesError::TooMany { .. })));
}

#[cfg(unix)]
#[test]
fn circles_and_special_files_are_entries() {
    let folder = folder(&["d/a.csv"]);
    std::os::unix::fs::symlink(folder.path().join("d"), folder.path().join("d/round")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("nowhere"), folder.path().join("d/broken.csv")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("d/socket")).unwrap();
    let config = Config::default();
    let objects = sources::find(&["d".to_owned()], folder.path(), &config).unwrap();
    let mut seen = Vec::new();
    for object in &objects {
        sources::read(object, &config, &mut |item| {
            if let sources::Item::Damaged { place, damage } = item {
                seen.push((place.source.to_string(), damage.reason));
            }
            std::ops::ControlFlow::Continue(())
        });
    }
    let expected = [("d/broken.csv", Reason::NotFound), ("d/round", Reason::Special), ("d/socket", Reason::Special)];
    assert_eq!(seen, expected.map(|(name, reason)| (name.to_owned(), reason)));
    assert_eq!(objects.len(), 4);
    let deep = Config { folder_depth_max: 1, ..Config::default() };
    fs::create_dir(folder.path().join("d/e")).unwrap();
    let objects = sources::find(&["d".to_owned()], folder.path(), &deep).unwrap();
    assert!(objects.iter().any(|object| &*object.name == "d/e"));
}
