//! Temporary.
#![allow(missing_docs)]
use kernels::gemm::*;
pub const IGNORED: u32 = u32::MAX;
pub struct Head<'a> { pub table_vw: &'a [f32], pub width: usize, pub compute: Compute }
pub struct HeadGradients<'a> { pub d_hidden_nw: &'a mut [f32], pub d_table_vw: &'a mut [f32], pub scale: f32 }
pub struct Loss { pub sum: f64 }
impl Head<'_> {
    fn run(&self, hidden: &[f32], targets: &[u32], mut into: Option<HeadGradients<'_>>) -> Loss {
        let v = self.table_vw.len() / self.width;
        let rows = 128;
        let mut sum = 0.0;
        let mut logits = vec![0.0; rows * v];
        for (c, (h, t)) in hidden.chunks(rows * self.width).zip(targets.chunks(rows)).enumerate() {
            let n = t.len();
            let table = Matrix::new(self.table_vw, v, self.width);
            gemm(self.compute, MatrixMut::new(&mut logits[..n * v], n, v), Matrix::new(h, n, self.width), table.transposed(), Epilogue::default());
            let scale = into.as_ref().map_or(0.0, |i| i.scale);
            let losses = std::sync::Mutex::new(vec![0.0; n]);
            kernels::parallel::chunks(&mut logits[..n * v], v, |i, row| {
                if t[i] == IGNORED { row.fill(0.0); return; }
                let l = kernels::log_sum_exp(row) - f64::from(row[t[i] as usize]);
                losses.lock().unwrap_or_else(|e| e.into_inner())[i] = l;
                kernels::softmax(row);
                row.iter_mut().for_each(|x| *x *= scale);
                row[t[i] as usize] -= scale;
            });
            sum += losses.into_inner().unwrap_or_else(|e| e.into_inner()).iter().sum::<f64>();
            if let Some(into) = &mut into {
                let g = Matrix::new(&logits[..n * v], n, v);
                let d = &mut into.d_hidden_nw[c * rows * self.width..][..n * self.width];
                gemm(self.compute, MatrixMut::new(d, n, self.width), g, table, Epilogue::default());
                gemm(self.compute, MatrixMut::new(&mut *into.d_table_vw, v, self.width), g.transposed(), Matrix::new(h, n, self.width), Epilogue { accumulate: true, ..Epilogue::default() });
            }
        }
        Loss { sum }
    }
    pub fn forward_backward(&self, hidden: &[f32], targets: &[u32], into: HeadGradients<'_>) -> Loss { self.run(hidden, targets, Some(into)) }
    pub fn loss(&self, hidden: &[f32], targets: &[u32]) -> Loss { self.run(hidden, targets, None) }
}
