//! From pairs to clusters with one representative each, in a fixed budget, and the files that say so.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::DedupError;
use crate::records::{Kind, RecordReader, RecordWriter, record_count};
use crate::scratch::{PagedArray, Spool};
use crate::sorter::Sorter;

/// The least budget there is; below it the buffers of files alone would not fit.
const BUDGET_BYTES_MIN: u64 = 1 << 20;
const DROPPED: &str = "dropped.dups";
const CLUSTERS: &str = "clusters.dups";

/// Which document of a cluster stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// As datatrove: the root of the larger part whenever two parts of a cluster meet.
    #[default]
    LargestCluster,
    /// The document with the least id.
    First,
}

pub(crate) fn check_budget(budget_bytes: u64) -> Result<(), DedupError> {
    if budget_bytes < BUDGET_BYTES_MIN {
        return Err(DedupError::config("budget_bytes", format!("it is {budget_bytes}, and at least 1 MiB is needed")));
    }
    Ok(())
}

/// The threads to work with; 0 means one for each core.
pub(crate) fn pool(threads: usize) -> Result<rayon::ThreadPool, DedupError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| DedupError::config("threads", error.to_string()))
}

/// Documents that occur in pairs, joined. Document `i` in order of ids has the words `2 i` (its parent
/// plus one; zero: it is a root) and `2 i + 1` (the size of a root's cluster; zero: one) in `links`.
pub(crate) struct Components {
    ids: PagedArray,
    links: PagedArray,
    count: u64,
    keep: Keep,
}

impl Components {
    /// Joins pairs in their order.
    pub(crate) fn new(folder: &Path, pairs: Vec<Spool>, keep: Keep, budget_bytes: u64) -> Result<Self, DedupError> {
        let mut by_id = Sorter::new(folder, 2, budget_bytes / 4);
        let mut places = 0;
        for mut spool in pairs {
            spool.rewind()?;
            while let Some(pair) = spool.next()? {
                by_id.push(&[pair[0], places])?;
                by_id.push(&[pair[1], places + 1])?;
                places += 2;
            }
        }
        let mut ids = PagedArray::new(folder, places, budget_bytes / 8);
        let mut by_place = Sorter::new(folder, 2, budget_bytes / 4);
        let mut count = 0;
        let mut before = None;
        let mut sorted = by_id.finish()?;
        while let Some(&[id, place]) = sorted.next()? {
            if before != Some(id) {
                ids.set(count, id)?;
                count += 1;
                before = Some(id);
            }
            by_place.push(&[place, count - 1])?;
        }
        drop(sorted);
        let links = PagedArray::new(folder, count * 2, budget_bytes / 4);
        let mut components = Self { ids, links, count, keep };
        let mut sorted = by_place.finish()?;
        while let Some(&[_, a]) = sorted.next()? {
            let Some(&[_, b]) = sorted.next()? else { break };
            components.join(a, b)?;
        }
        Ok(components)
    }

    fn parent(&mut self, node: u64) -> Result<u64, DedupError> {
        Ok(self.links.get(2 * node)?.checked_sub(1).unwrap_or(node))
    }

    fn root(&mut self, mut node: u64) -> Result<u64, DedupError> {
        loop {
            let parent = self.parent(node)?;
            if parent == node {
                return Ok(node);
            }
            let above = self.parent(parent)?;
            if above != parent {
                self.links.set(2 * node, above + 1)?;
            }
            node = above;
        }
    }

    fn join(&mut self, a: u64, b: u64) -> Result<(), DedupError> {
        let (mut stays, mut joins) = (self.root(a)?, self.root(b)?);
        if stays == joins {
            return Ok(());
        }
        let sizes = (self.links.get(2 * stays + 1)?.max(1), self.links.get(2 * joins + 1)?.max(1));
        let swap = match self.keep {
            Keep::LargestCluster => sizes.0 < sizes.1,
            Keep::First => joins < stays,
        };
        if swap {
            std::mem::swap(&mut stays, &mut joins);
        }
        self.links.set(2 * joins, stays + 1)?;
        self.links.set(2 * stays + 1, sizes.0 + sizes.1)
    }

    /// Calls with (id, representative) for every document in a cluster, by ascending id.
    pub(crate) fn for_each(
        &mut self,
        mut each: impl FnMut(u64, u64) -> Result<(), DedupError>,
    ) -> Result<(), DedupError> {
        for node in 0..self.count {
            let root = self.root(node)?;
            each(self.ids.get(node)?, self.ids.get(root)?)?;
        }
        Ok(())
    }

    /// Writes the file of dropped documents, unfinished, and shows every member on the way.
    pub(crate) fn write_dropped(
        &mut self,
        output: &Path,
        documents: u64,
        mut each: impl FnMut(u64, u64) -> Result<(), DedupError>,
    ) -> Result<RecordWriter, DedupError> {
        let mut dropped = dropped_writer(output, documents)?;
        self.for_each(|id, representative| {
            if id != representative {
                dropped.push(&[id, representative])?;
            }
            each(id, representative)
        })?;
        Ok(dropped)
    }
}

fn dropped_writer(output: &Path, documents: u64) -> Result<RecordWriter, DedupError> {
    RecordWriter::create(&output.join(DROPPED), Kind::Dropped, 2, 0, documents)
}

/// Writes the file of clusters from members that come by representative, itself first, then by id.
pub(crate) fn write_members(
    output: &Path,
    documents: u64,
    mut next: impl FnMut() -> Result<Option<Member>, DedupError>,
) -> Result<(), DedupError> {
    let mut file = RecordWriter::create(&output.join(CLUSTERS), Kind::Clusters, 3, 0, documents)?;
    while let Some(member) = next()? {
        file.push(&[member.representative, member.id, member.similarity.to_bits()])?;
    }
    file.finish()?;
    Ok(())
}

/// Takes dropped documents in any order and writes both files.
pub(crate) struct ClusterSink {
    dropped: Sorter,
    members: Sorter,
}

impl ClusterSink {
    pub(crate) fn new(folder: &Path, budget_bytes: u64) -> Self {
        Self {
            dropped: Sorter::new(folder, 2, budget_bytes * 2 / 5),
            members: Sorter::new(folder, 3, budget_bytes * 3 / 5),
        }
    }

    /// A representative must not be dropped itself.
    pub(crate) fn push(&mut self, member: Member) -> Result<(), DedupError> {
        self.dropped.push(&[member.id, member.representative])?;
        self.members.push(&[member.representative, member.id, member.similarity.to_bits()])
    }

    pub(crate) fn finish(self, output: &Path, documents: u64) -> Result<Clusters, DedupError> {
        let mut sorted = self.members.finish()?;
        let mut waiting: Option<Member> = None;
        let mut before = None;
        write_members(output, documents, || {
            if let Some(member) = waiting.take() {
                return Ok(Some(member));
            }
            let Some(&[representative, id, similarity]) = sorted.next()? else { return Ok(None) };
            let member = Member { representative, id, similarity: f64::from_bits(similarity) };
            if before == Some(representative) {
                return Ok(Some(member));
            }
            before = Some(representative);
            waiting = Some(member);
            Ok(Some(Member { representative, id: representative, similarity: 1.0 }))
        })?;
        let mut file = dropped_writer(output, documents)?;
        let mut sorted = self.dropped.finish()?;
        while let Some(record) = sorted.next()? {
            file.push(record)?;
        }
        file.finish()?;
        Clusters::open(output)
    }
}

/// Clusters on disk: for every dropped document its representative, and for people the members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clusters {
    folder: PathBuf,
    /// How many documents were looked at (of those that have a signature or hash).
    pub documents: u64,
    /// How many of them are dropped.
    pub dropped: u64,
    /// How many clusters of two or more there are.
    pub clusters: u64,
}

impl Clusters {
    /// Opens the results in a folder.
    ///
    /// # Errors
    /// They are not there, not complete or damaged.
    pub fn open(folder: &Path) -> Result<Self, DedupError> {
        let (dropped, clusters) = (folder.join(DROPPED), folder.join(CLUSTERS));
        let documents = RecordReader::open(&dropped, Kind::Dropped)?.expect(2, 0)?.own();
        RecordReader::open(&clusters, Kind::Clusters)?.expect(3, 0)?;
        let count = record_count(&dropped)?;
        let members = record_count(&clusters)?;
        let Some(clusters) = members.checked_sub(count) else {
            return Err(DedupError::file(&clusters, "it does not belong to the file of dropped documents"));
        };
        Ok(Self { folder: folder.to_owned(), documents, dropped: count, clusters })
    }

    /// The dropped documents by ascending id.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn dropped(&self) -> Result<Dropped, DedupError> {
        Ok(Dropped(RecordReader::open(&self.folder.join(DROPPED), Kind::Dropped)?.expect(2, 0)?))
    }

    /// All members of clusters by representative, the representative first, then by id.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn members(&self) -> Result<Members, DedupError> {
        Ok(Members(RecordReader::open(&self.folder.join(CLUSTERS), Kind::Clusters)?.expect(3, 0)?))
    }
}

/// Iterates over (id, representative).
pub struct Dropped(RecordReader);

impl Iterator for Dropped {
    type Item = Result<(u64, u64), DedupError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|record| record.map(|record| (record[0], record[1]))).transpose()
    }
}

/// A document in a cluster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member {
    /// The document that stays.
    pub representative: u64,
    /// This document.
    pub id: u64,
    /// How similar it is to the representative, 0 to 1: exactly 1 for exact duplicates, the share of equal
    /// hashes (an estimate of the Jaccard similarity) for near ones, a cosine, or a share of equal bits.
    pub similarity: f64,
}

/// Iterates over [`Member`]s.
pub struct Members(RecordReader);

impl Iterator for Members {
    type Item = Result<Member, DedupError>;

    fn next(&mut self) -> Option<Self::Item> {
        let member =
            |record: &[u64]| Member { representative: record[0], id: record[1], similarity: f64::from_bits(record[2]) };
        self.0.next().map(|record| record.map(member)).transpose()
    }
}
