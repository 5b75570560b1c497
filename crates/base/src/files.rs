//! Atomic writes: temporary file, fsync, rename, fsync of the folder. A reader sees the old contents
//! or the new ones, never a half.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// Writes `contents` to `path` atomically. The temporary file stands beside it as `.NAME.tmp`.
///
/// # Errors
/// Whatever creating, writing, syncing or renaming gives; the old contents are then untouched.
pub fn write_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| io::Error::other("the path has no file name"))?;
    let temporary = folder.join(format!(".{}.tmp", name.to_string_lossy()));
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(contents)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| std::fs::rename(&temporary, path)) {
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    sync_folder(folder)
}

/// Makes renames and new names in a folder durable.
///
/// # Errors
/// Whatever opening or syncing the folder gives.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
