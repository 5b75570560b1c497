//! Matrices of weights, packed for products: 16 rows interleaved, at the size that the file has.
//!
//! A *group* is 16 rows, and a vector of 16 lanes holds one word (32 bits) of each of them: a lane is a row.
//! So a product adds up columns in every lane for itself, and one broadcast word of the activations meets
//! 16 rows. Groups follow each other; the last one is filled up with rows of zeros.
//!
//! Blocks are cut into words as they stand in the file, and word `w` of the 16 rows becomes a line:
//!
//! ```text
//! Q4_1   5 lines a block     d and m | q 4
//! Q4_K  36 lines a block     d and dmin | scales 3 | q 32
//! Q5_K  44 lines a block     d and dmin | scales 3 | h 8 | q 32
//! ```
//!
//! The other formats have one f16 and whole words. The f16 of two blocks share a line before them:
//!
//! ```text
//! Q8_0  d of block 0, d of block 1 | q 8 | q 8 | d of block 2, ...
//! Q4_0  d of block 0, d of block 1 | q 4 | q 4 | ...
//! Q6_K  d of block 0, d of block 1 | q 32, h 16, scales 4, in the order of `Layout::place` | the same | ...
//! ```
//!
//! Numbers that are no blocks:
//!
//! ```text
//! F32   a line a column
//! F16   a line for two columns: 16 numbers of the even one, 16 of the odd one
//! Bf16  a line for two columns: a word has the even one in its lower half
//! ```
//!
//! Nothing takes more bits than in the file, except for padding: rows to a multiple of 16, and half a line
//! where the number of blocks is odd.

use super::Format;
use super::lines::{LINE, Line, Lines};
use crate::bf16::Bf16;
use crate::f16::F16;
use crate::parallel;

/// Rows of a group.
pub(super) const GROUP: usize = 16;

/// How the numbers of a matrix are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// In blocks.
    Blocks(Format),
    /// In `f32`.
    F32,
    /// In f16.
    F16,
    /// In bf16.
    Bf16,
}

impl Encoding {
    /// The number of neighbours of a row that are written together.
    #[must_use]
    pub const fn block_elements(self) -> usize {
        match self {
            Self::Blocks(format) => format.block_elements(),
            Self::F32 | Self::F16 | Self::Bf16 => 1,
        }
    }

    /// The number of bytes of [`Encoding::block_elements`] neighbours.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Blocks(format) => format.block_bytes(),
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The number of bytes in a row of `columns` elements.
    ///
    /// # Panics
    /// When the columns are not whole blocks.
    #[must_use]
    pub const fn row_bytes(self, columns: usize) -> usize {
        assert!(columns.is_multiple_of(self.block_elements()), "columns that are not whole blocks");
        columns / self.block_elements() * self.block_bytes()
    }

    /// Writes the elements of any number of blocks.
    ///
    /// # Panics
    /// When `bytes` are not whole blocks, or `to` has another number of elements.
    pub fn dequantise(self, to: &mut [f32], bytes: &[u8]) {
        if let Self::Blocks(format) = self {
            return format.dequantise(to, bytes);
        }
        assert_eq!(bytes.len(), to.len() * self.block_bytes(), "bytes of {} elements", to.len());
        for (to, bytes) in to.iter_mut().zip(bytes.chunks_exact(self.block_bytes())) {
            *to = match self {
                Self::F32 => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
                Self::F16 => F16(u16::from_le_bytes([bytes[0], bytes[1]])).to_f32(),
                _ => Bf16(u16::from_le_bytes([bytes[0], bytes[1]])).to_f32(),
            };
        }
    }
}

/// Where the words of a block lie in a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Words of a row's block: lines of a group's block.
    pub(super) words: usize,
    /// The byte of a block at which its words begin.
    pub(super) first: usize,
    /// The byte of a block at which its lone f16 lies, if it has one.
    pub(super) half: Option<usize>,
}

impl Layout {
    pub(super) const fn of(format: Format) -> Self {
        let (words, first, half) = match format {
            Format::Q8_0 => (8, 2, Some(0)),
            Format::Q4_0 => (4, 2, Some(0)),
            Format::Q4_1 => (5, 0, None),
            Format::Q4_K => (36, 0, None),
            Format::Q5_K => (44, 0, None),
            Format::Q6_K => (52, 0, Some(208)),
        };
        Self { words, first, half }
    }

    /// Lines of a group with so many blocks in a row.
    pub(super) const fn lines(self, blocks: usize) -> usize {
        match self.half {
            Some(_) => blocks * self.words + blocks.div_ceil(2),
            None => blocks * self.words,
        }
    }

    /// The first line of a block's words.
    pub(super) const fn block(self, block: usize) -> usize {
        match self.half {
            Some(_) => block * self.words + block / 2 + 1,
            None => block * self.words,
        }
    }

    /// Where a word of a block lies among the block's lines: those of `Q6_K` in the order in which products read them,
    /// because the processor fetches ahead what is read upwards, and nothing else.
    pub(super) const fn place(self, word: usize) -> usize {
        if self.words != Q6_WORDS {
            return word;
        }
        match word {
            0..32 => q6_part(word / 16) + 2 + 3 * (word % 8) + word / 8 % 2,
            32..48 => q6_part((word - 32) / 8) + 4 + 3 * (word % 8),
            _ => q6_part((word - 48) / 2) + word % 2,
        }
    }

    /// The line that holds a block's lone f16, in its lower half for even blocks.
    pub(super) const fn halves(self, block: usize) -> usize {
        block / 2 * (2 * self.words + 1)
    }
}

/// Words of a block of `Q6_K`.
const Q6_WORDS: usize = 52;

/// The first line of a part (128 columns) of a block of `Q6_K`: two of scales, and then for each of eight words one of the
/// first 32 columns and the third, one of the second and the fourth, and one with the upper bits of all of them.
pub(super) const fn q6_part(part: usize) -> usize {
    part * Q6_WORDS / 2
}

/// A matrix of weights, `rows × columns`, packed for [`super::multiply`].
#[derive(Debug)]
pub struct PackedMatrix {
    encoding: Encoding,
    rows: usize,
    columns: usize,
    /// Lines of a group.
    stride: usize,
    lines: Lines,
}

impl PackedMatrix {
    /// Packs a matrix whose rows follow each other in `bytes`, as a GGUF file holds them.
    ///
    /// # Panics
    /// When the columns are not whole blocks, or the bytes are not `rows` rows of them.
    #[must_use]
    pub fn pack(encoding: Encoding, rows: usize, columns: usize, bytes: &[u8]) -> Self {
        let row_bytes = encoding.row_bytes(columns);
        assert_eq!(Some(bytes.len()), rows.checked_mul(row_bytes), "bytes of {rows} × {columns} {encoding:?}");
        let blocks = columns / encoding.block_elements();
        let stride = match encoding {
            Encoding::Blocks(format) => Layout::of(format).lines(blocks),
            Encoding::F32 => columns,
            Encoding::F16 | Encoding::Bf16 => columns.div_ceil(2),
        };
        let groups = rows.div_ceil(GROUP);
        let mut lines = Lines::zeroed(groups * stride);
        parallel::chunks(lines.as_mut_slice(), stride, |group, lines| {
            let begin = group * GROUP;
            for lane in 0..GROUP.min(rows - begin) {
                let row = &bytes[(begin + lane) * row_bytes..][..row_bytes];
                match encoding {
                    Encoding::Blocks(format) => pack_blocks(lines, lane, row, format),
                    Encoding::F16 => pack_halves(lines, lane, row),
                    Encoding::F32 | Encoding::Bf16 => pack_words(lines, lane, row),
                }
            }
        });
        Self { encoding, rows, columns, stride, lines }
    }

    /// How the numbers are written.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The number of rows: elements of a product.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns: elements of what it is multiplied with.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The number of bytes that a product reads.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lines.as_slice().len() * LINE
    }

    /// Writes the elements of a row: the same bits that [`Format::dequantise`] gives.
    ///
    /// # Panics
    /// When there is no such row, or `to` has not a row's number of elements.
    pub fn dequantise_row(&self, row: usize, to: &mut [f32]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert_eq!(to.len(), self.columns, "elements of a row");
        let (lines, lane) = (self.group(row / GROUP), row % GROUP);
        let word = |line: usize| lines[line].0[lane];
        let half = |line: usize, upper: usize| {
            let word = lines[line].0[upper * 8 + lane / 2];
            (word >> (lane % 2 * 16)) as u16
        };
        match self.encoding {
            Encoding::Blocks(format) => {
                let layout = Layout::of(format);
                let mut bytes = [0_u8; 256];
                for (block, to) in to.chunks_exact_mut(format.block_elements()).enumerate() {
                    for index in 0..layout.words {
                        let word = word(layout.block(block) + layout.place(index));
                        bytes[layout.first + 4 * index..][..4].copy_from_slice(&word.to_le_bytes());
                    }
                    if let Some(at) = layout.half {
                        let half = half(layout.halves(block), block % 2);
                        bytes[at..at + 2].copy_from_slice(&half.to_le_bytes());
                    }
                    format.dequantise(to, &bytes[..format.block_bytes()]);
                }
            }
            Encoding::F32 => to.iter_mut().enumerate().for_each(|(column, to)| *to = f32::from_bits(word(column))),
            Encoding::F16 => {
                let element = |column: usize| F16(half(column / 2, column % 2)).to_f32();
                to.iter_mut().enumerate().for_each(|(column, to)| *to = element(column));
            }
            Encoding::Bf16 => {
                let element = |column: usize| Bf16((word(column / 2) >> (column % 2 * 16)) as u16).to_f32();
                to.iter_mut().enumerate().for_each(|(column, to)| *to = element(column));
            }
        }
    }

    /// The number of groups.
    pub(super) fn groups(&self) -> usize {
        self.rows.div_ceil(GROUP)
    }

    /// The bytes of a group.
    pub(super) fn group_bytes(&self) -> usize {
        self.stride * LINE
    }

    /// The lines of a group.
    pub(super) fn group(&self, group: usize) -> &[Line] {
        &self.lines.as_slice()[group * self.stride..][..self.stride]
    }
}

/// Writes a row's blocks into its lane of a group.
fn pack_blocks(lines: &mut [Line], lane: usize, row: &[u8], format: Format) {
    let layout = Layout::of(format);
    for (index, block) in row.chunks_exact(format.block_bytes()).enumerate() {
        let words = block[layout.first..].as_chunks::<4>().0.iter().take(layout.words);
        let lines_of_block = &mut lines[layout.block(index)..][..layout.words];
        for (place, word) in words.enumerate() {
            lines_of_block[layout.place(place)].0[lane] = u32::from_le_bytes(*word);
        }
        if let Some(at) = layout.half {
            set_half(&mut lines[layout.halves(index)], index % 2, lane, [block[at], block[at + 1]]);
        }
    }
}

fn pack_halves(lines: &mut [Line], lane: usize, row: &[u8]) {
    for (column, bytes) in row.as_chunks::<2>().0.iter().enumerate() {
        set_half(&mut lines[column / 2], column % 2, lane, *bytes);
    }
}

/// Writes whole words, the last of which may be half.
fn pack_words(lines: &mut [Line], lane: usize, row: &[u8]) {
    let (words, rest) = row.as_chunks::<4>();
    for (line, word) in lines.iter_mut().zip(words) {
        line.0[lane] = u32::from_le_bytes(*word);
    }
    if let [low, high] = rest {
        lines[words.len()].0[lane] = u32::from_le_bytes([*low, *high, 0, 0]);
    }
}

/// Writes one of the 16 f16 of the lower or the upper half of a line.
fn set_half(line: &mut Line, upper: usize, lane: usize, bytes: [u8; 2]) {
    let shift = lane % 2 * 16;
    let word = &mut line.0[upper * 8 + lane / 2];
    *word = *word & !(0xffff << shift) | u32::from(u16::from_le_bytes(bytes)) << shift;
}
