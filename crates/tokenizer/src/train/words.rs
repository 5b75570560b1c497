//! Counting words in bounded memory, exactly.
//!
//! Threads count into small tables of their own, which are emptied into shards by the hash of the word. A shard that has
//! reached its share of the memory writes its words, sorted, to a file and begins again; at the end the files are merged.
//! Sums do not depend on the order of their terms: neither do the counts, on threads or on the order of texts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use crate::error::TokenizerError;
use crate::hash::of_bytes;

const SHARD_BITS: u32 = 6;
/// Words of a thread's own table before it is emptied.
const LOCAL_WORDS_MAX: usize = 1 << 15;
/// Files of a shard before they become one.
const RUNS_MAX: usize = 48;

/// Words and how often each came: an open-addressing table over an arena.
#[derive(Debug, Default)]
pub(crate) struct Table {
    slots: Vec<u32>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    begin: u32,
    length: u32,
    hash: u64,
    count: u64,
}

impl Table {
    /// Adds to the count of a word.
    pub fn add(&mut self, word: &[u8], hash: u64, count: u64) {
        if (self.entries.len() + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut index = hash as usize & mask;
        loop {
            let slot = self.slots[index];
            if slot == 0 {
                break;
            }
            let entry = &mut self.entries[slot as usize - 1];
            let (begin, length) = (entry.begin as usize, entry.length as usize);
            if entry.hash == hash && self.bytes[begin..begin + length] == *word {
                entry.count += count;
                return;
            }
            index = (index + 1) & mask;
        }
        self.entries.push(Entry { begin: self.bytes.len() as u32, length: word.len() as u32, hash, count });
        self.bytes.extend_from_slice(word);
        self.slots[index] = self.entries.len() as u32;
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(64);
        self.slots.clear();
        self.slots.resize(size, 0);
        for (number, entry) in self.entries.iter().enumerate() {
            let mut index = entry.hash as usize & (size - 1);
            while self.slots[index] != 0 {
                index = (index + 1) & (size - 1);
            }
            self.slots[index] = number as u32 + 1;
        }
    }

    fn word(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.begin as usize..(entry.begin + entry.length) as usize]
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.entries.iter().map(|entry| (self.word(entry), entry.count))
    }

    fn clear(&mut self) {
        self.slots.fill(0);
        self.entries.clear();
        self.bytes.clear();
    }

    fn memory_bytes(&self) -> usize {
        self.slots.capacity() * 4 + self.entries.capacity() * size_of::<Entry>() + self.bytes.capacity()
    }
}

/// All words of a corpus.
#[derive(Debug)]
pub(crate) struct Words {
    shards: Vec<Mutex<Shard>>,
    shard_bytes_max: usize,
    locals: Mutex<Vec<Table>>,
    folder: Mutex<Option<TempDir>>,
}

#[derive(Debug, Default)]
struct Shard {
    index: usize,
    table: Table,
    /// Where sorted runs begin and end in the shard's file.
    runs: Vec<(u64, u64)>,
    path: Option<PathBuf>,
}

impl Words {
    /// An empty table that holds at most so many bytes, and some for each thread.
    pub fn new(memory_bytes_max: usize) -> Self {
        let shards = (0..1 << SHARD_BITS).map(|index| Mutex::new(Shard { index, ..Shard::default() })).collect();
        let shard_bytes_max = (memory_bytes_max >> SHARD_BITS).max(4096);
        Self { shards, shard_bytes_max, locals: Mutex::default(), folder: Mutex::default() }
    }

    /// The table of one thread, which goes back by [`Words::put_back`].
    pub fn local(&self) -> Table {
        lock(&self.locals).pop().unwrap_or_default()
    }

    /// Counts a word.
    #[inline]
    pub fn count(&self, word: &[u8], local: &mut Table) -> Result<(), TokenizerError> {
        local.add(word, of_bytes(word), 1);
        if local.entries.len() >= LOCAL_WORDS_MAX || local.bytes.len() > LOCAL_WORDS_MAX * 32 {
            self.empty(local)?;
        }
        Ok(())
    }

    pub fn put_back(&self, local: Table) {
        lock(&self.locals).push(local);
    }

    fn empty(&self, local: &mut Table) -> Result<(), TokenizerError> {
        let shard_of = |entry: &Entry| entry.hash >> (64 - SHARD_BITS);
        let mut order: Vec<u32> = (0..local.entries.len() as u32).collect();
        order.sort_unstable_by_key(|index| shard_of(&local.entries[*index as usize]));
        for group in
            order.chunk_by(|a, b| shard_of(&local.entries[*a as usize]) == shard_of(&local.entries[*b as usize]))
        {
            let mut shard = lock(&self.shards[shard_of(&local.entries[group[0] as usize]) as usize]);
            for index in group {
                let entry = &local.entries[*index as usize];
                shard.table.add(local.word(entry), entry.hash, entry.count);
            }
            if shard.table.memory_bytes() > self.shard_bytes_max {
                self.spill(&mut shard)?;
            }
        }
        local.clear();
        Ok(())
    }

    /// Writes a shard's words as one more sorted run of its file.
    fn spill(&self, shard: &mut Shard) -> Result<(), TokenizerError> {
        let path = self.path_of(shard)?;
        let fail = |error| TokenizerError::io("write", &path)(error);
        let file = File::options().create(true).append(true).open(&path).map_err(fail)?;
        let begin = file.metadata().map_err(fail)?.len();
        let mut to = BufWriter::new(file);
        let table = std::mem::take(&mut shard.table);
        let mut order: Vec<&Entry> = table.entries.iter().collect();
        order.sort_unstable_by_key(|entry| table.word(entry));
        let mut end = begin;
        for entry in order {
            end += write_record(&mut to, table.word(entry), entry.count).map_err(fail)?;
        }
        to.flush().map_err(fail)?;
        shard.runs.push((begin, end));
        if shard.runs.len() > RUNS_MAX { self.merge(shard) } else { Ok(()) }
    }

    fn path_of(&self, shard: &mut Shard) -> Result<PathBuf, TokenizerError> {
        if let Some(path) = &shard.path {
            return Ok(path.clone());
        }
        let mut folder = lock(&self.folder);
        let temporary = std::env::temp_dir();
        if folder.is_none() {
            *folder = Some(TempDir::with_prefix("words-").map_err(TokenizerError::io("write", &temporary))?);
        }
        let folder = folder.as_ref().map_or(temporary.as_path(), TempDir::path);
        let path = folder.join(format!("{}", shard.index));
        File::create_new(&path).map_err(TokenizerError::io("write", &path))?;
        shard.path = Some(path.clone());
        Ok(path)
    }

    /// Makes one run of all runs of a shard.
    fn merge(&self, shard: &mut Shard) -> Result<(), TokenizerError> {
        let Some(path) = shard.path.clone() else { return Ok(()) };
        let new = path.with_extension("merged");
        let fail = |error| TokenizerError::io("write", &new)(error);
        let mut to = BufWriter::new(File::create(&new).map_err(fail)?);
        let mut end = 0;
        for_each_merged(shard, &mut |word, count| {
            end += write_record(&mut to, word, count).map_err(fail)?;
            Ok(())
        })?;
        to.flush().map_err(fail)?;
        std::fs::rename(&new, &path).map_err(fail)?;
        shard.runs = vec![(0, end)];
        Ok(())
    }

    /// Ends the counting. The counts of words stand fast from here on.
    pub fn finish(&mut self) -> Result<(), TokenizerError> {
        for mut local in std::mem::take(&mut *lock(&self.locals)) {
            self.empty(&mut local)?;
        }
        for shard in &self.shards {
            let mut shard = lock(shard);
            if !shard.runs.is_empty() {
                self.spill(&mut shard)?;
                self.merge(&mut shard)?;
            }
        }
        Ok(())
    }

    /// How much each count weighs: the sum of `weight` over all words with it.
    pub fn weights(&self, weight: impl Fn(&[u8]) -> u64) -> Result<BTreeMap<u64, u64>, TokenizerError> {
        let mut all = BTreeMap::new();
        for shard in &self.shards {
            each(&mut lock(shard), &mut |word, count| {
                *all.entry(count).or_default() += weight(word);
                Ok(())
            })?;
        }
        Ok(all)
    }

    /// Gives every word and its count, and forgets them shard by shard.
    pub fn drain(self, take: &mut dyn FnMut(&[u8], u64)) -> Result<(), TokenizerError> {
        for shard in self.shards {
            let mut shard = shard.into_inner().unwrap_or_else(PoisonError::into_inner);
            each(&mut shard, &mut |word, count| {
                take(word, count);
                Ok(())
            })?;
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Take<'t> = &'t mut dyn FnMut(&[u8], u64) -> Result<(), TokenizerError>;

fn each(shard: &mut Shard, take: Take) -> Result<(), TokenizerError> {
    if !shard.runs.is_empty() {
        return for_each_merged(shard, take);
    }
    shard.table.iter().try_for_each(|(word, count)| take(word, count))
}

fn write_record(to: &mut impl Write, word: &[u8], count: u64) -> std::io::Result<u64> {
    to.write_all(&(word.len() as u32).to_le_bytes())?;
    to.write_all(&count.to_le_bytes())?;
    to.write_all(word)?;
    Ok(12 + word.len() as u64)
}

/// One run of a file, and the record it stands at.
struct Run {
    from: BufReader<std::io::Take<File>>,
    word: Vec<u8>,
    count: u64,
}

impl Run {
    /// Goes to the next record; false behind the last.
    fn next(&mut self) -> std::io::Result<bool> {
        let mut head = [0; 12];
        if let Err(error) = self.from.read_exact(&mut head) {
            return if error.kind() == std::io::ErrorKind::UnexpectedEof { Ok(false) } else { Err(error) };
        }
        let (length, count) = head.split_at(4);
        let length = length.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        self.count = count.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        self.word.resize(length, 0);
        self.from.read_exact(&mut self.word)?;
        Ok(true)
    }
}

/// Every word of a shard's runs in order, with the sum of its counts.
fn for_each_merged(shard: &Shard, take: Take) -> Result<(), TokenizerError> {
    let Some(path) = &shard.path else { return Ok(()) };
    let fail = |error| TokenizerError::io("read", path)(error);
    let mut runs = Vec::new();
    for (begin, end) in &shard.runs {
        let mut file = File::open(path).map_err(fail)?;
        file.seek(SeekFrom::Start(*begin)).map_err(fail)?;
        let from = BufReader::with_capacity(1 << 14, file.take(end - begin));
        let mut run = Run { from, word: Vec::new(), count: 0 };
        if run.next().map_err(fail)? {
            runs.push(run);
        }
    }
    let mut word = Vec::new();
    while let Some(first) = runs.iter().min_by(|a, b| a.word.cmp(&b.word)) {
        word.clone_from(&first.word);
        let mut sum = 0;
        let mut index = 0;
        while index < runs.len() {
            if runs[index].word != word {
                index += 1;
                continue;
            }
            sum += runs[index].count;
            if runs[index].next().map_err(fail)? {
                index += 1;
            } else {
                runs.swap_remove(index);
            }
        }
        take(&word, sum)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_the_same_whether_they_fit_into_memory_or_not() {
        let counted = |bytes: usize| {
            let mut words = Words::new(bytes);
            std::thread::scope(|scope| {
                for thread in 0..3_u64 {
                    let words = &words;
                    scope.spawn(move || {
                        let mut local = words.local();
                        for index in 0..150_000_u64 {
                            let value = (index * 7919 + thread * 13) % 70_001;
                            words.count(format!("w{value}").as_bytes(), &mut local).unwrap();
                        }
                        words.put_back(local);
                    });
                }
            });
            words.finish().unwrap();
            let spilled = words.shards.iter().any(|shard| !lock(shard).runs.is_empty());
            let weights = words.weights(|_| 1).unwrap();
            let mut all = BTreeMap::new();
            words.drain(&mut |word, count| assert!(all.insert(word.to_vec(), count).is_none())).unwrap();
            assert_eq!(all.values().sum::<u64>(), 450_000);
            (spilled, weights, all)
        };
        let (spilled, weights, all) = counted(1 << 30);
        assert!(!spilled);
        let mut reference: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for thread in 0..3_u64 {
            for index in 0..150_000_u64 {
                let value = (index * 7919 + thread * 13) % 70_001;
                *reference.entry(format!("w{value}").into_bytes()).or_default() += 1;
            }
        }
        assert_eq!(all, reference);
        let small = counted(0);
        assert!(small.0);
        assert_eq!((small.1, small.2), (weights, all));
    }
}
