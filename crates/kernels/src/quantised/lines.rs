//! Memory in whole cache lines, aligned to them, and asked for in large pages.
//!
//! Weights are read front to back once a token. With pages of 4 KB a good part of the time goes into looking
//! their addresses up, so the system is asked (`madvise`) to back large pieces with pages of 2 MB; whether it
//! does is its own affair.

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u32; 16]);

/// The bytes of a line.
pub(super) const LINE: usize = 64;

/// Lines that are zero at first.
#[derive(Debug, Default)]
pub(super) struct Lines {
    lines: Vec<Line>,
}

impl Lines {
    /// `count` lines of zeros.
    pub(super) fn zeroed(count: usize) -> Self {
        let mut lines: Vec<Line> = Vec::with_capacity(count);
        advise(lines.as_mut_ptr().cast(), count * LINE);
        // Nothing has been touched before the advice: the first writes find large pages.
        lines.resize(count, Line([0; 16]));
        Self { lines }
    }

    pub(super) fn as_slice(&self) -> &[Line] {
        &self.lines
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [Line] {
        &mut self.lines
    }
}

/// Asks for large pages in the whole ones of a piece of memory.
#[cfg(target_os = "linux")]
fn advise(begin: *mut u8, bytes: usize) {
    const PAGE: usize = 2 << 20;
    const MADV_HUGEPAGE: i32 = 14;
    unsafe extern "C" {
        fn madvise(begin: *mut std::ffi::c_void, length: usize, advice: i32) -> i32;
    }
    let skipped = begin.align_offset(PAGE);
    if bytes < skipped.saturating_add(PAGE) {
        return;
    }
    let length = (bytes - skipped) / PAGE * PAGE;
    // SAFETY: the pages lie inside the piece; the advice changes nothing of what they hold. A refusal is
    // no matter.
    unsafe { madvise(begin.wrapping_add(skipped).cast(), length, MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise(_: *mut u8, _: usize) {}
