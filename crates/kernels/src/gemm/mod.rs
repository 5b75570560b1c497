//! Products of matrices: `c = epilogue(a · b)`, packed and blocked as Goto & van de Geijn (2008) do.
//!
//! [`gemm`] takes any strides, so the three products of a linear layer's training (`x·Wᵀ`, `dy·W`, `xᵀ·dy`)
//! are one function and [`Matrix::transposed`]. Elements are `f32` or [`Bf16`] in each of the matrices;
//! [`Compute`] says in which the products are taken. Sums are always `f32`.
//!
//! What a result promises: for one instruction set and one shape, the same bits for any number of threads.
//! Between instruction sets the bits differ: bf16 instructions take two products at a time and treat
//! subnormal numbers as zero, the others do neither. Infinities and what is not a number go through as in
//! any sum of products.
//!
//! `panel` describes the packed layout and the tiles, for kernels that want the parts.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod batch;
mod drive;
mod finish;
mod int8;
mod packed;
pub(crate) mod panel;
mod portable;
#[cfg(target_arch = "x86_64")]
mod whole;

pub use batch::gemm_batch;
pub use int8::{Bytes, int8};
pub use packed::{PackedColumns, gemm_packed};

use crate::bf16::Bf16;
use finish::Finish;
use panel::{Engine, Source};

/// In which precision products are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compute {
    /// In `f32`.
    F32,
    /// Inputs are rounded to bf16; their products are summed in `f32`.
    Bf16,
}

/// Elements to read.
#[derive(Debug, Clone, Copy)]
pub enum Data<'a> {
    /// In `f32`.
    F32(&'a [f32]),
    /// In bf16.
    Bf16(&'a [Bf16]),
}

impl Data<'_> {
    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(data) => data.len(),
            Self::Bf16(data) => data.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> From<&'a [f32]> for Data<'a> {
    fn from(data: &'a [f32]) -> Self {
        Self::F32(data)
    }
}

impl<'a> From<&'a [Bf16]> for Data<'a> {
    fn from(data: &'a [Bf16]) -> Self {
        Self::Bf16(data)
    }
}

/// Elements to write.
#[derive(Debug)]
pub enum DataMut<'a> {
    /// In `f32`.
    F32(&'a mut [f32]),
    /// In bf16.
    Bf16(&'a mut [Bf16]),
}

impl DataMut<'_> {
    /// The number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(data) => data.len(),
            Self::Bf16(data) => data.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> From<&'a mut [f32]> for DataMut<'a> {
    fn from(data: &'a mut [f32]) -> Self {
        Self::F32(data)
    }
}

impl<'a> From<&'a mut [Bf16]> for DataMut<'a> {
    fn from(data: &'a mut [Bf16]) -> Self {
        Self::Bf16(data)
    }
}

/// A matrix to read. The element in row `i` and column `j` is `data[i · row_stride + j · column_stride]`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    /// The elements.
    pub data: Data<'a>,
    /// The number of rows.
    pub rows: usize,
    /// The number of columns.
    pub columns: usize,
    /// The distance between rows.
    pub row_stride: usize,
    /// The distance between columns.
    pub column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix whose rows follow each other.
    ///
    /// # Panics
    /// When there are not `rows × columns` elements.
    pub fn new(data: impl Into<Data<'a>>, rows: usize, columns: usize) -> Self {
        let data = data.into();
        assert_eq!(Some(data.len()), rows.checked_mul(columns), "elements of a {rows} × {columns} matrix");
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// A matrix with any distances between its rows and columns, 0 among them.
    ///
    /// # Panics
    /// When the last element lies outside the data.
    pub fn strided(
        data: impl Into<Data<'a>>,
        rows: usize,
        columns: usize,
        row_stride: usize,
        column_stride: usize,
    ) -> Self {
        let data = data.into();
        check_extent(data.len(), rows, columns, row_stride, column_stride);
        Self { data, rows, columns, row_stride, column_stride }
    }

    /// The transposed matrix on the same elements.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// A matrix to write, whose rows are contiguous and lie `row_stride` elements from each other.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    /// The elements.
    pub data: DataMut<'a>,
    /// The number of rows.
    pub rows: usize,
    /// The number of columns.
    pub columns: usize,
    /// The distance between rows.
    pub row_stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// A matrix whose rows follow each other.
    ///
    /// # Panics
    /// When there are not `rows × columns` elements.
    pub fn new(data: impl Into<DataMut<'a>>, rows: usize, columns: usize) -> Self {
        let data = data.into();
        assert_eq!(Some(data.len()), rows.checked_mul(columns), "elements of a {rows} × {columns} matrix");
        Self { data, rows, columns, row_stride: columns }
    }

    /// A matrix with a distance between its rows; the elements between them are left alone.
    ///
    /// # Panics
    /// When the last element lies outside the data, or rows overlap.
    pub fn strided(data: impl Into<DataMut<'a>>, rows: usize, columns: usize, row_stride: usize) -> Self {
        let data = data.into();
        check_extent(data.len(), rows, columns, row_stride, 1);
        assert!(rows < 2 || row_stride >= columns, "rows of {columns} elements overlap at a distance of {row_stride}");
        Self { data, rows, columns, row_stride }
    }
}

/// # Panics
/// When the last element of a matrix lies outside its data.
fn check_extent(length: usize, rows: usize, columns: usize, row_stride: usize, column_stride: usize) {
    let extent = extent(rows, columns, row_stride, column_stride);
    assert!(
        extent.is_some_and(|extent| extent <= length),
        "a {rows} × {columns} matrix with strides {row_stride} and {column_stride} in {length} elements"
    );
}

/// The number of elements from the first to the last one of a matrix.
fn extent(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> Option<usize> {
    if rows == 0 || columns == 0 {
        return Some(0);
    }
    let last_row = (rows - 1).checked_mul(row_stride)?;
    (columns - 1).checked_mul(column_stride)?.checked_add(last_row)?.checked_add(1)
}

/// A function of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// The element itself.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `x · Φ(x)` with the hyperbolic tangent in place of `Φ` (Hendrycks & Gimpel 2016).
    Gelu,
    /// `x · Φ(x)` with the normal distribution's `Φ`, within 1e-5.
    GeluExact,
    /// `x · sigmoid(x)`.
    Silu,
}

/// What happens to each element of a product before it is stored, in the order of the fields:
///
/// `pre = scale · (a·b) + c + bias`, `c = activation(pre) · activation'(derivative) + residual`,
///
/// each part where it is set.
#[derive(Debug)]
pub struct Epilogue<'a> {
    /// A factor of the product; 1 by default.
    pub scale: f32,
    /// Adds what `c` holds already.
    pub accumulate: bool,
    /// Added to each row: one element per column of `c`.
    pub bias: Option<&'a [f32]>,
    /// Stores the value before the activation; contiguous, rows × columns of `c`.
    pub before: Option<DataMut<'a>>,
    /// A function of each element.
    pub activation: Activation,
    /// Multiplies by the derivative of this function at these values; contiguous, rows × columns of `c`. This
    /// is how a gradient goes back through an activation.
    pub derivative: Option<(Activation, Data<'a>)>,
    /// Added last; contiguous, rows × columns of `c`.
    pub residual: Option<Data<'a>>,
}

impl Default for Epilogue<'_> {
    fn default() -> Self {
        Self {
            scale: 1.0,
            accumulate: false,
            bias: None,
            before: None,
            activation: Activation::None,
            derivative: None,
            residual: None,
        }
    }
}

impl Epilogue<'_> {
    /// # Panics
    /// When a part does not fit a `rows × columns` product.
    fn check(&self, rows: usize, columns: usize) {
        let size = rows * columns;
        if let Some(bias) = self.bias {
            assert_eq!(bias.len(), columns, "elements of a bias for {columns} columns");
        }
        for (length, name) in [
            (self.before.as_ref().map(DataMut::len), "values before the activation"),
            (self.derivative.as_ref().map(|(_, at)| at.len()), "places of a derivative"),
            (self.residual.as_ref().map(Data::len), "elements of a residual"),
        ] {
            assert!(length.is_none_or(|length| length == size), "{name} for {rows} × {columns}: {length:?}");
        }
    }
}

/// `c = epilogue(a · b)`; `a` is `rows × inner`, `b` is `inner × columns`, `c` is `rows × columns`. With an
/// inner size of 0 the product is 0.
///
/// # Panics
/// When the shapes do not fit each other, or a part of the epilogue does not fit `c`.
pub fn gemm(compute: Compute, c: MatrixMut<'_>, a: Matrix<'_>, b: Matrix<'_>, epilogue: Epilogue<'_>) {
    check_shapes(&c, &a, &b);
    epilogue.check(c.rows, c.columns);
    let (a, b) = sources(a, b);
    let mut c = c;
    drive::product(Engine::choose(compute), &Finish::new(&mut c, epilogue), a, b);
}

/// # Panics
/// When the shapes of a product do not fit each other.
fn check_shapes(c: &MatrixMut<'_>, a: &Matrix<'_>, b: &Matrix<'_>) {
    assert!(
        a.columns == b.rows && c.rows == a.rows && c.columns == b.columns,
        "a product of {} × {} and {} × {} in {} × {}",
        a.rows,
        a.columns,
        b.rows,
        b.columns,
        c.rows,
        c.columns
    );
    // The fields are public: what the constructors checked may have been changed.
    check_extent(a.data.len(), a.rows, a.columns, a.row_stride, a.column_stride);
    check_extent(b.data.len(), b.rows, b.columns, b.row_stride, b.column_stride);
    check_extent(c.data.len(), c.rows, c.columns, c.row_stride, 1);
    assert!(c.rows < 2 || c.row_stride >= c.columns, "rows of the product overlap");
}

/// The rows of `a` and the columns of `b`, as they are packed.
fn sources<'a>(a: Matrix<'a>, b: Matrix<'a>) -> (Source<'a>, Source<'a>) {
    let source = |data, width, depth, width_stride, depth_stride| Source {
        data,
        offset: 0,
        width,
        depth,
        width_stride,
        depth_stride,
    };
    (
        source(a.data, a.rows, a.columns, a.row_stride, a.column_stride),
        source(b.data, b.columns, b.rows, b.column_stride, b.row_stride),
    )
}
