// Shapes and dtypes of the matrix products: matmul, mm, bmm, mv, dot, addmm, addmv, baddbmm, linear. All their user
// errors are raised here.
//
// Legend: a is (..., M, K), b is (..., K, N). Kernels: ../cpu/matmul.cpp. Declarations: minigrad/ops/products/matmul.py.
#include "layout.h"
#include "meta.h"

namespace mg {

namespace {

// PyTorch multiplies matrices of one dtype only: promotion would hide a cast of the whole weight.
void check_dtypes(const Op& op, const TensorImpl& a, int ia, const TensorImpl& b, int ib) {
  MG_CHECK(a.dtype == b.dtype, Runtime, op.name, ": expected ", op.args[ia].name, " and ", op.args[ib].name,
           " to have the same dtype: got ", a.dtype, " and ", b.dtype, ". Try ", op.args[ib].name, ".to(",
           op.args[ia].name, ".dtype).");
  MG_CHECK(a.dtype != DType::Bool, Runtime, op.name, ": not implemented for bool: got ", op.args[ia].name,
           " of dtype bool. Try ", op.args[ia].name, ".float().");
}

void check_dim(const Op& op, const TensorImpl& t, int i, int dim) {
  MG_CHECK(t.dim() == dim, Runtime, op.name, ": ", op.args[i].name, " must be ",
           dim == 1   ? "a vector"
           : dim == 2 ? "a matrix"
                      : "a batch of matrices",
           ": got shape ", t.sizes, ", expected ", dim, "-d. Try ",
           dim == 3 ? "mg.matmul, which takes any number of dims." : "mg.matmul.");
}

void check_inner(const Op& op, const TensorImpl& a, int ia, const TensorImpl& b, int ib) {
  const int64_t ka = a.sizes.back(), kb = b.dim() == 1 ? b.sizes[0] : b.sizes[b.dim() - 2];
  if (ka == kb) [[likely]]
    return;
  const bool transposed = b.dim() >= 2 && b.sizes.back() == ka;
  const std::string &na = op.args[ia].name, &nb = op.args[ib].name;
  fail(ErrorKind::Runtime, op.name, ": shapes cannot be multiplied, inner sizes differ: ", na, " ", a.sizes, " @ ", nb,
       " ", b.sizes, ", need ", na, ".shape[-1] == ", nb, b.dim() == 1 ? ".shape[0]" : ".shape[-2]",
       transposed ? str(". Try ", nb, ".mT.") : std::string(". Check which of the two has the wrong shape."));
}

void set_out(const Op& op, const Value* args, MetaResult& r, DType dtype) {
  r.out[0].dtype = r.compute = dtype;
  r.out[0].device = common_device(op, args);
}

void meta_matmul(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &a = *args[0].t, &b = *args[1].t;
  for (int i = 0; i < 2; ++i)
    MG_CHECK(args[i].t->dim() > 0, Runtime, op.name, ": both arguments need at least 1 dim: got ", op.args[i].name,
             " with 0 dims (a scalar). Try *.");
  check_dtypes(op, a, 0, b, 1);
  check_inner(op, a, 0, b, 1);
  Dims& shape = r.out[0].sizes;
  shape.clear();
  if (a.dim() > 2 || b.dim() > 2) {
    Dims other;
    for (int i = 0; i + 2 < a.dim(); ++i) shape.push_back(a.sizes[i]);
    for (int i = 0; i + 2 < b.dim(); ++i) other.push_back(b.sizes[i]);
    MG_CHECK(broadcast_into(shape, other), Runtime, op.name, ": batch sizes do not broadcast: ", op.args[0].name, " ",
             a.sizes, " @ ", op.args[1].name, " ", b.sizes, ", need ", shape, " and ", other,
             " equal or 1 in each place.");
  }
  if (a.dim() > 1) shape.push_back(a.sizes[a.dim() - 2]);
  if (b.dim() > 1) shape.push_back(b.sizes.back());
  set_out(op, args, r, a.dtype);
}

// Products of tensors with fixed ranks: (da, db) = mm (2, 2), bmm (3, 3), mv (2, 1), dot (1, 1).
void fixed_rank(const Op& op, const Value* args, int first, int da, int db, MetaResult& r) {
  const TensorImpl &a = *args[first].t, &b = *args[first + 1].t;
  check_dim(op, a, first, da);
  check_dim(op, b, first + 1, db);
  check_dtypes(op, a, first, b, first + 1);
  check_inner(op, a, first, b, first + 1);
  Dims& shape = r.out[0].sizes;
  shape.clear();
  if (da == 3) {
    MG_CHECK(a.sizes[0] == b.sizes[0], Runtime, op.name, ": batch sizes differ: ", op.args[first].name, " ", a.sizes,
             " @ ", op.args[first + 1].name, " ", b.sizes,
             ", need the first sizes equal. Try mg.matmul, which broadcasts.");
    shape.push_back(a.sizes[0]);
  }
  if (da > 1) shape.push_back(a.sizes[da - 2]);
  if (db > 1) shape.push_back(b.sizes.back());
  set_out(op, args, r, a.dtype);
}

void meta_mm(const Op& op, const Value* args, MetaResult& r) { fixed_rank(op, args, 0, 2, 2, r); }
void meta_bmm(const Op& op, const Value* args, MetaResult& r) { fixed_rank(op, args, 0, 3, 3, r); }
void meta_mv(const Op& op, const Value* args, MetaResult& r) { fixed_rank(op, args, 0, 2, 1, r); }
void meta_dot(const Op& op, const Value* args, MetaResult& r) { fixed_rank(op, args, 0, 1, 1, r); }

// Products of bytes with sums of 32 bits: int8 or uint8 with int8.
void meta_int_mm(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &a = *args[0].t, &b = *args[1].t;
  MG_CHECK((a.dtype == DType::Int8 || a.dtype == DType::UInt8) && b.dtype == DType::Int8, Runtime, op.name,
           ": got dtypes ", a.dtype, " and ", b.dtype, ", expected int8 or uint8, and int8.");
  check_dim(op, a, 0, 2);
  check_dim(op, b, 1, 2);
  check_inner(op, a, 0, b, 1);
  r.out[0].sizes = {a.sizes[0], b.sizes[1]};
  set_out(op, args, r, DType::Int32);
}

// beta * input + alpha * (a @ b): args input, a, b, beta, alpha.
void with_addend(const Op& op, const Value* args, int da, int db, MetaResult& r) {
  fixed_rank(op, args, 1, da, db, r);
  const TensorImpl& input = *args[0].t;
  check_dtypes(op, input, 0, *args[1].t, 1);
  Dims shape = r.out[0].sizes;
  MG_CHECK(broadcast_into(shape, input.sizes) && shape == r.out[0].sizes, Runtime, op.name, ": ", op.args[0].name, " ",
           input.sizes, " does not expand to the shape ", r.out[0].sizes, " of the product, need sizes equal or 1.");
  // PyTorch checks the numbers in addmm alone; its kin cut them to integers.
  for (int i = 3; i < 5 && op.name == "addmm"; ++i)
    MG_CHECK(is_inexact(input.dtype) || args[i].kind != Kind::Float, Runtime, op.name, ": ", op.args[i].name,
             " must be an integer for integer tensors: got ", args[i].f, " with dtype ", input.dtype, ".");
}
void meta_addmm(const Op& op, const Value* args, MetaResult& r) { with_addend(op, args, 2, 2, r); }
void meta_baddbmm(const Op& op, const Value* args, MetaResult& r) { with_addend(op, args, 3, 3, r); }
void meta_addmv(const Op& op, const Value* args, MetaResult& r) { with_addend(op, args, 2, 1, r); }

void meta_linear(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &x = *args[0].t, &w = *args[1].t;
  MG_CHECK(x.dim() >= 1 && (w.dim() == 2 || w.dim() == 1), Runtime, op.name, ": got input ", x.sizes, " and weight ", w.sizes,
           ", expected input (..., in_features) and weight (out_features, in_features).");
  check_dtypes(op, x, 0, w, 1);
  if (w.dim() == 1) {  // one output feature and no dim for it: x @ w
    MG_CHECK(x.sizes.back() == w.sizes[0] && args[2].none(), Runtime, op.name, ": got input ", x.sizes, " and weight ", w.sizes,
             args[2].none() ? ", inner sizes differ." : ", a weight of one dim goes without bias.");
    r.out[0].sizes = x.sizes;
    r.out[0].sizes.erase(x.dim() - 1);
    return set_out(op, args, r, x.dtype);
  }
  MG_CHECK(x.sizes.back() == w.sizes[1], Runtime, op.name, ": shapes cannot be multiplied, inner sizes differ: input ",
           x.sizes, ", weight ", w.sizes, ", need input.shape[-1] == weight.shape[1]. Check in_features of the layer.");
  if (!args[2].none()) {
    const TensorImpl& bias = *args[2].t;
    check_dtypes(op, x, 0, bias, 2);
    MG_CHECK(bias.dim() == 1 && bias.sizes[0] == w.sizes[0], Runtime, op.name, ": bias has the wrong shape: got ",
             bias.sizes, ", expected (", w.sizes[0], ",), one number per output feature of weight ", w.sizes, ".");
  }
  r.out[0].sizes = x.sizes;
  r.out[0].sizes.back() = w.sizes[0];
  set_out(op, args, r, x.dtype);
}

}  // namespace

MG_META("matmul", meta_matmul);
MG_META("mm", meta_mm);
MG_META("bmm", meta_bmm);
MG_META("int_mm", meta_int_mm);
MG_META("mv", meta_mv);
MG_META("dot", meta_dot);
MG_META("addmm", meta_addmm);
MG_META("addmv", meta_addmv);
MG_META("baddbmm", meta_baddbmm);
MG_META("linear", meta_linear);

}  // namespace mg
