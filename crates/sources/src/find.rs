//! From patterns to objects: paths, folders, globs, URLs of stores, tables by query.

use std::collections::HashSet;
use std::fs::Metadata;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use encoding_rs::Encoding;
use globset::{GlobBuilder, GlobMatcher};

use crate::config::Config;
use crate::error::SourcesError;
use crate::place::without_secrets;
use crate::record::{Damage, Reason};
use crate::remote::{self, Remote, Stores};
use crate::sql::Query;

/// One thing to read: a file, an object of a store, a table.
#[derive(Debug, Clone)]
pub struct Object {
    /// Its place in the list, from 0.
    pub index: usize,
    /// How it is shown: the path as the pattern begins it, or the URL without secrets.
    pub name: Arc<str>,
    /// Its size as it lies there, packed; None where nobody says before reading.
    pub size_bytes: Option<u64>,
    pub(crate) location: Location,
    pub(crate) problem: Option<Damage>,
}

impl Object {
    /// The file, where it is one of this machine.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.location {
            Location::Local(path) => Some(path),
            _ => None,
        }
    }

    /// What tells this state of the object from others, where its store says so: an entity tag or the time of the last
    /// change. Of files and tables nothing; hash their contents.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        match &self.location {
            Location::Remote(remote) => remote.version.as_deref(),
            _ => None,
        }
    }
}

/// Where an object lies.
#[derive(Debug, Clone)]
pub(crate) enum Location {
    Local(PathBuf),
    Remote(Remote),
    Query(Query),
}

/// Finds what patterns name, in their order, and within each in the order of the names' bytes, folder by
/// folder. What two patterns name comes once, at its first place.
///
/// A pattern is a path or a folder (all files in it), perhaps with `*`, `?`, `[..]`, `{a,b}` and `**`; a URL
/// (`s3://`, `gs://`, `az://`, `abfss://`: an object, a prefix or a pattern; `http://`, `https://`: an
/// object); `sqlite:PATH?table=NAME`, `sqlite:PATH?query=SELECT ..`, `postgres://..?query=SELECT ..`.
/// Relative paths start at `base`. Names that begin with a dot are left out unless the pattern has them.
/// Links to folders are followed, but not in circles: those, and what is no plain file, are objects whose
/// reading is one entry of damage.
///
/// # Errors
/// Patterns that are none or name nothing, folders that cannot be listed, stores that refuse.
pub fn find(patterns: &[String], base: &Path, config: &Config) -> Result<Vec<Object>, SourcesError> {
    if let Some(label) = &config.charset
        && Encoding::for_label(label.as_bytes()).is_none()
    {
        let what = "it is no name of a character set that the WHATWG knows".to_owned();
        return Err(SourcesError::Setting { key: "charset", value: label.clone(), what });
    }
    let mut list = List { objects: Vec::new(), seen: HashSet::new(), objects_max: config.objects_max };
    let mut stores = Stores::default();
    for pattern in patterns {
        if let Some(query) = Query::parse(pattern, base)? {
            list.push(query.shown(), None, Location::Query(query), None)?;
        } else if let Some(path) = pattern.strip_prefix("file://") {
            find_local(path, base, config, &mut list)?;
        } else if pattern.contains("://") {
            for (remote, size) in remote::find(pattern, config, &mut stores)? {
                list.push(without_secrets(&remote.url), size, Location::Remote(remote), None)?;
            }
        } else {
            find_local(pattern, base, config, &mut list)?;
        }
    }
    Ok(list.objects)
}

/// The objects so far.
struct List {
    objects: Vec<Object>,
    seen: HashSet<String>,
    objects_max: usize,
}

impl List {
    fn push(
        &mut self,
        name: String,
        size_bytes: Option<u64>,
        location: Location,
        problem: Option<Damage>,
    ) -> Result<(), SourcesError> {
        if self.objects.len() >= self.objects_max {
            return Err(SourcesError::TooMany { max: self.objects_max });
        }
        let key = match &location {
            Location::Local(path) => path.to_string_lossy().into_owned(),
            Location::Remote(remote) => remote.url.clone(),
            Location::Query(query) => query.key(),
        };
        if self.seen.insert(key) {
            let index = self.objects.len();
            self.objects.push(Object { index, name: name.into(), size_bytes, location, problem });
        }
        Ok(())
    }
}

/// A walk through folders.
struct Walk<'a> {
    config: &'a Config,
    matcher: Option<GlobMatcher>,
    /// How many folders deep the pattern reaches below the first.
    depth_max: usize,
    /// Whether a part of the pattern names hidden files.
    hidden: bool,
    found: Vec<Found>,
}

struct Found {
    name: String,
    path: PathBuf,
    size: Option<u64>,
    problem: Option<Damage>,
}

fn find_local(pattern: &str, base: &Path, config: &Config, list: &mut List) -> Result<(), SourcesError> {
    let whole = base.join(pattern);
    let mut walk = Walk { config, matcher: None, depth_max: usize::MAX, hidden: config.hidden, found: Vec::new() };
    match std::fs::metadata(&whole) {
        Ok(metadata) if metadata.is_dir() => {
            let name = pattern.trim_end_matches('/');
            let shown = if matches!(name, "" | ".") { String::new() } else { format!("{name}/") };
            walk.folder(&whole, &shown, "", &mut Vec::new())?;
        }
        Ok(metadata) => walk.file(pattern.to_owned(), &whole, &metadata),
        Err(error) if !is_pattern(pattern) => return Err(SourcesError::io("open", &whole)(error)),
        Err(_) => {
            let (fixed, rest) = split_pattern(pattern);
            let glob = GlobBuilder::new(rest)
                .literal_separator(true)
                .build()
                .map_err(|error| SourcesError::pattern(pattern, error.kind()))?;
            walk.matcher = Some(glob.compile_matcher());
            walk.hidden |= rest.split('/').any(|part| part.starts_with('.') && part != "." && part != "..");
            if !rest.contains("**") {
                walk.depth_max = rest.matches('/').count();
            }
            let folder = if fixed.is_empty() { base.to_owned() } else { base.join(fixed) };
            if folder.is_dir() {
                walk.folder(&folder, fixed, "", &mut Vec::new())?;
            }
        }
    }
    if walk.found.is_empty() {
        return Err(SourcesError::Nothing { pattern: pattern.to_owned() });
    }
    for found in walk.found {
        list.push(found.name, found.size, Location::Local(plain(&found.path)), found.problem)?;
    }
    Ok(())
}

/// A path without `.` parts, so that two spellings of one file are one.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, Component::CurDir)).collect()
}

pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// The folders without wildcards, with a slash at their end, and the rest.
pub(crate) fn split_pattern(pattern: &str) -> (&str, &str) {
    let first = pattern.find(['*', '?', '[', '{']).unwrap_or(pattern.len());
    let cut = pattern[..first].rfind('/').map_or(0, |slash| slash + 1);
    pattern.split_at(cut)
}

impl Walk<'_> {
    /// Walks a folder; `shown` is its name for people and `below` its path under the first, both with a
    /// slash at the end or empty; `above` are the folders that lead here.
    fn folder(
        &mut self,
        folder: &Path,
        shown: &str,
        below: &str,
        above: &mut Vec<PathBuf>,
    ) -> Result<(), SourcesError> {
        let real = std::fs::canonicalize(folder).map_err(SourcesError::io("list", folder))?;
        if above.contains(&real) {
            self.problem(shown, folder, Damage::new(Reason::Special, "a link leads round in a circle"));
            return Ok(());
        }
        if above.len() >= self.config.folder_depth_max {
            let what = format!("more than {} folders lie inside each other", self.config.folder_depth_max);
            self.problem(shown, folder, Damage::new(Reason::TooDeep, what));
            return Ok(());
        }
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if above.is_empty() => return Err(SourcesError::io("list", folder)(error)),
            Err(error) => {
                self.problem(
                    shown,
                    folder,
                    Damage::new(Reason::Denied, format!("the folder cannot be listed: {error}")),
                );
                return Ok(());
            }
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(SourcesError::io("list", folder))?.file_name());
        }
        names.sort_unstable();
        above.push(real);
        for name in names {
            let text = name.to_string_lossy();
            if text.starts_with('.') && !self.hidden {
                continue;
            }
            let path = folder.join(&name);
            let (shown, below) = (format!("{shown}{text}"), format!("{below}{text}"));
            let wanted = self.matcher.as_ref().is_none_or(|matcher| matcher.is_match(&below));
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => {
                    let within = above.len() <= self.depth_max;
                    if within {
                        self.folder(&path, &format!("{shown}/"), &format!("{below}/"), above)?;
                    }
                }
                Ok(metadata) if wanted => self.file(shown, &path, &metadata),
                Err(error) if wanted => {
                    self.problem(&shown, &path, Damage::new(Reason::NotFound, format!("it cannot be opened: {error}")));
                }
                _ => {}
            }
            if self.found.len() > self.config.objects_max {
                return Err(SourcesError::TooMany { max: self.config.objects_max });
            }
        }
        above.pop();
        Ok(())
    }

    fn file(&mut self, name: String, path: &Path, metadata: &Metadata) {
        let problem = (!metadata.is_file())
            .then(|| Damage::new(Reason::Special, "it is no plain file but a device, a socket or a pipe"));
        self.found.push(Found { name, path: path.to_owned(), size: Some(metadata.len()), problem });
    }

    fn problem(&mut self, name: &str, path: &Path, damage: Damage) {
        let name = name.trim_end_matches('/').to_owned();
        self.found.push(Found { name, path: path.to_owned(), size: None, problem: Some(damage) });
    }
}
