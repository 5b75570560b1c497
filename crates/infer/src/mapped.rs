//! Files mapped into memory: the one place outside of `kernels` that is `unsafe`.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// The bytes of a file that never changes while it is mapped: an artifact's, or a model's that the user
/// named. Cut from outside while a process reads it, it ends that process, as with every program that
/// maps files.
#[derive(Debug)]
pub struct Mapped(Option<Mmap>);

impl Mapped {
    /// Maps a file for reading.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            // There is nothing to map.
            return Ok(Self(None));
        }
        // SAFETY: artifacts appear by a rename and never change; see above for files that do.
        Ok(Self(Some(unsafe { Mmap::map(&file)? })))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}
