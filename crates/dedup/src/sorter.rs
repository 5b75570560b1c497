//! External merge sort of records of 64-bit words in a fixed budget of memory.
//!
//! Records are ordered by their words, first to last. Equal records are the same bytes, so the order is
//! total and the answer does not depend on the budget or on where runs were cut.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use crate::DedupError;
use crate::scratch::Scratch;

/// The widest record that is moved while sorting; wider ones are sorted through an index.
const WIDTH_IN_PLACE: usize = 4;
const CURSOR_BYTES_MIN: u64 = 4 << 10;
const CURSOR_WORDS_MAX: usize = 32 << 10;

/// Takes records in any order.
pub(crate) struct Sorter {
    folder: PathBuf,
    width: usize,
    budget_bytes: u64,
    words_max: usize,
    words: Vec<u64>,
    runs: Vec<Run>,
    spill: Option<Scratch>,
}

#[derive(Clone, Copy)]
struct Run {
    start: u64,
    end: u64,
}

impl Sorter {
    /// For records of `width` words; runs that do not fit go to unnamed files in `folder`.
    pub(crate) fn new(folder: &Path, width: usize, budget_bytes: u64) -> Self {
        assert!(width > 0);
        let record_bytes = width * 8 + if width > WIDTH_IN_PLACE { 16 } else { 0 };
        let records = (budget_bytes / record_bytes as u64).clamp(16, u64::from(u32::MAX)) as usize;
        Self {
            folder: folder.to_owned(),
            width,
            budget_bytes,
            words_max: records * width,
            words: Vec::new(),
            runs: Vec::new(),
            spill: None,
        }
    }

    pub(crate) fn push(&mut self, record: &[u64]) -> Result<(), DedupError> {
        debug_assert_eq!(record.len(), self.width);
        if self.words.len() == self.words_max {
            self.flush()?;
        }
        if self.words.len() == self.words.capacity() {
            // Doubling by hand: the vector's own growth would step over the budget.
            let more = self.words.len().max(1024 * self.width).min(self.words_max - self.words.len());
            self.words.reserve_exact(more);
        }
        self.words.extend_from_slice(record);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DedupError> {
        let spill = match &mut self.spill {
            Some(spill) => spill,
            none => none.insert(Scratch::create(&self.folder)?),
        };
        let start = spill.len();
        match sort(&mut self.words, self.width) {
            None => spill.append(&self.words)?,
            Some(order) => {
                let mut chunk = Vec::with_capacity(4096 + self.width);
                for index in order {
                    let at = index as usize * self.width;
                    chunk.extend_from_slice(&self.words[at..at + self.width]);
                    if chunk.len() >= 4096 {
                        spill.append(&chunk)?;
                        chunk.clear();
                    }
                }
                spill.append(&chunk)?;
            }
        }
        self.runs.push(Run { start, end: spill.len() });
        self.words.clear();
        Ok(())
    }

    /// Ends the input; the records then come in order.
    pub(crate) fn finish(mut self) -> Result<Sorted, DedupError> {
        if self.runs.is_empty() {
            let order = sort(&mut self.words, self.width);
            return Ok(Sorted(Source::Memory { words: self.words, width: self.width, order, next: 0 }));
        }
        if !self.words.is_empty() {
            self.flush()?;
        }
        self.words = Vec::new();
        let fan_in = (self.budget_bytes / CURSOR_BYTES_MIN).clamp(2, 512) as usize;
        let mut runs = self.runs;
        let Some(mut spill) = self.spill else { unreachable!("runs are in a spill file") };
        while runs.len() > fan_in {
            let mut merged = Scratch::create(&self.folder)?;
            let mut merged_runs = Vec::new();
            for group in runs.chunks(fan_in) {
                let start = merged.len();
                let mut merge = Merge::new(spill, group, self.width, self.budget_bytes)?;
                let mut chunk = Vec::with_capacity(4096 + self.width);
                while let Some(record) = merge.next()? {
                    chunk.extend_from_slice(record);
                    if chunk.len() >= 4096 {
                        merged.append(&chunk)?;
                        chunk.clear();
                    }
                }
                merged.append(&chunk)?;
                merged_runs.push(Run { start, end: merged.len() });
                spill = merge.spill;
            }
            spill = merged;
            runs = merged_runs;
        }
        Ok(Sorted(Source::Merge(Merge::new(spill, &runs, self.width, self.budget_bytes)?)))
    }
}

/// Sorts records in place, or answers the order of wide ones.
fn sort(words: &mut [u64], width: usize) -> Option<Vec<u32>> {
    match width {
        1 => words.sort_unstable(),
        2 => words.as_chunks_mut::<2>().0.sort_unstable(),
        3 => words.as_chunks_mut::<3>().0.sort_unstable(),
        4 => words.as_chunks_mut::<4>().0.sort_unstable(),
        _ => return Some(sorted_order(words, width)),
    }
    None
}

fn sorted_order(words: &[u64], width: usize) -> Vec<u32> {
    // The first word lies beside the index, so most comparisons do not leave the cache.
    let mut keys: Vec<(u64, u32)> =
        words.chunks_exact(width).enumerate().map(|(index, record)| (record[0], index as u32)).collect();
    let rest = |index: u32| &words[index as usize * width + 1..(index as usize + 1) * width];
    keys.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| rest(a.1).cmp(rest(b.1))));
    keys.into_iter().map(|(_, index)| index).collect()
}

/// Records in order.
pub(crate) struct Sorted(Source);

enum Source {
    Memory { words: Vec<u64>, width: usize, order: Option<Vec<u32>>, next: usize },
    Merge(Merge),
}

impl Sorted {
    /// The next record, or none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<&[u64]>, DedupError> {
        match &mut self.0 {
            Source::Memory { words, width, order, next } => {
                let index = match order {
                    Some(order) => match order.get(*next) {
                        Some(index) => *index as usize,
                        None => return Ok(None),
                    },
                    None => *next,
                };
                *next += 1;
                Ok(words.get(index * *width..(index + 1) * *width))
            }
            Source::Merge(merge) => merge.next(),
        }
    }
}

/// Merges sorted runs through a heap of cursors.
struct Merge {
    spill: Scratch,
    width: usize,
    cursors: Vec<Cursor>,
    heap: Vec<usize>,
    started: bool,
}

struct Cursor {
    run: Run,
    words: Vec<u64>,
    next: usize,
}

impl Cursor {
    fn record(&self, width: usize) -> &[u64] {
        &self.words[self.next..self.next + width]
    }

    fn refill(&mut self, spill: &mut Scratch, chunk_words: usize) -> Result<bool, DedupError> {
        let count = (self.run.end - self.run.start).min(chunk_words as u64) as usize;
        self.words.resize(count, 0);
        spill.read(self.run.start, &mut self.words)?;
        self.run.start += count as u64;
        self.next = 0;
        Ok(count > 0)
    }
}

impl Merge {
    fn new(mut spill: Scratch, runs: &[Run], width: usize, budget_bytes: u64) -> Result<Self, DedupError> {
        let share = (budget_bytes / 8 / runs.len().max(1) as u64).min(CURSOR_WORDS_MAX as u64) as usize;
        let chunk_words = (share / width).max(1) * width;
        let mut cursors = Vec::with_capacity(runs.len());
        for run in runs {
            let mut cursor = Cursor { run: *run, words: Vec::with_capacity(chunk_words), next: 0 };
            cursor.refill(&mut spill, chunk_words)?;
            cursors.push(cursor);
        }
        let heap = (0..cursors.len()).filter(|index| !cursors[*index].words.is_empty()).collect();
        let mut merge = Self { spill, width, cursors, heap, started: false };
        for position in (0..merge.heap.len() / 2).rev() {
            merge.sift_down(position);
        }
        Ok(merge)
    }

    fn compare(&self, a: usize, b: usize) -> Ordering {
        self.cursors[a].record(self.width).cmp(self.cursors[b].record(self.width))
    }

    fn sift_down(&mut self, mut position: usize) {
        loop {
            let mut child = 2 * position + 1;
            if child >= self.heap.len() {
                return;
            }
            if child + 1 < self.heap.len() && self.compare(self.heap[child + 1], self.heap[child]).is_lt() {
                child += 1;
            }
            if self.compare(self.heap[position], self.heap[child]).is_le() {
                return;
            }
            self.heap.swap(position, child);
            position = child;
        }
    }

    fn next(&mut self) -> Result<Option<&[u64]>, DedupError> {
        if self.started {
            self.step()?;
        }
        self.started = true;
        match self.heap.first() {
            Some(first) => Ok(Some(self.cursors[*first].record(self.width))),
            None => Ok(None),
        }
    }

    /// Moves on from the record that was handed out last.
    fn step(&mut self) -> Result<(), DedupError> {
        let Some(&first) = self.heap.first() else { return Ok(()) };
        let cursor = &mut self.cursors[first];
        cursor.next += self.width;
        let chunk_words = cursor.words.capacity();
        if cursor.next == cursor.words.len()
            && !cursor.refill(&mut self.spill, chunk_words / self.width * self.width)?
        {
            self.heap.swap_remove(0);
        }
        self.sift_down(0);
        Ok(())
    }
}
