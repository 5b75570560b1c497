//! Duplicates: exact, near, by meaning, by substring, of images; in fixed memory, on disk.
