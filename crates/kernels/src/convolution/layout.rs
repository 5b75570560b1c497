//! Channels first and channels last: the one transposition between them, for images and for weights.

use crate::parallel;

/// Pixels and channels of a square that is transposed at once.
const SQUARE: usize = 16;

/// `[outer, channels, pixels]` to `[outer, pixels, channels]`: NCHW to NHWC with the images outside, OIHW to OHWI
/// with the output channels outside.
///
/// # Panics
/// When the slices differ in length, or are not whole matrices of `channels × pixels`.
pub fn to_channels_last(to: &mut [f32], from: &[f32], channels: usize, pixels: usize) {
    transpose(to, from, channels, pixels);
}

/// `[outer, pixels, channels]` to `[outer, channels, pixels]`: the way back of [`to_channels_last`].
///
/// # Panics
/// When the slices differ in length, or are not whole matrices of `channels × pixels`.
pub fn to_channels_first(to: &mut [f32], from: &[f32], channels: usize, pixels: usize) {
    transpose(to, from, pixels, channels);
}

/// Transposes matrices of `rows × columns`.
fn transpose(to: &mut [f32], from: &[f32], rows: usize, columns: usize) {
    let size = rows * columns;
    assert!(to.len() == from.len() && to.len().is_multiple_of(size.max(1)), "matrices of {rows} × {columns}");
    if rows == 1 || columns == 1 {
        return to.copy_from_slice(from);
    }
    parallel::chunks(to, size, |matrix, to| {
        let from = &from[matrix * size..][..size];
        for row in (0..rows).step_by(SQUARE) {
            for column in (0..columns).step_by(SQUARE) {
                for i in row..(row + SQUARE).min(rows) {
                    for j in column..(column + SQUARE).min(columns) {
                        to[j * rows + i] = from[i * columns + j];
                    }
                }
            }
        }
    });
}
