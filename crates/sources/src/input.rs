//! A stream of bytes that is being read, with what is known of it: it can be looked into without being
//! consumed, read whole up to a limit, or made seekable.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write as _};
use std::rc::Rc;

use crate::config::{Config, RATIO_FREE_BYTES};
use crate::record::{Damage, Reason};
use crate::remote::RangeReader;
use crate::sink::Halt;

/// What archives and columnar formats need.
pub(crate) trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// Where the bytes come from.
pub(crate) enum Origin<'a> {
    /// A file of this machine, which is seekable.
    File(File),
    /// An object of a store: a stream, and ranges on demand.
    Remote(Box<dyn Read + 'a>, Box<dyn FnOnce() -> Option<RangeReader> + 'a>),
    /// What comes out of an archive or a decompressor.
    Stream(Box<dyn Read + 'a>),
}

/// A stream of bytes and what is known of it.
pub(crate) struct Input<'a> {
    /// The name that tells the format.
    pub name: String,
    /// The media type that a server declared, with its parameters.
    pub media_type: Option<String>,
    /// The address for the metadata of documents.
    pub url: Option<String>,
    head: Vec<u8>,
    head_used: usize,
    origin: Origin<'a>,
    meter: Option<Rc<Cell<u64>>>,
    /// An error that was met while looking ahead.
    pending: Option<io::Error>,
}

impl<'a> Input<'a> {
    pub(crate) fn new(name: impl Into<String>, origin: Origin<'a>) -> Self {
        Self {
            name: name.into(),
            media_type: None,
            url: None,
            head: Vec::new(),
            head_used: 0,
            origin,
            meter: None,
            pending: None,
        }
    }

    pub(crate) fn stream(name: impl Into<String>, reader: impl Read + 'a) -> Self {
        Self::new(name, Origin::Stream(Box::new(reader)))
    }

    /// Counts the bytes that are read into `meter`.
    pub(crate) fn metered(mut self, meter: &Rc<Cell<u64>>) -> Self {
        self.meter = Some(Rc::clone(meter));
        self
    }

    /// Counts a file as read whole, where its reader is out of sight.
    pub(crate) fn count_whole(&self) {
        if let (Some(meter), Origin::File(file)) = (&self.meter, &self.origin)
            && let Ok(metadata) = file.metadata()
        {
            meter.set(metadata.len());
        }
    }

    fn read_origin(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.pending.take() {
            return Err(error);
        }
        let read = match &mut self.origin {
            Origin::File(file) => file.read(buffer).map_err(io_damage)?,
            Origin::Remote(reader, _) | Origin::Stream(reader) => reader.read(buffer)?,
        };
        if let Some(meter) = &self.meter {
            meter.set(meter.get() + read as u64);
        }
        Ok(read)
    }

    /// The first `count` bytes, fewer only at the end, without consuming them.
    pub(crate) fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        let wanted = self.head_used + count;
        while self.head.len() < wanted {
            let filled = self.head.len();
            self.head.resize(wanted, 0);
            let mut window = std::mem::take(&mut self.head);
            let result = self.read_origin(&mut window[filled..]);
            window.truncate(filled + *result.as_ref().unwrap_or(&0));
            self.head = window;
            match result {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What came before the damage is still of use.
                Err(error) if self.head.len() > self.head_used => {
                    self.pending = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(&self.head[self.head_used..wanted.min(self.head.len())])
    }

    /// All bytes, at most `bytes_max`.
    pub(crate) fn bytes(mut self, bytes_max: usize) -> Result<Vec<u8>, Halt> {
        let mut bytes = Vec::new();
        self.by_ref().take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > bytes_max {
            let limit = base::units::bytes(bytes_max as u64);
            return Err(Damage::new(Reason::TooLarge, format!("it is longer than {limit} for one record")).into());
        }
        Ok(bytes)
    }

    /// The same bytes, readable in any order: the file itself, ranges of a remote object, or a copy in
    /// memory or a temporary file, at most `member_bytes_max`.
    pub(crate) fn seekable(self, config: &Config) -> Result<Box<dyn ReadSeek + 'a>, Halt> {
        let meter = self.meter.clone();
        Ok(match self.owned(config)? {
            Owned::File(inner) => Box::new(Metered { inner, meter }),
            Owned::Remote(inner) => Box::new(Metered { inner, meter }),
            Owned::Memory(bytes) => Box::new(Cursor::new(bytes)),
        })
    }

    /// Like [`Input::seekable`], as what it is.
    pub(crate) fn owned(self, config: &Config) -> Result<Owned, Halt> {
        let Self { head, head_used, origin, meter, pending, .. } = self;
        if let Some(error) = pending {
            return Err(error.into());
        }
        let stream: Box<dyn Read + 'a> = match origin {
            Origin::File(mut file) => {
                file.seek(SeekFrom::Start(0)).map_err(io_damage)?;
                return Ok(Owned::File(file));
            }
            Origin::Remote(stream, ranges) => match ranges() {
                Some(ranges) => return Ok(Owned::Remote(ranges)),
                None => stream,
            },
            Origin::Stream(stream) => stream,
        };
        let mut whole = Cursor::new(head.get(head_used..).unwrap_or_default().to_vec()).chain(stream);
        let mut spool = tempfile::SpooledTempFile::new(config.spool_memory_bytes);
        let mut buffer = vec![0; 64 << 10];
        let mut total = 0_u64;
        loop {
            let read = match whole.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            total += read as u64;
            if let Some(meter) = &meter {
                meter.set(meter.get() + read as u64);
            }
            if total > config.member_bytes_max {
                return Err(too_large(config.member_bytes_max).into());
            }
            spool.write_all(&buffer[..read]).map_err(io_damage)?;
        }
        spool.seek(SeekFrom::Start(0)).map_err(io_damage)?;
        Ok(match spool.into_inner() {
            tempfile::SpooledData::InMemory(memory) => Owned::Memory(memory.into_inner()),
            tempfile::SpooledData::OnDisk(file) => Owned::File(file),
        })
    }
}

/// Bytes that are readable in any order and borrow nothing.
pub(crate) enum Owned {
    File(File),
    Memory(Vec<u8>),
    Remote(RangeReader),
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.head.get(self.head_used..).unwrap_or_default();
        if rest.is_empty() {
            return self.read_origin(buffer);
        }
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.head_used += count;
        if self.head_used == self.head.len() {
            self.head = Vec::new();
            self.head_used = 0;
        }
        Ok(count)
    }
}

/// Counts what is read out of order.
struct Metered<R> {
    inner: R,
    meter: Option<Rc<Cell<u64>>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if let Some(meter) = &self.meter {
            meter.set(meter.get() + read as u64);
        }
        Ok(read)
    }
}

impl<R: Seek> Seek for Metered<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// Stops a decompressor that gives too much.
pub(crate) struct Guard<R> {
    inner: R,
    given: u64,
    bytes_max: u64,
    /// The packed bytes read so far, and the most that one may become.
    packed: Option<(Rc<Cell<u64>>, u64)>,
    /// What all guards of an object gave, and the most that they may.
    total: (Rc<Cell<u64>>, u64),
}

impl<R> Guard<R> {
    pub(crate) fn new(inner: R, config: &Config, packed: Option<Rc<Cell<u64>>>, total: Rc<Cell<u64>>) -> Self {
        Self {
            inner,
            given: 0,
            bytes_max: config.member_bytes_max,
            packed: packed.map(|packed| (packed, config.ratio_max)),
            total: (total, config.expanded_bytes_max),
        }
    }
}

impl<R: Read> Read for Guard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.given += read as u64;
        self.total.0.set(self.total.0.get() + read as u64);
        if self.given > self.bytes_max {
            return Err(coded(too_large(self.bytes_max)));
        }
        if self.total.0.get() > self.total.1 {
            let limit = base::units::bytes(self.total.1);
            return Err(coded(Damage::new(Reason::Bomb, format!("it unpacks to more than {limit}"))));
        }
        if let Some((packed, ratio)) = &self.packed
            && self.given > RATIO_FREE_BYTES
            && self.given / packed.get().max(1) > *ratio
        {
            let what = format!("it unpacks to more than {ratio} times its size");
            return Err(coded(Damage::new(Reason::Bomb, what)));
        }
        Ok(read)
    }
}

/// Counts the bytes that pass.
pub(crate) struct Counter<R> {
    pub inner: R,
    pub count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.set(self.count.get() + read as u64);
        Ok(read)
    }
}

fn too_large(bytes_max: u64) -> Damage {
    Damage::new(Reason::TooLarge, format!("it is longer than {}", base::units::bytes(bytes_max)))
}

/// An error that carries its damage through readers of other crates.
pub(crate) fn coded(damage: Damage) -> io::Error {
    io::Error::other(damage)
}

/// The machine's own failure to read, told apart from what decoders find wrong.
pub(crate) fn io_damage(error: io::Error) -> io::Error {
    use io::ErrorKind as K;
    let reason = match error.kind() {
        K::Interrupted => return error,
        K::NotFound => Reason::NotFound,
        K::PermissionDenied => Reason::Denied,
        _ => Reason::Io,
    };
    coded(Damage::new(reason, error.to_string()))
}

/// What an error of a reader means: damage that was coded, an early end, or bytes that a decoder refused.
pub(crate) fn damage_of(error: &io::Error) -> Damage {
    let mut inner = error.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static));
    while let Some(found) = inner {
        if let Some(damage) = found.downcast_ref::<Damage>() {
            return damage.clone();
        }
        if let Some(nested) = found.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            inner = Some(nested);
            continue;
        }
        inner = found.source();
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Damage::new(Reason::Truncated, "it ends too early"),
        io::ErrorKind::Unsupported => Damage::new(Reason::Unsupported, error.to_string()),
        _ => Damage::new(Reason::Corrupt, error.to_string()),
    }
}
