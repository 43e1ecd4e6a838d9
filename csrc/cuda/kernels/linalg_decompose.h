// Orthogonal decompositions for the kernels that are made of them: Householder's reflectors (linalg_ortho.cu), singular values and Hermitian
// eigenvalues by Jacobi's rotations (linalg_jacobi.cu). Tensors are contiguous and in the working type (linalg.h); k = min(m, n).
#pragma once
#include "linalg.h"

namespace mg::cuda {

// a (*, m, n) becomes R above and LAPACK's reflectors H_i = I - tau_i v_i v_i^H below the diagonal; returns tau (*, k).
Tensor reflectors_of(const Tensor& a);
// x becomes Q x or Q^H x (left), x Q or x Q^H, for Q = H_0 H_1 … of the first tau.size(-1) columns of `a`.
void reflect(const Tensor& a, const Tensor& tau, const Tensor& x, bool left, bool adjoint);

constexpr int32_t kNotFinite = -1;  // info of a matrix that holds infinities or NaN; its values and vectors are NaN

// A = U diag(values) Vh: values double (*, k), descending; without vectors U and Vh are undefined. info (*) int32: 1 if it did not converge.
struct SingularValues {
  Tensor u, values, vh, info;
};
SingularValues singular_values(const TensorImpl& a, bool vectors, bool full);

// A = V diag(values) V^H: values double (*, n), ascending; `rows` holds the eigenvectors as rows (V^T). One triangle of A is read.
struct Eigenvalues {
  Tensor values, rows, info;
};
Eigenvalues eigenvalues(const TensorImpl& a, bool upper, bool vectors);

// Results of failed matrices: NaN in all of x (*, …) where info (*) is not 0.
void spoil(const Tensor& x, const Tensor& info);

}  // namespace mg::cuda
