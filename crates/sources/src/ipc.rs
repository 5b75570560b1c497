//! Looks at the messages of an Arrow IPC stream before `arrow` reads them: it makes room for whatever length
//! a message claims, and a claim of terabytes would end the process.

use std::io::{self, Read};

use arrow::ipc::{Message, RecordBatch, root_as_message};

use crate::input::{coded, damage_of};
use crate::record::{Damage, Reason};

const CONTINUATION: [u8; 4] = [0xff; 4];
/// The longest description of a message.
const METADATA_BYTES_MAX: usize = 64 << 20;
/// What begins a file, before its stream.
const FILE_MAGIC: &[u8] = b"ARROW1";
const FILE_START_BYTES: usize = 8;
/// The most zeros that may follow it.
const FILE_PADDING_BYTES_MAX: usize = 256;

/// A stream whose messages were looked at; of a file, the stream inside it.
pub(crate) struct Messages<R> {
    inner: R,
    /// What was looked at and not yet given.
    ready: Vec<u8>,
    given: usize,
    /// What of a body is still to come, straight from `inner`.
    body_left: u64,
    batch_bytes_max: u64,
    is_file: bool,
    started: bool,
    finished: bool,
}

impl<R: Read> Messages<R> {
    pub(crate) fn new(inner: R, is_file: bool, batch_bytes_max: u64) -> Self {
        Self {
            inner,
            ready: Vec::new(),
            given: 0,
            body_left: 0,
            batch_bytes_max,
            is_file,
            started: false,
            finished: false,
        }
    }

    /// Reads what follows the stream in a file, and says whether its end mark is there.
    pub(crate) fn is_whole(&mut self) -> io::Result<bool> {
        if !self.is_file {
            return Ok(true);
        }
        let mut tail: Vec<u8> = Vec::new();
        let mut buffer = [0; 8192];
        loop {
            let read = self.inner.read(&mut buffer)?;
            if read == 0 {
                return Ok(tail.ends_with(FILE_MAGIC));
            }
            tail.extend_from_slice(&buffer[..read]);
            tail.drain(..tail.len().saturating_sub(FILE_MAGIC.len()));
        }
    }

    /// Looks at the next message; an empty result at the end of the stream.
    fn next_message(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.given = 0;
        if self.is_file && !self.started {
            self.inner.read_exact(&mut [0; FILE_START_BYTES])?;
        }
        let mut word = [0; 4];
        let mut more = read_word(&mut self.inner, &mut word)?;
        if self.is_file && !self.started {
            // Writers pad the mark of a file as they like.
            let mut padding = FILE_START_BYTES;
            while more && word == [0; 4] && padding < FILE_PADDING_BYTES_MAX {
                more = read_word(&mut self.inner, &mut word)?;
                padding += word.len();
            }
        }
        self.started = true;
        // A stream may end without a mark.
        if !more {
            self.finished = true;
            return Ok(());
        }
        self.ready.extend_from_slice(&word);
        if word == CONTINUATION {
            self.inner.read_exact(&mut word)?;
            self.ready.extend_from_slice(&word);
        }
        let length = i32::from_le_bytes(word);
        if length == 0 {
            self.finished = true;
            return Ok(());
        }
        let length = usize::try_from(length).map_err(|_| corrupt("a message has a negative length"))?;
        if length > METADATA_BYTES_MAX {
            return Err(corrupt("the description of a message is longer than 64 MiB"));
        }
        let start = self.ready.len();
        read_onto(&mut self.inner, &mut self.ready, length)?;
        let message = root_as_message(&self.ready[start..]).map_err(|error| corrupt(&error.to_string()))?;
        let body = u64::try_from(message.bodyLength()).map_err(|_| corrupt("a message has a negative length"))?;
        if body > self.batch_bytes_max {
            return Err(too_large(self.batch_bytes_max));
        }
        let packed = packed_buffers(&message)?;
        if packed.is_empty() {
            self.body_left = body;
            return Ok(());
        }
        // Each packed buffer says first how long it becomes.
        let start = self.ready.len();
        read_onto(&mut self.inner, &mut self.ready, body as usize)?;
        let mut total = 0_u64;
        for offset in packed {
            let claim = self.ready[start..].get(offset..offset.saturating_add(8));
            let claim = claim.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
            let claim = i64::from_le_bytes(claim.ok_or_else(|| corrupt("a buffer lies outside its message"))?);
            // -1 says that a buffer is not packed after all.
            total = total.saturating_add(u64::try_from(claim).unwrap_or(0));
        }
        if total > self.batch_bytes_max {
            return Err(too_large(self.batch_bytes_max));
        }
        Ok(())
    }
}

/// Where in a body the packed buffers that hold something begin.
fn packed_buffers(message: &Message<'_>) -> io::Result<Vec<usize>> {
    let batch: Option<RecordBatch<'_>> = message
        .header_as_record_batch()
        .or_else(|| message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data()));
    let Some(batch) = batch.filter(|batch| batch.compression().is_some()) else { return Ok(Vec::new()) };
    let Some(buffers) = batch.buffers() else { return Ok(Vec::new()) };
    let offset = |offset: i64| usize::try_from(offset).map_err(|_| corrupt("a buffer lies outside its message"));
    buffers.iter().filter(|buffer| buffer.length() > 0).map(|buffer| offset(buffer.offset())).collect()
}

fn corrupt(what: &str) -> io::Error {
    coded(Damage::new(Reason::Corrupt, what))
}

fn too_large(bytes_max: u64) -> io::Error {
    let limit = base::units::bytes(bytes_max);
    coded(Damage::new(Reason::TooLarge, format!("a batch of rows is longer than {limit}")))
}

/// Four bytes; false where the stream ends before the first.
fn read_word(inner: &mut impl Read, word: &mut [u8; 4]) -> io::Result<bool> {
    let mut filled = 0;
    while filled < word.len() {
        match inner.read(&mut word[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Appends exactly `count` bytes; room is made as they come.
fn read_onto(inner: &mut impl Read, bytes: &mut Vec<u8>, count: usize) -> io::Result<()> {
    let read = inner.by_ref().take(count as u64).read_to_end(bytes)?;
    if read < count { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

impl<R: Read> Read for Messages<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.given == self.ready.len() && self.body_left == 0 {
            if self.finished {
                return Ok(0);
            }
            // `arrow` takes an early end for the end of the stream.
            self.next_message().map_err(|error| coded(damage_of(&error)))?;
        }
        if self.given < self.ready.len() {
            let count = (self.ready.len() - self.given).min(buffer.len());
            buffer[..count].copy_from_slice(&self.ready[self.given..self.given + count]);
            self.given += count;
            return Ok(count);
        }
        if self.body_left == 0 {
            return Ok(0);
        }
        let most = buffer.len().min(usize::try_from(self.body_left).unwrap_or(usize::MAX));
        let read = self.inner.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(coded(Damage::new(Reason::Truncated, "it ends inside a batch of rows")));
        }
        self.body_left -= read as u64;
        Ok(read)
    }
}
