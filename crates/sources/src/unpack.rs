//! Compression and archives: gzip, zstd, xz, zip and tar, one inside the other up to a limit.

use std::cell::Cell;
use std::io::{BufReader, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use crate::detect::{Packing, unpacked_name};
use crate::input::{Counter, Guard, Input};
use crate::read::read_input;
use crate::record::{Damage, NoteKind, Position, Reason};
use crate::sink::{Flow, Halt, Sink, halt};

/// The memory that an xz stream may ask for: the 64 MiB dictionary of `xz -9`, and its tables.
const XZ_MEMORY_KIB: u32 = 128 << 10;
/// The window that a zstd stream may ask for, as a power of two: that of `zstd --long`.
const ZSTD_WINDOW_LOG: u32 = 27;
const BUFFER_BYTES: usize = 128 << 10;

/// Takes one packing off and reads what is inside.
pub(crate) fn read_packed(packing: Packing, input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    if sink.depth >= sink.config.nesting_max {
        let what = format!("more than {} archives or compressions lie inside each other", sink.config.nesting_max);
        return Err(halt(Reason::TooDeep, what));
    }
    sink.depth += 1;
    let result = match packing {
        Packing::Gzip | Packing::Zstd | Packing::Xz => decompress(packing, input, sink),
        Packing::Tar => read_tar(input, sink),
        Packing::Zip => read_zip(input, sink),
    };
    sink.depth -= 1;
    result
}

fn decompress(packing: Packing, input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    let name = unpacked_name(&input.name);
    let (media_type, url) = (input.media_type.clone(), input.url.clone());
    let packed = Rc::new(Cell::new(0));
    let counted = Counter { inner: input, count: Rc::clone(&packed) };
    let buffered = BufReader::with_capacity(BUFFER_BYTES, counted);
    let reader: Box<dyn Read + '_> = match packing {
        Packing::Gzip => Box::new(MultiGzDecoder::new(buffered)),
        Packing::Zstd => {
            // The bindings are in the build already, for Parquet, and are several times faster than the
            // decoders in Rust.
            let mut decoder = zstd::Decoder::with_buffer(buffered)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        _ => Box::new(XzReader::new_mem_limit(buffered, true, XZ_MEMORY_KIB)),
    };
    let guard = Guard::new(reader, sink.config, Some(packed), Rc::clone(&sink.expanded));
    let mut inner = Input::stream(name, guard);
    // The type of `a.gz` is that of the packing.
    inner.media_type = media_type.filter(|media_type| !media_type.contains("zip"));
    inner.url = url;
    read_input(inner, sink)
}

/// Whether a member's path stays inside the archive.
fn safe(name: &str) -> bool {
    let outside = name.starts_with(['/', '\\']) || name.as_bytes().get(1) == Some(&b':');
    !outside && !name.contains('\0') && !name.split(['/', '\\']).any(|part| part == "..")
}

fn unsafe_name(name: &str) -> Damage {
    Damage::new(Reason::UnsafeName, format!("the path of the member leads out of the archive: {name:?}"))
}

/// What archives of macOS hold beside the files.
fn is_litter(name: &str) -> bool {
    name.starts_with("__MACOSX/") || name.rsplit('/').next() == Some(".DS_Store")
}

fn too_many(sink: &Sink<'_, '_>) -> Halt {
    halt(Reason::TooMany, format!("the archive has more than {} members", sink.config.members_max))
}

fn read_tar(input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    let mut archive = tar::Archive::new(BufReader::with_capacity(BUFFER_BYTES, input));
    let mut skipped = 0;
    for (index, entry) in archive.entries()?.enumerate() {
        if index >= sink.config.members_max {
            return Err(too_many(sink));
        }
        // After a header that is none, nothing tells where the next begins.
        let entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = entry.header().entry_type();
        if kind.is_dir() || is_litter(&name) || kind.is_pax_global_extensions() {
            skipped += u64::from(!kind.is_dir());
            continue;
        }
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        sink.member(&name, |sink| {
            if !safe(&name) {
                return Err(unsafe_name(&name).into());
            }
            if kind.is_symlink() || kind.is_hard_link() {
                return Err(halt(Reason::Special, "the member is a link"));
            }
            if !kind.is_file() && !kind.is_contiguous() && !kind.is_gnu_sparse() {
                return Err(halt(Reason::Special, "the member is no plain file"));
            }
            let size = entry.size();
            let whole = Whole { inner: entry, left: size };
            let guard = Guard::new(whole, sink.config, None, Rc::clone(&sink.expanded));
            read_input(Input::stream(name.clone(), guard), sink)
        })?;
    }
    if skipped > 0 {
        sink.note(NoteKind::Skipped, skipped, "members without data of their own were passed over")?;
    }
    Ok(())
}

/// Says so where a member ends before its size is reached.
struct Whole<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}

fn read_zip(input: Input<'_>, sink: &mut Sink<'_, '_>) -> Flow {
    let mut archive = zip::ZipArchive::new(input.seekable(sink.config)?).map_err(zip_halt)?;
    if archive.len() > sink.config.members_max {
        return Err(too_many(sink));
    }
    let mut skipped = 0;
    for index in 0..archive.len() {
        let (name, folder, special, encrypted) = match archive.by_index_raw(index) {
            Ok(member) => {
                let name = zip_name(&member);
                // The file type in the upper bits of a Unix mode; 0 where none was written.
                let kind = member.unix_mode().unwrap_or(0) & 0o170_000;
                (name, member.is_dir(), kind != 0 && kind != 0o100_000, member.encrypted())
            }
            Err(error) => {
                let result = Err(zip_halt(error).at(Position::Record(index as u64 + 1)));
                sink.settle(result)?;
                continue;
            }
        };
        if folder || is_litter(&name) {
            skipped += u64::from(!folder);
            continue;
        }
        sink.member(&name, |sink| {
            if !safe(&name) {
                return Err(unsafe_name(&name).into());
            }
            if special {
                return Err(halt(Reason::Special, "the member is a link or no plain file"));
            }
            if encrypted {
                return Err(halt(Reason::Encrypted, "the member needs a password"));
            }
            let member = archive.by_index(index).map_err(zip_halt)?;
            let packed = Rc::new(Cell::new(member.compressed_size()));
            let guard = Guard::new(member, sink.config, Some(packed), Rc::clone(&sink.expanded));
            read_input(Input::stream(name.clone(), guard), sink)
        })?;
    }
    if skipped > 0 {
        sink.note(NoteKind::Skipped, skipped, "members without data of their own were passed over")?;
    }
    Ok(())
}

/// The name of a member: UTF-8 whether or not the flag says so, else whatever the bytes look like.
fn zip_name<R: Read + ?Sized>(member: &zip::read::ZipFile<'_, R>) -> String {
    let raw = member.name_raw();
    match std::str::from_utf8(raw) {
        Ok(name) => name.to_owned(),
        Err(_) => crate::charset::guess(raw).decode_without_bom_handling(raw).0.into_owned(),
    }
}

pub(crate) fn zip_halt(error: zip::result::ZipError) -> Halt {
    use zip::result::ZipError as E;
    match error {
        E::Io(error) => error.into(),
        E::CompressionMethodNotSupported(method) => {
            halt(Reason::Unsupported, format!("its compression (method {method}) is not read"))
        }
        E::InvalidPassword => halt(Reason::Encrypted, "the member needs a password"),
        E::UnsupportedArchive(what) => halt(Reason::Unsupported, what.to_string()),
        E::FileNotFound => halt(Reason::Corrupt, "a part of the archive is missing"),
        other => halt(Reason::Corrupt, other.to_string()),
    }
}
