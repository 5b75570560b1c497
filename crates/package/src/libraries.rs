//! Which shared libraries a program needs, found as the dynamic loader finds them: `DT_NEEDED` of the
//! program and of every library in turn, looked for in the run paths, in the folders of
//! `/etc/ld.so.conf` and in the standard ones.
//!
//! It does not know what an image is.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};

use object::elf;
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};
use object::read::{ReadCache, StringTable};

use crate::error::PackageError;

type Header = elf::FileHeader64<object::Endianness>;

/// More libraries than any sound program needs.
const LIBRARIES_MAX: usize = 512;
/// How deep configuration files may include each other.
const INCLUDES_MAX: usize = 8;

/// What an ELF file says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// The machine it runs on.
    pub machine: elf::Machine,
    /// The dynamic loader it asks for; `None` in libraries and in static programs.
    pub loader: Option<PathBuf>,
    /// The libraries it names.
    pub needed: Vec<String>,
    /// Folders it wants searched first, `$ORIGIN` filled in.
    pub run_paths: Vec<PathBuf>,
}

/// A program with everything that it needs to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The architecture's name in an OCI image, such as `amd64`.
    pub architecture: &'static str,
    /// Every library and the loader: the path where the program finds it.
    pub libraries: Vec<PathBuf>,
}

impl Program {
    /// The folders of the libraries, sorted: what `LD_LIBRARY_PATH` must hold where there is no
    /// `ld.so.cache`.
    #[must_use]
    pub fn library_folders(&self) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> =
            self.libraries.iter().filter_map(|path| path.parent().map(Path::to_owned)).collect();
        folders.sort();
        folders.dedup();
        folders
    }
}

/// Finds what a program needs on this machine.
///
/// # Errors
/// [`PackageError::NotAProgram`], [`PackageError::MissingLibrary`], [`PackageError::Io`].
pub fn resolve(program: &Path) -> Result<Program, PackageError> {
    resolve_in(program, &folders_of_machine(Path::new("/")))
}

/// Finds what a program needs in `folders`, besides the run paths of the files themselves.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_in(program: &Path, folders: &[PathBuf]) -> Result<Program, PackageError> {
    let elf = read_elf(program)?;
    let architecture = architecture(elf.machine).ok_or_else(|| PackageError::NotAProgram {
        path: program.to_owned(),
        what: format!("images for its machine ({:?}) are not known here", elf.machine),
    })?;
    let machine = elf.machine;
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut due = VecDeque::from([(program.to_owned(), elf.clone())]);
    if let Some(loader) = elf.loader {
        let parsed = read_elf(&loader)?;
        found.insert(file_name(&loader), loader.clone());
        due.push_back((loader, parsed));
    }
    while let Some((path, elf)) = due.pop_front() {
        for name in &elf.needed {
            if found.contains_key(name) {
                continue;
            }
            let searched: Vec<PathBuf> = elf.run_paths.iter().chain(folders).cloned().collect();
            let Some((library, parsed)) = find(name, &searched, machine) else {
                return Err(PackageError::MissingLibrary { library: name.clone(), needed_by: path, searched });
            };
            found.insert(name.clone(), library.clone());
            if found.len() > LIBRARIES_MAX {
                let what = format!("it needs more than {LIBRARIES_MAX} libraries");
                return Err(PackageError::NotAProgram { path: program.to_owned(), what });
            }
            due.push_back((library, parsed));
        }
    }
    let mut libraries: Vec<PathBuf> = found.into_values().collect();
    libraries.sort();
    libraries.dedup();
    Ok(Program { architecture, libraries })
}

/// The first library of that name that is for the same machine.
fn find(name: &str, folders: &[PathBuf], machine: elf::Machine) -> Option<(PathBuf, Elf)> {
    // A name with a slash is a path, and the loader searches nowhere.
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![PathBuf::from(name)]
    } else {
        folders.iter().map(|folder| folder.join(name)).collect()
    };
    candidates
        .into_iter()
        .filter(|path| path.is_absolute() && path.is_file())
        .find_map(|path| read_elf(&path).ok().filter(|elf| elf.machine == machine).map(|elf| (path, elf)))
}

/// Reads the parts of an ELF file that the dynamic loader reads.
///
/// # Errors
/// [`PackageError::NotAProgram`] for anything but a sound 64-bit ELF file; [`PackageError::Io`].
pub fn read_elf(path: &Path) -> Result<Elf, PackageError> {
    let file = File::open(path).map_err(PackageError::io("open", path))?;
    let data = ReadCache::new(file);
    parse(&data, path)
        .map_err(|error| PackageError::NotAProgram { path: path.to_owned(), what: error.to_string().to_lowercase() })
}

fn parse(data: &ReadCache<File>, path: &Path) -> object::Result<Elf> {
    let header = Header::parse(data)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, data)?;
    let mut elf = Elf { machine: header.e_machine(endian), loader: None, needed: Vec::new(), run_paths: Vec::new() };
    let mut entries: &[elf::Dyn64<object::Endianness>] = &[];
    for segment in segments {
        if let Some(loader) = segment.interpreter(endian, data)? {
            elf.loader = Some(PathBuf::from(text(loader)));
        }
        if let Some(found) = segment.dynamic(endian, data)? {
            entries = found;
        }
    }
    let value = |tag| entries.iter().find(|entry| entry.d_tag(endian) == tag).map(|entry| entry.d_val(endian));
    let Some(address) = value(elf::DT_STRTAB) else { return Ok(elf) };
    // The string table is given by its address in memory; the file offset is found by the segment
    // that is loaded there, because section headers may be stripped.
    let offset = segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD).find_map(|segment| {
        let inside = address.checked_sub(segment.p_vaddr(endian))?;
        (inside < segment.p_filesz(endian)).then(|| segment.p_offset(endian).checked_add(inside))?
    });
    let start = offset.unwrap_or(address);
    let strings = StringTable::new(data, start, start.saturating_add(value(elf::DT_STRSZ).unwrap_or(0)));
    for entry in entries.iter().take_while(|entry| entry.d_tag(endian) != elf::DT_NULL) {
        match entry.d_tag(endian) {
            elf::DT_NEEDED => elf.needed.push(text(entry.string(endian, strings)?)),
            elf::DT_RPATH | elf::DT_RUNPATH => {
                elf.run_paths.extend(run_paths(&text(entry.string(endian, strings)?), path));
            }
            _ => {}
        }
    }
    Ok(elf)
}

fn run_paths(list: &str, of: &Path) -> Vec<PathBuf> {
    let origin = of.parent().unwrap_or(Path::new("/")).display().to_string();
    list.split(':')
        .filter(|part| !part.is_empty())
        .map(|part| PathBuf::from(part.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin)))
        .collect()
}

/// The folders that the dynamic loader searches below `root`, in its order: those of
/// `etc/ld.so.conf`, then the standard ones.
#[must_use]
pub fn folders_of_machine(root: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    read_configuration(root, &root.join("etc/ld.so.conf"), INCLUDES_MAX, &mut folders);
    for parent in ["lib", "usr/lib"] {
        let parent = root.join(parent);
        folders.extend(children(&parent).into_iter().filter(|path| {
            let name = file_name(path);
            name.contains("-linux-") && path.is_dir()
        }));
    }
    folders.extend(["lib64", "usr/lib64", "lib", "usr/lib"].map(|folder| root.join(folder)));
    let mut seen = std::collections::BTreeSet::new();
    folders.retain(|folder| seen.insert(folder.clone()));
    folders
}

/// Reads one configuration file of the loader: a folder a line, or `include PATTERN`.
fn read_configuration(root: &Path, file: &Path, depth: usize, folders: &mut Vec<PathBuf>) {
    let Ok(contents) = std::fs::read_to_string(file) else { return };
    for line in contents.lines() {
        let line = line.split('#').next().unwrap_or("").trim();
        if let Some(pattern) = line.strip_prefix("include ") {
            if depth > 0 {
                for included in matching(root, file, pattern.trim()) {
                    read_configuration(root, &included, depth - 1, folders);
                }
            }
        } else if let Some(path) = line.strip_prefix('/') {
            folders.push(root.join(path));
        }
    }
}

/// The files that an `include` names; only the last part of its path may hold one `*`.
fn matching(root: &Path, beside: &Path, pattern: &str) -> Vec<PathBuf> {
    let pattern = match pattern.strip_prefix('/') {
        Some(absolute) => root.join(absolute),
        None => beside.parent().unwrap_or(root).join(pattern),
    };
    let name = file_name(&pattern);
    let Some((start, end)) = name.split_once('*') else { return vec![pattern] };
    let fits = |name: &str| name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end);
    children(pattern.parent().unwrap_or(root)).into_iter().filter(|path| fits(&file_name(path))).collect()
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    paths.sort();
    paths
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The name of a machine in OCI images (Go's `GOARCH`).
fn architecture(machine: elf::Machine) -> Option<&'static str> {
    Some(match machine {
        elf::EM_X86_64 => "amd64",
        elf::EM_AARCH64 => "arm64",
        elf::EM_RISCV => "riscv64",
        elf::EM_S390 => "s390x",
        elf::EM_PPC64 => "ppc64le",
        elf::EM_LOONGARCH => "loong64",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this_program() -> PathBuf {
        std::env::current_exe().unwrap()
    }

    #[test]
    fn the_libraries_of_a_program_are_those_that_ldd_lists() {
        let program = resolve(&this_program()).unwrap();
        let names: Vec<String> = program.libraries.iter().map(|path| file_name(path)).collect();
        assert!(names.iter().any(|name| name.starts_with("libc.so") || name.starts_with("libc.musl")), "{names:?}");
        // The outside oracle: the machine's own loader.
        if let Ok(output) = std::process::Command::new("ldd").arg(this_program()).output() {
            let listed = String::from_utf8_lossy(&output.stdout).into_owned();
            for name in listed.split_whitespace().filter(|word| word.contains(".so") && !word.contains("vdso")) {
                assert!(names.contains(&file_name(Path::new(name))), "{name} is missing from {names:?}");
            }
        }
        for path in &program.libraries {
            assert!(path.is_absolute() && path.is_file());
        }
    }

    #[test]
    fn a_missing_library_is_named_with_where_it_was_looked_for() {
        let error = resolve_in(&this_program(), &[PathBuf::from("/nowhere")]).unwrap_err();
        assert!(matches!(&error, PackageError::MissingLibrary { library, .. } if library.contains(".so")), "{error}");
        assert!(base::Failure::hint(&error).unwrap().contains("/nowhere"));
    }

    #[test]
    fn what_is_not_a_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        for contents in [&b""[..], b"#!/bin/sh\nexit 0\n", b"\x7fELF\x02\x01\x01", &[0x7f; 4096]] {
            std::fs::write(&path, contents).unwrap();
            assert!(matches!(read_elf(&path), Err(PackageError::NotAProgram { .. })));
        }
    }

    #[test]
    fn a_damaged_program_gives_an_error_and_no_panic() {
        let whole = std::fs::read(this_program()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let head = &whole[..whole.len().min(8192)];
        for position in (0..head.len()).step_by(7) {
            let mut bytes = head.to_vec();
            bytes[position] ^= 0xff;
            std::fs::write(&path, &bytes).unwrap();
            let _ = resolve_in(&path, &[]);
        }
    }

    #[test]
    fn the_loaders_configuration_is_followed() {
        let root = tempfile::tempdir().unwrap();
        let conf = root.path().join("etc/ld.so.conf.d");
        std::fs::create_dir_all(&conf).unwrap();
        std::fs::write(root.path().join("etc/ld.so.conf"), "include /etc/ld.so.conf.d/*.conf\n/opt/a\n").unwrap();
        std::fs::write(conf.join("b.conf"), "# words\n/opt/b # more\n").unwrap();
        std::fs::write(conf.join("loop.conf"), "include /etc/ld.so.conf\n").unwrap();
        std::fs::write(conf.join("other.txt"), "/opt/no\n").unwrap();
        let folders = folders_of_machine(root.path());
        assert_eq!(folders[..2], [root.path().join("opt/b"), root.path().join("opt/a")]);
        assert!(!folders.contains(&root.path().join("opt/no")));
        assert!(folders.contains(&root.path().join("usr/lib")));
    }
}
