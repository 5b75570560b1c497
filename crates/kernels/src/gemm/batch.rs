//! Many products of one shape.

use super::finish::Finish;
use super::panel::Engine;
use super::{Activation, Epilogue, Matrix, MatrixMut, check_shapes, drive, extent, sources};
use crate::parallel;

/// Products of elements from which on one product keeps all threads busy.
const LARGE: usize = 1 << 24;

/// `batch` products of one shape, `c[n] = scale · a[n] · b[n]` (`+ c[n]`), whose matrices begin `c_stride`,
/// `a_stride` and `b_stride` elements after each other in their data. A stride of 0 for `a` or `b` is one
/// matrix for all.
///
/// # Panics
/// When the shapes do not fit each other, a matrix lies outside its data, matrices of `c` overlap, or the
/// epilogue has other parts than `scale` and `accumulate`.
#[expect(clippy::too_many_arguments, reason = "three matrices and three distances")]
pub fn gemm_batch(
    compute: super::Compute,
    batch: usize,
    c: MatrixMut<'_>,
    c_stride: usize,
    a: Matrix<'_>,
    a_stride: usize,
    b: Matrix<'_>,
    b_stride: usize,
    epilogue: Epilogue<'_>,
) {
    let plain = epilogue.bias.is_none()
        && epilogue.before.is_none()
        && epilogue.activation == Activation::None
        && epilogue.derivative.is_none()
        && epilogue.residual.is_none();
    assert!(plain, "a batch of products has an epilogue of scale and accumulate alone");
    check_shapes(&c, &a, &b);
    if batch == 0 || c.rows == 0 || c.columns == 0 {
        return;
    }
    let size = extent(c.rows, c.columns, c.row_stride, 1);
    let apart = size.is_some_and(|size| batch < 2 || c_stride >= size);
    assert!(apart, "matrices of the product overlap at a distance of {c_stride}");
    check_batch(c.data.len(), size, batch, c_stride);
    check_batch(a.data.len(), extent(a.rows, a.columns, a.row_stride, a.column_stride), batch, a_stride);
    check_batch(b.data.len(), extent(b.rows, b.columns, b.row_stride, b.column_stride), batch, b_stride);
    let engine = Engine::choose(compute);
    let work = a.rows.saturating_mul(a.columns).saturating_mul(b.columns);
    let (a, b) = sources(a, b);
    let mut c = c;
    let finish = Finish::new(&mut c, epilogue);
    let one = |index: usize| {
        // SAFETY: the matrix lies in the data and overlaps no other.
        let finish = unsafe { finish.shifted(index * c_stride) };
        drive::product(engine, &finish, a.moved(index * a_stride), b.moved(index * b_stride));
    };
    // Few large products use the threads one after the other, many small ones at the same time.
    if work >= LARGE && batch < 64 { (0..batch).for_each(one) } else { parallel::run(batch, one) }
}

/// # Panics
/// When the last matrix lies outside the data.
fn check_batch(length: usize, size: Option<usize>, batch: usize, stride: usize) {
    let last = (batch - 1).checked_mul(stride);
    let end = last.zip(size).and_then(|(last, size)| if size == 0 { Some(0) } else { last.checked_add(size) });
    assert!(end.is_some_and(|end| end <= length), "{batch} matrices {stride} apart in {length} elements");
}
