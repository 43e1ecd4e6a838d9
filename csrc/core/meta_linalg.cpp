// Shapes and dtypes of the linalg primitives (ops named _linalg_*, declared in minigrad/ops/linalg/*.py). Their user
// errors are raised here; errors that need the values (singular, not positive-definite) come from the returned info, in
// Python.
//
// Legend: A is (*, m, n) or square (*, n, n), k = min(m, n); info is int32 of the batch shape. Kernels:
// ../cpu/linalg_*.cpp.
#include <climits>

#include "layout.h"
#include "meta.h"

namespace mg {

namespace {

// "_linalg_inv" is linalg.inv to the user; "_geqrf" is geqrf.
std::string shown(const Op& op) {
  const std::string name = op.name.substr(op.name.front() == '_');
  return name.starts_with("linalg_") ? "linalg." + name.substr(7) : name;
}

void check_matrix(const Op& op, const TensorImpl& a, int arg) {
  const std::string& name = op.args[size_t(arg)].name;
  MG_CHECK(a.dim() >= 2, Runtime, shown(op), ": ", name, " must have at least 2 dimensions: got shape ", a.sizes,
           ", expected (*, m, n). Try x.unsqueeze(-1).");
  MG_CHECK(is_inexact(a.dtype), Runtime, shown(op), ": expected a floating or complex tensor: got ", name, " of dtype ",
           a.dtype, ". Try x.float().");
  MG_CHECK(itemsize(a.dtype) >= 4, Runtime, shown(op), ": low precision is not supported: got ", name, " of dtype ",
           a.dtype, ". Try x.float().");
  for (int d = a.dim() - 2; d < a.dim(); ++d)
    MG_CHECK(a.sizes[d] < INT_MAX, Runtime, shown(op), ": matrix too large: got shape ", a.sizes,
             ", expected sizes below ", INT_MAX);
}

void check_square(const Op& op, const TensorImpl& a, int arg) {
  check_matrix(op, a, arg);
  MG_CHECK(a.sizes[a.dim() - 1] == a.sizes[a.dim() - 2], Runtime, shown(op), ": ", op.args[size_t(arg)].name,
           " must be square matrices: got shape ", a.sizes, ", expected (*, n, n).");
}

void check_same_dtype(const Op& op, const TensorImpl& a, int ia, const TensorImpl& b, int ib) {
  MG_CHECK(a.dtype == b.dtype, Runtime, shown(op), ": expected ", op.args[size_t(ia)].name, " and ",
           op.args[size_t(ib)].name, " to have the same dtype: got ", a.dtype, " and ", b.dtype, ". Try ",
           op.args[size_t(ib)].name, ".to(", op.args[size_t(ia)].name, ".dtype).");
}

Dims batch_of(const TensorImpl& a, int core = 2) {
  Dims batch = a.sizes;
  batch.resize_uninitialized(a.dim() - core);
  return batch;
}

Dims with(Dims batch, std::initializer_list<int64_t> core) {
  for (int64_t s : core) batch.push_back(s);
  return batch;
}

Dims broadcast_batch(const Op& op, const TensorImpl& a, const TensorImpl& b) {
  Dims batch = batch_of(a);
  MG_CHECK(broadcast_into(batch, batch_of(b)), Runtime, shown(op), ": batch sizes do not broadcast: got shapes ",
           a.sizes, " and ", b.sizes, ", expected the sizes before the last two equal or 1 in each place.");
  return batch;
}

// Every output gets the device of the inputs and a dtype; shapes follow.
void common(const Op& op, const Value* args, MetaResult& r, DType dtype) {
  const Device device = common_device(op, args);
  for (int k = 0; k < op.n_outputs(); ++k) {
    r.out[k].device = device;
    r.out[k].dtype = dtype;
  }
  r.compute = dtype;
}

void set(MetaResult& r, int k, Dims sizes) { r.out[k].sizes = std::move(sizes); }
void set(MetaResult& r, int k, Dims sizes, DType dtype) {
  set(r, k, std::move(sizes));
  r.out[k].dtype = dtype;
}

// (input square, …) -> matrix of that shape, info: cholesky, inv
void meta_square_info(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& a = *args[0].t;
  check_square(op, a, 0);
  common(op, args, r, a.dtype);
  set(r, 0, a.sizes);
  if (op.n_outputs() > 1) set(r, 1, batch_of(a), DType::Int32);
}

// (input, …) -> LU, pivots, info; LDL wants squares
template <bool square>
void meta_factor(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& a = *args[0].t;
  square ? check_square(op, a, 0) : check_matrix(op, a, 0);
  common(op, args, r, a.dtype);
  set(r, 0, a.sizes);
  set(r, 1, with(batch_of(a), {std::min(a.sizes[a.dim() - 1], a.sizes[a.dim() - 2])}), DType::Int32);
  set(r, 2, batch_of(a), DType::Int32);
}

void meta_det(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& a = *args[0].t;
  check_square(op, a, 0);
  common(op, args, r, a.dtype);
  const int rest = op.n_outputs() - 2;  // slogdet has the logarithm in front of LU and pivots
  for (int k = 0; k < rest; ++k) set(r, k, batch_of(a), k == 1 ? to_real(a.dtype) : a.dtype);
  set(r, rest, a.sizes);
  set(r, rest + 1, with(batch_of(a), {a.sizes.back()}), DType::Int32);
}

// (pivots, rows) -> row order
void meta_permutation(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& p = *args[0].t;
  const int64_t rows = args[1].as_int();
  MG_CHECK(p.dim() >= 1 && p.sizes.back() <= rows, Runtime, shown(op),
           ": expected at most one pivot per row: got pivots ", p.sizes, " for ", rows, " rows.");
  MG_CHECK(p.dtype == DType::Int32, Runtime, shown(op), ": pivots must be int32: got ", p.dtype,
           ". Try the pivots that lu_factor returned.");
  common(op, args, r, DType::Int64);
  set(r, 0, with(batch_of(p, 1), {rows}));
}

// Right sides B of a square A: (*, n, k), or (*, k, n) when they stand on the left. Returns the shape of the solution.
Dims solution_shape(const Op& op, const TensorImpl& a, int ia, const TensorImpl& b, int ib, bool left) {
  check_square(op, a, ia);
  check_matrix(op, b, ib);
  check_same_dtype(op, a, ia, b, ib);
  const int64_t n = a.sizes.back(), rows = b.sizes[b.dim() - 2], cols = b.sizes.back();
  MG_CHECK((left ? rows : cols) == n, Runtime, shown(op), ": incompatible shapes of ", op.args[size_t(ia)].name,
           " and ", op.args[size_t(ib)].name, " for the equation ", left ? "AX = B" : "XA = B", ": got ", a.sizes,
           " and ", b.sizes, ", expected ", op.args[size_t(ib)].name, left ? ".shape[-2] == " : ".shape[-1] == ", n,
           ".");
  return with(broadcast_batch(op, a, b), {rows, cols});
}

// (A, B, left) -> result, LU, pivots, info
void meta_solve(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& a = *args[0].t;
  Dims shape = solution_shape(op, a, 0, *args[1].t, 1, args[2].as_int() != 0);
  common(op, args, r, a.dtype);
  set(r, 0, std::move(shape));
  set(r, 1, a.sizes);
  set(r, 2, with(batch_of(a), {a.sizes.back()}), DType::Int32);
  set(r, 3, batch_of(a), DType::Int32);
}

// (LU, pivots, B, left?, …) -> out
template <bool ldl>
void meta_solve_factored(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &lu = *args[0].t, &pivots = *args[1].t, &b = *args[2].t;
  Dims shape = solution_shape(op, lu, 0, b, 2, ldl || args[3].as_int() != 0);
  MG_CHECK(pivots.dtype == DType::Int32 || (ldl && is_integral(pivots.dtype)), Runtime, shown(op),
           ": pivots must be int32: got ", pivots.dtype, ". Try the pivots that the factorization returned.");
  Dims want = lu.sizes;
  want.resize_uninitialized(lu.dim() - 1);
  MG_CHECK(pivots.sizes == want, Runtime, shown(op), ": pivots must have the shape of ", op.args[0].name,
           " without its last dim: got ", pivots.sizes, ", expected ", want, ".");
  common(op, args, r, lu.dtype);
  set(r, 0, std::move(shape));
}

// (A, B, upper, left, unitriangular) -> out
void meta_solve_triangular(const Op& op, const Value* args, MetaResult& r) {
  Dims shape = solution_shape(op, *args[0].t, 0, *args[1].t, 1, args[3].as_int() != 0);
  common(op, args, r, args[0].t->dtype);
  set(r, 0, std::move(shape));
}

// (factor, B, upper) -> out
void meta_cholesky_solve(const Op& op, const Value* args, MetaResult& r) {
  Dims shape = solution_shape(op, *args[0].t, 0, *args[1].t, 1, true);
  common(op, args, r, args[0].t->dtype);
  set(r, 0, std::move(shape));
}

// (input, mode) -> Q, R
void meta_qr(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& a = *args[0].t;
  check_matrix(op, a, 0);
  common(op, args, r, a.dtype);
  const int64_t mode = args[1].as_int(), m = a.sizes[a.dim() - 2], n = a.sizes.back(),
                k = mode == 1 ? m : std::min(m, n);
  set(r, 0, mode == 2 ? Dims{0} : with(batch_of(a), {m, k}));
  set(r, 1, with(batch_of(a), {k, n}));
}

void meta_geqrf(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& a = *args[0].t;
  check_matrix(op, a, 0);
  common(op, args, r, a.dtype);
  set(r, 0, a.sizes);
  set(r, 1, with(batch_of(a), {std::min(a.sizes[a.dim() - 2], a.sizes.back())}));
}

// Reflectors (*, m, n) with factors tau (*, k), k <= n.
void check_reflectors(const Op& op, const TensorImpl& a, const TensorImpl& tau) {
  check_matrix(op, a, 0);
  check_same_dtype(op, a, 0, tau, 1);
  MG_CHECK(tau.dim() == a.dim() - 1 && batch_of(tau, 1) == batch_of(a), Runtime, shown(op),
           ": tau must have one dim less than input and the same batch sizes: got input ", a.sizes, " and tau ",
           tau.sizes, ".");
  MG_CHECK(tau.sizes.back() <= a.sizes.back(), Runtime, shown(op),
           ": expected at most one factor per column: got input ", a.sizes, " and tau ", tau.sizes, ".");
}

void meta_householder(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& a = *args[0].t;
  check_reflectors(op, a, *args[1].t);
  MG_CHECK(a.sizes[a.dim() - 2] >= a.sizes.back(), Runtime, shown(op),
           ": expected at least as many rows as columns: got shape ", a.sizes, ".");
  common(op, args, r, a.dtype);
  set(r, 0, a.sizes);
}

// (input, tau, other, left, transpose) -> out
void meta_ormqr(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &a = *args[0].t, &tau = *args[1].t, &c = *args[2].t;
  check_reflectors(op, a, tau);
  check_matrix(op, c, 2);
  check_same_dtype(op, a, 0, c, 2);
  const bool left = args[3].as_int() != 0;
  const int64_t side = c.sizes[c.dim() - (left ? 2 : 1)];
  MG_CHECK(a.dim() == c.dim() && batch_of(a) == batch_of(c), Runtime, shown(op),
           ": batch sizes of input and other differ: got ", a.sizes, " and ", c.sizes, ".");
  MG_CHECK(side >= tau.sizes.back(), Runtime, shown(op), ": other.shape[", left ? -2 : -1,
           "] must be greater than or equal to tau.shape[-1]: got ", c.sizes, " and ", tau.sizes, ".");
  MG_CHECK(side == a.sizes[a.dim() - 2], Runtime, shown(op), ": other.shape[", left ? -2 : -1,
           "] must be equal to input.shape[-2]: got ", c.sizes, " and ", a.sizes, ".");
  common(op, args, r, a.dtype);
  set(r, 0, c.sizes);
}

// (input, full_matrices, compute_uv) -> U, S, Vh, info
void meta_svd(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& a = *args[0].t;
  check_matrix(op, a, 0);
  common(op, args, r, a.dtype);
  const bool full = args[1].as_int() != 0, vectors = args[2].as_int() != 0;
  const int64_t m = a.sizes[a.dim() - 2], n = a.sizes.back(), k = std::min(m, n);
  set(r, 0, vectors ? with(batch_of(a), {m, full ? m : k}) : Dims{0});
  set(r, 1, with(batch_of(a), {k}), to_real(a.dtype));
  set(r, 2, vectors ? with(batch_of(a), {full ? n : k, n}) : Dims{0});
  set(r, 3, batch_of(a), DType::Int32);
}

// (input, …, compute_v) -> eigenvalues, eigenvectors, info
template <bool hermitian>
void meta_eigen(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& a = *args[0].t;
  check_square(op, a, 0);
  common(op, args, r, hermitian ? a.dtype : to_complex(a.dtype));
  const bool vectors = args[op.args.size() - 1].as_int() != 0;
  set(r, 0, with(batch_of(a), {a.sizes.back()}), hermitian ? to_real(a.dtype) : to_complex(a.dtype));
  set(r, 1, vectors ? a.sizes : Dims{0});
  set(r, 2, batch_of(a), DType::Int32);
}

// (A, B, rcond, driver) -> solution, rank, singular_values, info
void meta_lstsq(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &a = *args[0].t, &b = *args[1].t;
  check_matrix(op, a, 0);
  check_matrix(op, b, 1);
  check_same_dtype(op, a, 0, b, 1);
  const int64_t m = a.sizes[a.dim() - 2], n = a.sizes.back();
  MG_CHECK(b.sizes[b.dim() - 2] == m, Runtime, shown(op), ": ", op.args[0].name, ".shape[-2] and ", op.args[1].name,
           ".shape[-2] must be equal: got ", a.sizes, " and ", b.sizes, ".");
  const std::string_view driver = args[3].str;
  MG_CHECK(driver == "gels" || driver == "gelsy" || driver == "gelsd" || driver == "gelss", Runtime, shown(op),
           ": unknown driver: got '", driver, "', expected one of 'gels', 'gelsy', 'gelsd', 'gelss'.");
  const Dims batch = broadcast_batch(op, a, b);
  common(op, args, r, a.dtype);
  set(r, 0, with(batch, {n, b.sizes.back()}));
  set(r, 1, batch, DType::Int64);
  set(r, 2, driver == "gelsd" || driver == "gelss" ? with(batch, {std::min(m, n)}) : Dims{0}, to_real(a.dtype));
  set(r, 3, batch, DType::Int32);
}

// (input, atol, rtol, hermitian) -> out, info
void meta_pinv(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& a = *args[0].t;
  args[3].as_int() != 0 ? check_square(op, a, 0) : check_matrix(op, a, 0);
  const Dims batch = batch_of(a);
  for (int k = 1; k < 3; ++k) {
    const TensorImpl& tol = *args[k].t;
    Dims shape = batch;
    MG_CHECK(tol.dtype == to_real(a.dtype), Runtime, shown(op), ": ", op.args[size_t(k)].name, " must have dtype ",
             to_real(a.dtype), ": got ", tol.dtype, ".");
    MG_CHECK(broadcast_into(shape, tol.sizes) && shape == batch, Runtime, shown(op), ": ", op.args[size_t(k)].name,
             " must expand to the batch ", batch, ": got shape ", tol.sizes, ".");
  }
  common(op, args, r, a.dtype);
  set(r, 0, with(batch, {a.sizes.back(), a.sizes[a.dim() - 2]}));
  set(r, 1, batch, DType::Int32);
}

}  // namespace

MG_META("linalg_square", meta_square_info);
MG_META("linalg_factor", meta_factor<false>);
MG_META("linalg_factor_square", meta_factor<true>);
MG_META("linalg_det", meta_det);
MG_META("linalg_permutation", meta_permutation);
MG_META("linalg_solve", meta_solve);
MG_META("linalg_lu_solve", meta_solve_factored<false>);
MG_META("linalg_ldl_solve", meta_solve_factored<true>);
MG_META("linalg_solve_triangular", meta_solve_triangular);
MG_META("linalg_cholesky_solve", meta_cholesky_solve);
MG_META("linalg_qr", meta_qr);
MG_META("linalg_geqrf", meta_geqrf);
MG_META("linalg_householder", meta_householder);
MG_META("linalg_ormqr", meta_ormqr);
MG_META("linalg_svd", meta_svd);
MG_META("linalg_eigh", meta_eigen<true>);
MG_META("linalg_eig", meta_eigen<false>);
MG_META("linalg_lstsq", meta_lstsq);
MG_META("linalg_pinv", meta_pinv);

}  // namespace mg
