//! What happens to a tile of sums before it is stored: the parts of an [`Epilogue`].

use std::marker::PhantomData;

use super::panel::TILE_MAX;
use super::{Activation, Data, DataMut, Epilogue, MatrixMut};
use crate::LANES;
use crate::activation::exp;
use crate::bf16::Bf16;
use crate::isa::Isa;
use crate::pointwise::gelu_exact_derivative;

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

/// A tile of sums, and where it belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// The distance between rows of the sums.
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
        let to = unsafe { self.to.add(distance) };
        Self { to, ..*self }
    }

    /// Stores the values of a tile, and leaves anything in `scratch`.
    ///
    /// # Safety
    /// The tile lies in the product, no other task stores it, and the processor has `isa`.
    pub(super) unsafe fn store(&self, isa: Isa, scratch: &mut Scratch, shape: Shape, earlier: Option<Earlier>) {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2(finish: &Finish<'_>, scratch: &mut Scratch, shape: Shape, earlier: Option<Earlier>) {
            // SAFETY: the caller's promise.
            unsafe { store(finish, scratch, shape, earlier) }
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        unsafe fn avx512(finish: &Finish<'_>, scratch: &mut Scratch, shape: Shape, earlier: Option<Earlier>) {
            // SAFETY: the caller's promise.
            unsafe { store(finish, scratch, shape, earlier) }
        }

        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Avx512Bf16
            && earlier.is_none()
            && let Some(steps) = self.whole(shape)
        {
            // SAFETY: the caller's promise; the parts are as large as the product.
            return unsafe { super::whole::store(&steps, &scratch.values, shape) };
        }
        // SAFETY: the caller's promise.
        unsafe {
            match isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 | Isa::Avx512Bf16 => avx512(self, scratch, shape, earlier),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => avx2(self, scratch, shape, earlier),
                _ => store(self, scratch, shape, earlier),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Finish<'_> {
    /// The steps of a tile of whole vectors, where they are the usual ones of inference.
    fn whole(&self, shape: Shape) -> Option<super::whole::Steps> {
        let residual = match self.residual {
            None => None,
            Some(Data::F32(data)) => Some(data.as_ptr()),
            Some(Data::Bf16(_)) => return None,
        };
        let gelu = match self.activation {
            Activation::None => false,
            Activation::GeluExact => true,
            _ => return None,
        };
        let simple = !self.accumulate && self.before.is_none() && self.derivative.is_none();
        #[expect(clippy::float_cmp, reason = "exactly one")]
        let usual =
            simple && self.scale == 1.0 && shape.columns == super::whole::COLUMNS && shape.stride == shape.columns;
        let (Some(bias), true) = (self.bias, usual) else { return None };
        let begin = shape.first_row * self.row_stride + shape.first_column;
        // Where the tile lies in data that is as large as the product; nothing is read or written here.
        let to = match self.to {
            Place::F32(to) => Place::F32(to.wrapping_add(begin)),
            Place::Bf16(to) => Place::Bf16(to.wrapping_add(begin)),
        };
        let residual = residual.map(|data| data.wrapping_add(shape.first_row * self.columns + shape.first_column));
        let bias = bias.as_ptr().wrapping_add(shape.first_column);
        Some(super::whole::Steps { bias, gelu, residual, columns: self.columns, to, row_stride: self.row_stride })
    }
}

/// Values of a tile, which the steps below pass over as a whole: short loops of a row each would neither
/// become vectors nor overlap. It is made once for many tiles.
pub(super) struct Scratch {
    /// The sums of the tile.
    pub(super) values: [f32; TILE_MAX],
    other: [f32; TILE_MAX],
    narrow: [Bf16; TILE_MAX],
}

impl Default for Scratch {
    fn default() -> Self {
        Self { values: [0.0; TILE_MAX], other: [0.0; TILE_MAX], narrow: [Bf16::default(); TILE_MAX] }
    }
}

/// # Safety
/// As [`Finish::store`].
#[inline(always)]
unsafe fn store(finish: &Finish<'_>, scratch: &mut Scratch, shape: Shape, earlier: Option<Earlier>) {
    let Shape { stride, first_row: row, first_column: column, rows, .. } = shape;
    let contiguous = row * finish.columns + column;
    let Scratch { values, other, narrow } = scratch;
    let mut side = Side { other, narrow };
    // Whole groups of vectors; what lies behind the tile is computed and not used.
    let values = &mut values[..(rows * stride).next_multiple_of(4 * LANES).min(TILE_MAX)];
    for value in values.iter_mut() {
        *value *= finish.scale;
    }
    // SAFETY: the caller's promise; parts are as large as the product.
    unsafe {
        match earlier {
            Some(earlier) if !earlier.first => {
                let at = row * earlier.stride + column;
                side.load(Place::F32(earlier.sums.add(at)), earlier.stride, shape);
                add(values, side.other);
            }
            _ if finish.accumulate => {
                side.load(finish.to.add(row * finish.row_stride + column), finish.row_stride, shape);
                add(values, side.other);
            }
            _ => {}
        }
        if let Some(earlier) = earlier
            && !earlier.last
        {
            let at = row * earlier.stride + column;
            side.write(Place::F32(earlier.sums.add(at)), earlier.stride, values, shape);
            return;
        }
        if let Some(bias) = finish.bias {
            side.load(Place::F32(bias.as_ptr().cast_mut().add(column)), 0, shape);
            add(values, side.other);
        }
        if let Some(before) = finish.before {
            side.write(before.add(contiguous), finish.columns, values, shape);
        }
        activate(finish.activation, values);
        if let Some((activation, at)) = finish.derivative {
            side.load(constant(at).add(contiguous), finish.columns, shape);
            differentiate(activation, values, side.other);
        }
        if let Some(residual) = finish.residual {
            side.load(constant(residual).add(contiguous), finish.columns, shape);
            add(values, side.other);
        }
        side.write(finish.to.add(row * finish.row_stride + column), finish.row_stride, values, shape);
    }
}

/// A place that is only read.
fn constant(data: Data<'_>) -> Place {
    match data {
        Data::F32(data) => Place::F32(data.as_ptr().cast_mut()),
        Data::Bf16(data) => Place::Bf16(data.as_ptr().cast_mut()),
    }
}

impl Place {
    /// The place of a later element.
    ///
    /// # Safety
    /// It lies in the same data.
    #[inline(always)]
    unsafe fn add(self, distance: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            match self {
                Self::F32(to) => Self::F32(to.add(distance)),
                Self::Bf16(to) => Self::Bf16(to.add(distance)),
            }
        }
    }
}

/// The other tiles of a scratch.
struct Side<'a> {
    other: &'a mut [f32; TILE_MAX],
    narrow: &'a mut [Bf16; TILE_MAX],
}

impl Side<'_> {
    /// Loads a tile into `other`; its rows are `distance` elements apart.
    ///
    /// # Safety
    /// The elements can be read.
    #[inline(always)]
    unsafe fn load(&mut self, from: Place, distance: usize, shape: Shape) {
        for row in 0..shape.rows {
            let at = row * shape.stride;
            // SAFETY: the caller's promise; the tile fits.
            unsafe {
                match from {
                    Place::F32(from) => copy(from.add(row * distance), self.other.as_mut_ptr().add(at), shape.columns),
                    Place::Bf16(from) => {
                        copy(from.add(row * distance), self.narrow.as_mut_ptr().add(at), shape.columns);
                    }
                }
            }
        }
        if let Place::Bf16(_) = from {
            for (wide, narrow) in self.other.iter_mut().zip(self.narrow.iter()) {
                *wide = narrow.to_f32();
            }
        }
    }

    /// Writes a tile; the rows of what is written are `distance` elements apart.
    ///
    /// # Safety
    /// The elements can be written.
    #[inline(always)]
    unsafe fn write(&mut self, to: Place, distance: usize, values: &[f32], shape: Shape) {
        if let Place::Bf16(_) = to {
            for (narrow, value) in self.narrow.iter_mut().zip(values) {
                *narrow = Bf16::from_f32(*value);
            }
        }
        for row in 0..shape.rows {
            let at = row * shape.stride;
            // SAFETY: the caller's promise; the tile fits.
            unsafe {
                match to {
                    Place::F32(to) => copy(values.as_ptr().add(at), to.add(row * distance), shape.columns),
                    Place::Bf16(to) => copy(self.narrow.as_ptr().add(at), to.add(row * distance), shape.columns),
                }
            }
        }
    }
}

/// Copies elements of a row. The usual counts are constants, which are copied without a call.
///
/// # Safety
/// `count` elements can be read and written.
#[inline(always)]
unsafe fn copy<T>(from: *const T, to: *mut T, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        match count {
            32 => std::ptr::copy_nonoverlapping(from, to, 32),
            16 => std::ptr::copy_nonoverlapping(from, to, 16),
            _ => std::ptr::copy_nonoverlapping(from, to, count),
        }
    }
}

#[inline(always)]
fn add(values: &mut [f32], other: &[f32]) {
    for (value, other) in values.iter_mut().zip(other) {
        *value += other;
    }
}

// Loops, and not `for_each`, whose closures may be left as calls and lose the instruction set.

#[inline(always)]
fn activate(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::None => {}
        Activation::Relu => {
            for x in values.iter_mut() {
                *x = if *x < 0.0 { 0.0 } else { *x };
            }
        }
        Activation::Gelu => {
            for x in values.iter_mut() {
                *x /= 1.0 + exp(-gelu_argument(*x));
            }
        }
        Activation::GeluExact => {
            for x in values.iter_mut() {
                *x = gelu(*x);
            }
        }
        Activation::Silu => {
            for x in values.iter_mut() {
                *x /= 1.0 + exp(-*x);
            }
        }
    }
}

/// Multiplies by the derivative of an activation at `at`.
#[inline(always)]
fn differentiate(activation: Activation, values: &mut [f32], at: &[f32]) {
    match activation {
        Activation::None => {}
        Activation::Relu => {
            for (value, x) in values.iter_mut().zip(at) {
                *value *= if *x <= 0.0 { 0.0 } else { 1.0 };
            }
        }
        Activation::Gelu => {
            for (value, x) in values.iter_mut().zip(at) {
                let x = limit(*x);
                let sigmoid = 1.0 / (1.0 + exp(-gelu_argument(x)));
                let slope = 2.0 * FACTOR * (1.0 + 3.0 * CUBE * x * x);
                *value *= sigmoid + x * slope * sigmoid * (1.0 - sigmoid);
            }
        }
        Activation::GeluExact => {
            for (value, x) in values.iter_mut().zip(at) {
                *value *= gelu_exact_derivative(*x);
            }
        }
        Activation::Silu => {
            for (value, x) in values.iter_mut().zip(at) {
                let x = limit(*x);
                let sigmoid = 1.0 / (1.0 + exp(-x));
                *value *= sigmoid + x * sigmoid * (1.0 - sigmoid);
            }
        }
    }
}

/// Where `Φ` is 0 or 1 to six digits.
pub(super) const GELU_END: f32 = 4.6;
/// `(Φ(x) − 1/2) / x` by powers of `u = 2·(x/4.6)² − 1`, the highest first.
pub(super) const GELU_FIT: [f32; 11] = [
    0.000_878_623_8,
    -0.002_700_946,
    0.003_974_261_7,
    -0.006_271_149,
    0.011_968_75,
    -0.019_961_903,
    0.029_291_108,
    -0.040_413_22,
    0.054_153_45,
    -0.075_766_996,
    0.153_543_31,
];

/// `x · Φ(x)` within 3e-6 up to ±4.6 and within 1e-5 beyond: `Φ − 1/2` is odd, so it is `x` times a polynomial in `x²`,
/// fitted for the least largest error of the product. Without a division or an exponential it has about a third of the
/// operations of [`crate::pointwise::Pointwise::GeluExact`].
#[inline(always)]
fn gelu(x: f32) -> f32 {
    let u = (x * (2.0 / (GELU_END * GELU_END))).mul_add(x, -1.0);
    let u = if u > 1.0 { 1.0 } else { u };
    let mut polynomial = GELU_FIT[0];
    for coefficient in &GELU_FIT[1..] {
        polynomial = polynomial.mul_add(u, *coefficient);
    }
    let part = x * polynomial;
    let part = if x > GELU_END { 0.5 } else { part };
    let part = if x < -GELU_END { -0.5 } else { part };
    x * (0.5 + part)
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
