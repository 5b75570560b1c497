//! `y = x·Wᵀ + b` and its gradients, through the kernels' matrix product.

use kernels::gemm::{Compute, Data, DataMut, Epilogue, Matrix, MatrixMut, gemm};
use kernels::rows::add_columns;

use crate::tensors::Tensors;

/// A projection with its place among the parameters.
pub(crate) struct Linear<'a> {
    pub(crate) weight_oi: &'a [f32],
    /// The first and the last tensor of the weight.
    pub(crate) weight_names: [String; 2],
    pub(crate) bias_o: Option<&'a [f32]>,
    pub(crate) bias_names: Option<[String; 2]>,
    pub(crate) into: usize,
    pub(crate) out: usize,
    pub(crate) compute: Compute,
}

impl<'a> Linear<'a> {
    fn weight(&self) -> Matrix<'a> {
        Matrix::new(self.weight_oi, self.out, self.into)
    }

    /// `y[n, out]` from `x[n, in]`; the epilogue's bias is this projection's.
    pub(crate) fn forward(&self, y_no: DataMut<'_>, x_ni: Data<'_>, epilogue: Epilogue<'_>) {
        let rows = x_ni.len() / self.into;
        let epilogue = Epilogue { bias: self.bias_o, ..epilogue };
        let y = MatrixMut::new(y_no, rows, self.out);
        gemm(self.compute, y, Matrix::new(x_ni, rows, self.into), self.weight().transposed(), epilogue);
    }

    /// Adds the gradients of weight and bias.
    pub(crate) fn backward_weight(&self, dy_no: Data<'_>, x_ni: Data<'_>, gradients: &mut Tensors) {
        let rows = x_ni.len() / self.into;
        let [first, last] = &self.weight_names;
        let to = MatrixMut::new(gradients.span_mut(first, last), self.out, self.into);
        let dy = Matrix::new(dy_no, rows, self.out).transposed();
        let epilogue = Epilogue { accumulate: true, ..Epilogue::default() };
        gemm(self.compute, to, dy, Matrix::new(x_ni, rows, self.into), epilogue);
        if let Some([first, last]) = &self.bias_names {
            let sums = gradients.span_mut(first, last);
            match dy_no {
                Data::F32(dy_no) => add_columns(sums, dy_no),
                Data::Bf16(dy_no) => add_columns(sums, dy_no),
            }
        }
    }

    /// The gradient by the input, plus `residual` where there is one.
    pub(crate) fn backward_input(&self, dx_ni: DataMut<'_>, dy_no: Data<'_>, residual: Option<&[f32]>) {
        self.backward_through(dx_ni, dy_no, Epilogue { residual: residual.map(Data::F32), ..Epilogue::default() });
    }

    /// The gradient by the input, with an epilogue.
    pub(crate) fn backward_through(&self, dx_ni: DataMut<'_>, dy_no: Data<'_>, epilogue: Epilogue<'_>) {
        let rows = dy_no.len() / self.out;
        let dx = MatrixMut::new(dx_ni, rows, self.into);
        gemm(self.compute, dx, Matrix::new(dy_no, rows, self.out), self.weight(), epilogue);
    }
}
