//! What happens to a tile of sums before it is stored: the parts of an [`Epilogue`].

use std::marker::PhantomData;

use super::{Activation, Data, DataMut, Epilogue, MatrixMut};
use crate::LANES;
use crate::activation::exp;
use crate::bf16::Bf16;
use crate::isa::Isa;

/// Where elements are written by several tasks, each its own ones.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    F32(*mut f32),
    Bf16(*mut Bf16),
}

/// Where and how the elements of a product are stored.
#[derive(Debug)]
pub(super) struct Finish<'a> {
    pub(super) to: Place,
    pub(super) columns: usize,
    pub(super) row_stride: usize,
    scale: f32,
    pub(super) accumulate: bool,
    bias: Option<&'a [f32]>,
    before: Option<Place>,
    activation: Activation,
    derivative: Option<(Activation, Data<'a>)>,
    residual: Option<Data<'a>>,
    borrowed: PhantomData<&'a mut f32>,
}

// SAFETY: tasks write elements of different places, and only read the rest.
unsafe impl Send for Finish<'_> {}
// SAFETY: as above.
unsafe impl Sync for Finish<'_> {}

/// The sums of a tile, and where they belong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sums<'a> {
    pub(super) sums: &'a [f32],
    /// The distance between rows of `sums`.
    pub(super) stride: usize,
    pub(super) first_row: usize,
    pub(super) first_column: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

/// Sums of the parts of the inner dimension before this one: `rows × columns` of the product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Earlier {
    pub(super) sums: *mut f32,
    pub(super) stride: usize,
    /// Nothing was stored there yet.
    pub(super) first: bool,
    /// The epilogue follows, and nothing is stored there any more.
    pub(super) last: bool,
}

// SAFETY: tasks write elements of different places.
unsafe impl Send for Earlier {}
// SAFETY: as above.
unsafe impl Sync for Earlier {}

fn place(data: &mut DataMut<'_>) -> Place {
    match data {
        DataMut::F32(data) => Place::F32(data.as_mut_ptr()),
        DataMut::Bf16(data) => Place::Bf16(data.as_mut_ptr()),
    }
}

impl<'a> Finish<'a> {
    /// Shapes have been checked.
    pub(super) fn new(c: &'a mut MatrixMut<'_>, epilogue: Epilogue<'a>) -> Self {
        let Epilogue { scale, accumulate, bias, before, activation, derivative, residual } = epilogue;
        Self {
            to: place(&mut c.data),
            columns: c.columns,
            row_stride: c.row_stride,
            scale,
            accumulate,
            bias,
            before: before.map(|mut before| place(&mut before)),
            activation,
            derivative,
            residual,
            borrowed: PhantomData,
        }
    }

    /// The product's place, when sums can be stored or added to it as they are.
    pub(super) fn plain(&self) -> Option<*mut f32> {
        let parts = self.bias.is_some()
            || self.before.is_some()
            || self.activation != Activation::None
            || self.derivative.is_some()
            || self.residual.is_some();
        match self.to {
            #[expect(clippy::float_cmp, reason = "exactly one")]
            Place::F32(to) if !parts && self.scale == 1.0 => Some(to),
            _ => None,
        }
    }

    /// The same for a product that begins `distance` elements later. Parts that are laid out like the product
    /// stay where they are.
    ///
    /// # Safety
    /// The product lies in the data.
    pub(super) unsafe fn shifted(&self, distance: usize) -> Self {
        // SAFETY: the caller's promise.
        let to = unsafe {
            match self.to {
                Place::F32(to) => Place::F32(to.add(distance)),
                Place::Bf16(to) => Place::Bf16(to.add(distance)),
            }
        };
        Self { to, ..*self }
    }

    /// Stores a tile.
    ///
    /// # Safety
    /// The tile lies in the product, no other task stores it, and the processor has `isa`.
    pub(super) unsafe fn store(&self, isa: Isa, sums: Sums<'_>, earlier: Option<Earlier>) {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2(finish: &Finish<'_>, sums: Sums<'_>, earlier: Option<Earlier>) {
            // SAFETY: the caller's promise.
            unsafe { store(finish, sums, earlier) }
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        unsafe fn avx512(finish: &Finish<'_>, sums: Sums<'_>, earlier: Option<Earlier>) {
            // SAFETY: the caller's promise.
            unsafe { store(finish, sums, earlier) }
        }

        // SAFETY: the caller's promise.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 | Isa::Avx512Bf16 => avx512(self, sums, earlier),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => avx2(self, sums, earlier),
                _ => store(self, sums, earlier),
            }
        }
    }
}

/// A vector of elements.
type Block = [f32; LANES];

/// # Safety
/// As [`Finish::store`].
#[inline(always)]
unsafe fn store(finish: &Finish<'_>, sums: Sums<'_>, earlier: Option<Earlier>) {
    for r in 0..sums.rows {
        let row = sums.first_row + r;
        for j in (0..sums.columns).step_by(LANES) {
            let count = (sums.columns - j).min(LANES);
            let column = sums.first_column + j;
            let from = &sums.sums[r * sums.stride + j..][..count];
            // SAFETY: the caller's promise; `count` elements of the row are left. A constant count makes for
            // code without branches.
            unsafe {
                if count == LANES {
                    block(finish, from, row, column, LANES, earlier);
                } else {
                    block(finish, from, row, column, count, earlier);
                }
            }
        }
    }
}

/// Stores `count` elements of a row from `column` on.
///
/// # Safety
/// As [`Finish::store`].
#[inline(always)]
unsafe fn block(finish: &Finish<'_>, sums: &[f32], row: usize, column: usize, count: usize, earlier: Option<Earlier>) {
    let (at, contiguous) = (row * finish.row_stride + column, row * finish.columns + column);
    let mut values = [0.0; LANES];
    for (value, sum) in values.iter_mut().zip(sums) {
        *value = finish.scale * sum;
    }
    // SAFETY: the caller's promise.
    unsafe {
        match earlier {
            Some(earlier) if !earlier.first => {
                add(&mut values, &load_f32(earlier.sums.add(row * earlier.stride + column), count));
            }
            _ if finish.accumulate => add(&mut values, &load(finish.to, at, count)),
            _ => {}
        }
        if let Some(earlier) = earlier
            && !earlier.last
        {
            write(Place::F32(earlier.sums), row * earlier.stride + column, &values, count);
            return;
        }
        if let Some(bias) = finish.bias {
            add(&mut values, &load_f32(bias[column..][..count].as_ptr(), count));
        }
        if let Some(before) = finish.before {
            write(before, contiguous, &values, count);
        }
        activate(finish.activation, &mut values);
        if let Some((activation, data)) = finish.derivative {
            differentiate(activation, &mut values, &load_data(data, contiguous, count));
        }
        if let Some(residual) = finish.residual {
            add(&mut values, &load_data(residual, contiguous, count));
        }
        write(finish.to, at, &values, count);
    }
}

#[inline(always)]
fn add(values: &mut Block, other: &Block) {
    for (value, other) in values.iter_mut().zip(other) {
        *value += other;
    }
}

#[inline(always)]
unsafe fn load_f32(from: *const f32, count: usize) -> Block {
    let mut block = [0.0; LANES];
    // SAFETY: the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(from, block.as_mut_ptr(), count) };
    block
}

#[inline(always)]
unsafe fn load_bf16(from: *const Bf16, count: usize) -> Block {
    let (mut narrow, mut block) = ([Bf16::default(); LANES], [0.0; LANES]);
    // SAFETY: the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(from, narrow.as_mut_ptr(), count) };
    for (wide, narrow) in block.iter_mut().zip(&narrow) {
        *wide = narrow.to_f32();
    }
    block
}

#[inline(always)]
unsafe fn load(from: Place, at: usize, count: usize) -> Block {
    // SAFETY: the caller's promise.
    unsafe {
        match from {
            Place::F32(from) => load_f32(from.add(at), count),
            Place::Bf16(from) => load_bf16(from.add(at), count),
        }
    }
}

#[inline(always)]
fn load_data(from: Data<'_>, at: usize, count: usize) -> Block {
    // SAFETY: the slices are as long as what is loaded.
    unsafe {
        match from {
            Data::F32(from) => load_f32(from[at..at + count].as_ptr(), count),
            Data::Bf16(from) => load_bf16(from[at..at + count].as_ptr(), count),
        }
    }
}

#[inline(always)]
unsafe fn write(to: Place, at: usize, values: &Block, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match to {
            Place::F32(to) => std::ptr::copy_nonoverlapping(values.as_ptr(), to.add(at), count),
            Place::Bf16(to) => {
                let mut narrow = [Bf16::default(); LANES];
                for (narrow, value) in narrow.iter_mut().zip(values) {
                    *narrow = Bf16::from_f32(*value);
                }
                std::ptr::copy_nonoverlapping(narrow.as_ptr(), to.add(at), count);
            }
        }
    }
}

#[inline(always)]
fn activate(activation: Activation, values: &mut Block) {
    match activation {
        Activation::None => {}
        Activation::Relu => values.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x }),
        Activation::Gelu => values.iter_mut().for_each(|x| *x /= 1.0 + exp(-gelu_argument(*x))),
        Activation::Silu => values.iter_mut().for_each(|x| *x /= 1.0 + exp(-*x)),
    }
}

/// Multiplies by the derivative of an activation at `at`.
#[inline(always)]
fn differentiate(activation: Activation, values: &mut Block, at: &Block) {
    let each = values.iter_mut().zip(at);
    match activation {
        Activation::None => {}
        Activation::Relu => each.for_each(|(value, x)| *value *= if *x <= 0.0 { 0.0 } else { 1.0 }),
        Activation::Gelu => each.for_each(|(value, x)| {
            let x = limit(*x);
            let sigmoid = 1.0 / (1.0 + exp(-gelu_argument(x)));
            let slope = 2.0 * FACTOR * (1.0 + 3.0 * CUBE * x * x);
            *value *= sigmoid + x * slope * sigmoid * (1.0 - sigmoid);
        }),
        Activation::Silu => each.for_each(|(value, x)| {
            let x = limit(*x);
            let sigmoid = 1.0 / (1.0 + exp(-x));
            *value *= sigmoid + x * sigmoid * (1.0 - sigmoid);
        }),
    }
}

/// √(2/π).
const FACTOR: f32 = 0.797_884_6;
/// The weight of the cube in the argument.
const CUBE: f32 = 0.044_715;

/// Twice the argument `u` of the hyperbolic tangent: `(1 + tanh u) / 2 = sigmoid(2u)`.
#[inline(always)]
fn gelu_argument(x: f32) -> f32 {
    2.0 * FACTOR * (x + CUBE * x * x * x)
}

/// Beyond ±100 derivatives are 0 or 1 to the last bit, and products of what is infinite stay away.
#[inline(always)]
fn limit(x: f32) -> f32 {
    let x = if x < -100.0 { -100.0 } else { x };
    if x > 100.0 { 100.0 } else { x }
}
