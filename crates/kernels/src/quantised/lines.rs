//! Memory in whole cache lines, aligned to them, and asked for in large pages.
//!
//! Weights are read front to back once a token. Where they lie in pages of 4 KB, the processor looks up their addresses and
//! begins to fetch ahead anew at each of them, which costs a third of the memory's speed and more. So matrices are laid one
//! behind the other into *regions* that the system is asked (`madvise`) to back with pages of 2 MB; whether it does is its own
//! affair. A region is given back with the last of its matrices; what of it was never written takes no memory.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u32; 16]);

/// The bytes of a line.
pub(super) const LINE: usize = 64;
/// A large page.
const PAGE: usize = 2 << 20;
/// The lines of a region that matrices share.
const REGION: usize = (64 << 20) / LINE;
/// Fewer lines have memory of their own, in small pages; more than a quarter of a region have one of their own.
const SMALL: usize = (64 << 10) / LINE;

/// Lines that are zero at first.
#[derive(Debug)]
pub(super) struct Lines {
    first: *mut Line,
    count: usize,
    /// Holds the memory.
    _region: Arc<Region>,
}

// SAFETY: lines are plain numbers; nobody else has these.
unsafe impl Send for Lines {}
// SAFETY: as above; they change through `&mut` alone.
unsafe impl Sync for Lines {}

/// A piece of memory.
#[derive(Debug)]
struct Region {
    memory: *mut u8,
    layout: Layout,
    /// The first whole line.
    first: *mut Line,
}

// SAFETY: it only holds memory, and gives it back.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// The region that is being filled, and how many of its lines are taken.
static SHARED: Mutex<(Weak<Region>, usize)> = Mutex::new((Weak::new(), 0));

impl Lines {
    /// `count` lines of zeros.
    pub(super) fn zeroed(count: usize) -> Self {
        if !(SMALL..=REGION / 4).contains(&count) {
            let region = Arc::new(Region::zeroed(count, if count < SMALL { LINE } else { PAGE }));
            return Self { first: region.first, count, _region: region };
        }
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let (region, taken) = match shared.0.upgrade() {
            Some(region) if REGION - shared.1 >= count => (region, shared.1),
            _ => (Arc::new(Region::zeroed(REGION, PAGE)), 0),
        };
        *shared = (Arc::downgrade(&region), taken + count);
        // SAFETY: the region has so many lines, and these are given out once.
        Self { first: unsafe { region.first.add(taken) }, count, _region: region }
    }

    pub(super) fn as_slice(&self) -> &[Line] {
        // SAFETY: the region lives, its lines were zeros and then lines, and these are ours.
        unsafe { std::slice::from_raw_parts(self.first, self.count) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [Line] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.first, self.count) }
    }
}

impl Region {
    /// Zeros that begin at a multiple of `align` bytes.
    fn zeroed(lines: usize, align: usize) -> Self {
        // An alignment that every allocator has: with a larger one the zeros would be written, and written to the small pages
        // that there are before the advice.
        let bytes = lines.checked_mul(LINE).and_then(|bytes| bytes.checked_add(align));
        let layout = bytes.and_then(|bytes| Layout::from_size_align(bytes, 16).ok());
        let Some(layout) = layout else { panic!("memory for {lines} lines") };
        // SAFETY: the size is not 0.
        let memory = unsafe { alloc_zeroed(layout) };
        if memory.is_null() {
            handle_alloc_error(layout);
        }
        let skipped = memory.addr().next_multiple_of(align) - memory.addr();
        // SAFETY: `align` bytes more than the lines were asked for.
        let first = unsafe { memory.add(skipped) };
        advise(first, lines * LINE);
        Self { memory, layout, first: first.cast() }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: it was given with this layout, and no lines are left of it.
        unsafe { dealloc(self.memory, self.layout) };
    }
}

/// Asks for large pages in the whole ones of a piece of memory that begins with one.
#[cfg(target_os = "linux")]
fn advise(begin: *mut u8, bytes: usize) {
    const MADV_HUGEPAGE: i32 = 14;
    unsafe extern "C" {
        fn madvise(begin: *mut std::ffi::c_void, length: usize, advice: i32) -> i32;
    }
    let length = bytes / PAGE * PAGE;
    if length > 0 {
        // SAFETY: the pages lie inside the piece; the advice changes nothing of what they hold. A refusal is no matter.
        unsafe { madvise(begin.cast(), length, MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise(_: *mut u8, _: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_zeros_of_their_own() {
        let mut all: Vec<Lines> = Vec::new();
        for round in 0..8_u32 {
            for count in [0, 1, SMALL - 1, SMALL, SMALL + 1, REGION / 5, REGION / 4 + 1] {
                let mut lines = Lines::zeroed(count);
                assert!(lines.as_slice().len() == count && lines.first.addr().is_multiple_of(LINE));
                for place in [0, count / 2, count.saturating_sub(1)] {
                    if let Some(line) = lines.as_mut_slice().get_mut(place) {
                        assert!(line.0 == [0; 16] || place == count / 2 || place == 0, "line {place} of {count}");
                        line.0 = [round * 10_000_000 + count as u32; 16];
                    }
                }
                all.push(lines);
            }
            if round % 3 == 2 {
                // Some are given back while their neighbours stay.
                let mut index = 0;
                all.retain(|_| {
                    index += 1;
                    index % 2 == 0
                });
            }
        }
        for lines in &all {
            let held: Vec<u32> = [0, lines.count / 2, lines.count.saturating_sub(1)]
                .iter()
                .filter_map(|place| lines.as_slice().get(*place).map(|line| line.0[7]))
                .collect();
            assert!(held.iter().all(|number| *number == held[0] && *number as usize % 10_000_000 == lines.count));
        }
    }
}
