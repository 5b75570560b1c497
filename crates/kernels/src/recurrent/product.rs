//! Products of some sequences' states with the same weights at every step: the weights are packed once.

use crate::bf16::Bf16;
use crate::gemm::{Compute, Epilogue, Matrix, MatrixMut, gemm};

/// A right factor `[depth, columns]` that many left ones are multiplied with.
pub(super) struct Product<'a> {
    compute: Compute,
    depth: usize,
    columns: usize,
    /// For [`gemm`], which packs it each time.
    w: Matrix<'a>,
    #[cfg(target_arch = "x86_64")]
    tiles: Option<tiled::Tiles>,
}

impl<'a> Product<'a> {
    /// Of `w`, `[columns, depth]` or with other strides: a matrix of `depth` rows, if transposed.
    pub(super) fn new(compute: Compute, w: Matrix<'a>) -> Self {
        Self {
            compute,
            depth: w.rows,
            columns: w.columns,
            w,
            #[cfg(target_arch = "x86_64")]
            tiles: tiled::Tiles::new(compute, w),
        }
    }

    /// `to_bn = a·w + bias`, or `to_bn += a·w` without a bias, for `count` rows of `a`, which lie `stride` numbers
    /// apart. `halves` is memory that holds anything.
    pub(super) fn take(
        &self,
        to_bn: &mut [f32],
        (a, stride): (&[f32], usize),
        count: usize,
        bias: Option<&[f32]>,
        halves: &mut Vec<Bf16>,
    ) {
        assert!(to_bn.len() == count * self.columns && bias.is_none_or(|bias| bias.len() == self.columns), "a product");
        #[cfg(target_arch = "x86_64")]
        if let Some(tiles) = &self.tiles {
            return tiles.take(to_bn, (a, stride), (count, self.depth, self.columns), bias, halves);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = halves;
        let (to, a) = (MatrixMut::new(to_bn, count, self.columns), Matrix::strided(a, count, self.depth, stride, 1));
        gemm(self.compute, to, a, self.w, Epilogue { accumulate: bias.is_none(), bias, ..Epilogue::default() });
    }
}

#[cfg(target_arch = "x86_64")]
mod tiled {
    //! The same with the tiles of direct convolutions: a sequence is a pixel.

    use crate::bf16::{self, Bf16};
    use crate::convolution::direct::{BLOCK, Units, pack};
    use crate::convolution::tiles::{self, Seen, WIDTH};
    use crate::gemm::{Compute, Data, Matrix};
    use crate::isa::{self, Isa};

    pub(super) struct Tiles {
        units: Units,
        packed: Vec<u32>,
        zeros: Vec<f32>,
    }

    impl Tiles {
        pub(super) fn new(compute: Compute, w: Matrix<'_>) -> Option<Self> {
            let Data::F32(data) = w.data else { return None };
            if !matches!(isa::current(), Isa::Avx512 | Isa::Avx512Bf16) || data.is_empty() {
                return None;
            }
            let units = Units::new(compute, w.rows.is_multiple_of(2));
            let at = |column: usize, k: usize| data[k * w.row_stride + column * w.column_stride];
            let zeros = vec![0.0; w.columns.next_multiple_of(WIDTH)];
            Some(Self { units, packed: pack(units, w.rows, w.columns, &at), zeros })
        }

        pub(super) fn take(
            &self,
            to_bn: &mut [f32],
            (a, stride): (&[f32], usize),
            (count, depth, columns): (usize, usize, usize),
            bias: Option<&[f32]>,
            halves: &mut Vec<Bf16>,
        ) {
            assert!(count == 0 || (count - 1) * stride + depth <= a.len(), "rows of a left factor");
            let (mut step, mut x) = (4 * stride, a.as_ptr().cast::<u8>());
            if self.units == Units::Pairs {
                halves.resize(count * depth, Bf16::default());
                for (to, from) in halves.chunks_exact_mut(depth).zip(a.chunks(stride)) {
                    bf16::narrow(to, &from[..depth]);
                }
                (step, x) = (2 * depth, halves.as_ptr().cast());
            }
            let mut padded = Vec::new();
            if let Some(bias) = bias {
                padded.extend_from_slice(bias);
                padded.resize(self.zeros.len(), 0.0);
            }
            let start = if bias.is_some() { &padded } else { &self.zeros };
            let units = depth / self.units.numbers();
            for first in (0..columns).step_by(BLOCK) {
                let channels = BLOCK.min(columns - first);
                let vectors = channels.div_ceil(WIDTH);
                for (row, rows) in tiles::rows(count, vectors).filter(|(_, rows)| *rows > 0) {
                    let at = Seen {
                        x: x.wrapping_add(row * step),
                        step,
                        runs: &[0],
                        units,
                        w: self.packed[first * units..].as_ptr(),
                        bias: start[first..].as_ptr(),
                        to: to_bn[row * columns + first..].as_mut_ptr(),
                        stride: columns,
                        accumulate: bias.is_none(),
                        relu: false,
                        rectified: std::ptr::null(),
                        channels,
                    };
                    // SAFETY: `new` and `Units::new` looked at the processor; the rows of both factors and of the
                    // product are as long as they have to be.
                    unsafe {
                        match self.units {
                            Units::Single => tiles::seen_single(rows, vectors, at),
                            Units::Pairs => tiles::seen_pairs(rows, vectors, at),
                        }
                    }
                }
            }
        }
    }
}
