//! The block formats of GGUF files, byte for byte, and what they mean.
//!
//! A row of a matrix is a row of blocks; each holds a fixed number of neighbours of the row. All numbers are
//! little endian, `d`, `m` and `dmin` are f16. Layouts and formulas are those of ggml (`ggml-common.h`,
//! `ggml-quants.c`, MIT licence); `legacy` and `k` draw them.
//!
//! ```text
//! Q8_0   32 elements    34 bytes   d · q                      q: 8 bits with a sign
//! Q4_0   32 elements    18 bytes   d · (q − 8)                q: 4 bits
//! Q4_1   32 elements    20 bytes   d · q + m                  q: 4 bits
//! Q4_K  256 elements   144 bytes   (d · s) · q − (dmin · n)   q: 4 bits; s, n: 6 bits for 32 elements
//! Q5_K  256 elements   176 bytes   (d · s) · q − (dmin · n)   q: 5 bits; s, n: 6 bits for 32 elements
//! Q6_K  256 elements   210 bytes   (d · s) · (q − 32)         q: 6 bits; s: 8 bits for 16 elements
//! ```

use super::{k, legacy};

/// How a block of weights is written. The names are GGUF's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, reason = "the names that the format's files and papers use")]
pub enum Format {
    /// 8 bits and a scale for 32 elements: 8.5 bits an element.
    Q8_0,
    /// 4 bits and a scale for 32 elements: 4.5 bits an element.
    Q4_0,
    /// 4 bits, a scale and a minimum for 32 elements: 5 bits an element.
    Q4_1,
    /// 4 bits, with 6-bit scales and minimums for 32 elements of 256: 4.5 bits an element.
    Q4_K,
    /// 5 bits, with 6-bit scales and minimums for 32 elements of 256: 5.5 bits an element.
    Q5_K,
    /// 6 bits, with 8-bit scales for 16 elements of 256: 6.5625 bits an element.
    Q6_K,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] = [Self::Q8_0, Self::Q4_0, Self::Q4_1, Self::Q4_K, Self::Q5_K, Self::Q6_K];

    /// The number of elements in a block.
    #[must_use]
    pub const fn block_elements(self) -> usize {
        match self {
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 => 32,
            Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
        }
    }

    /// The number of bytes in a block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
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

    /// Writes the elements of any number of blocks. Bit for bit what ggml and its Python package give.
    ///
    /// # Panics
    /// When `blocks` are not whole blocks, or `to` has another number of elements.
    pub fn dequantise(self, to: &mut [f32], blocks: &[u8]) {
        self.check(to.len(), blocks.len());
        let pairs = to.chunks_exact_mut(self.block_elements()).zip(blocks.chunks_exact(self.block_bytes()));
        for (to, block) in pairs {
            match self {
                Self::Q8_0 => legacy::dequantise_q8_0(to, block),
                Self::Q4_0 => legacy::dequantise_q4_0(to, block),
                Self::Q4_1 => legacy::dequantise_q4_1(to, block),
                Self::Q4_K => k::dequantise_q4_k(to, block),
                Self::Q5_K => k::dequantise_q5_k(to, block),
                Self::Q6_K => k::dequantise_q6_k(to, block),
            }
        }
    }

    /// Rounds elements to blocks, with the formulas of ggml's reference: by the largest element for `Q8_0`,
    /// `Q4_0` and `Q4_1`, by a search of the scale with the least weighted error for the others. Infinities and
    /// what is not a number give blocks without meaning.
    ///
    /// # Panics
    /// When `from` are not whole blocks, or `to` has another number of bytes.
    pub fn quantise(self, to: &mut [u8], from: &[f32]) {
        self.check(from.len(), to.len());
        let pairs = to.chunks_exact_mut(self.block_bytes()).zip(from.chunks_exact(self.block_elements()));
        for (block, from) in pairs {
            match self {
                Self::Q8_0 => legacy::quantise_q8_0(block, from),
                Self::Q4_0 => legacy::quantise_q4_0(block, from),
                Self::Q4_1 => legacy::quantise_q4_1(block, from),
                Self::Q4_K => k::quantise_q4_k(block, from),
                Self::Q5_K => k::quantise_q5_k(block, from),
                Self::Q6_K => k::quantise_q6_k(block, from),
            }
        }
    }

    /// # Panics
    /// When the elements are not whole blocks of these bytes.
    fn check(self, elements: usize, bytes: usize) {
        let blocks = elements / self.block_elements();
        assert_eq!(
            (elements, bytes),
            (blocks * self.block_elements(), blocks * self.block_bytes()),
            "elements and bytes of {self:?}"
        );
    }
}
