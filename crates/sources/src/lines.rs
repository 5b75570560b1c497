//! A window over a stream: it slides, and grows up to a limit where one record needs more.

use std::io::{self, Read as _};

use crate::input::Input;
use crate::record::{Damage, Reason};
use crate::sink::Halt;

const WINDOW_BYTES: usize = 256 << 10;

/// A window over a stream.
pub(crate) struct Window<'a> {
    input: Input<'a>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Whether the stream has ended.
    pub ended: bool,
    bytes_max: usize,
}

impl<'a> Window<'a> {
    pub(crate) fn new(input: Input<'a>, bytes_max: usize) -> Self {
        Self { input, buffer: vec![0; WINDOW_BYTES], start: 0, end: 0, ended: false, bytes_max }
    }

    /// What is in the window.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Lets the first bytes go.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Whether the window already holds as much as one record may.
    pub(crate) fn is_full(&self) -> bool {
        self.end - self.start > self.bytes_max
    }

    /// Reads more behind what is in the window.
    pub(crate) fn fill(&mut self) -> io::Result<()> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end * 2 > self.buffer.len() {
            let longest = self.bytes_max.saturating_add(WINDOW_BYTES);
            let length = (self.buffer.len() * 2).min(longest).max(self.end + WINDOW_BYTES / 2);
            self.buffer.resize(length, 0);
        } else if self.buffer.len() > 4 * WINDOW_BYTES && self.end < WINDOW_BYTES {
            // One long record does not keep its memory for ever.
            self.buffer.truncate(WINDOW_BYTES);
            self.buffer.shrink_to_fit();
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            return Ok(());
        }
    }
}

/// The lines of a stream, without their ends (`\n` or `\r\n`).
pub(crate) struct Lines<'a> {
    window: Window<'a>,
    /// The number of the line given last, from 1.
    pub number: u64,
    given: usize,
}

/// A line, or the news that it was too long and is skipped.
pub(crate) enum Line<'a> {
    Whole(&'a [u8]),
    TooLong,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(input: Input<'a>, bytes_max: usize) -> Self {
        Self { window: Window::new(input, bytes_max), number: 0, given: 0 }
    }

    /// The next line; None at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Line<'_>>, Halt> {
        self.window.consume(std::mem::take(&mut self.given));
        let mut searched = 0;
        let mut too_long = false;
        loop {
            let bytes = self.window.bytes();
            let found = memchr::memchr(b'\n', &bytes[searched..]).map(|at| searched + at);
            if found.is_none() && !self.window.ended {
                searched = bytes.len();
                if self.window.is_full() {
                    too_long = true;
                    self.window.consume(searched);
                    searched = 0;
                }
                self.window.fill()?;
                continue;
            }
            let length = found.unwrap_or(bytes.len());
            if found.is_none() && length == 0 && !too_long {
                return Ok(None);
            }
            self.number += 1;
            self.given = found.map_or(length, |at| at + 1);
            if too_long || length > self.window.bytes_max {
                return Ok(Some(Line::TooLong));
            }
            let line = &self.window.bytes()[..length];
            return Ok(Some(Line::Whole(line.strip_suffix(b"\r").unwrap_or(line))));
        }
    }
}

pub(crate) fn too_long(bytes_max: usize) -> Damage {
    let limit = base::units::bytes(bytes_max as u64);
    Damage::new(Reason::TooLarge, format!("it is longer than {limit} for one record"))
}
