// The matrix-product ops: turns tensors into gemm() problems (batch broadcasting, 1-d operands, bias and addend, low
// precision, integers).
//
// Legend: a (..., M, K) @ b (..., K, N) -> out (..., M, N); B batch. half and bfloat16 accumulate in a float copy of
// the output and are rounded once. Meta: ../core/meta_matmul.cpp. Read next: gemm.h.
#include <algorithm>

#include "../core/layout.h"
#include "../core/op.h"
#include "../core/parallel.h"
#include "gemm.h"

namespace mg::cpu {

namespace {

// One operand as a batch of matrices; a vector is a matrix with one row (a) or one column (b).
struct Operand {
  const TensorImpl* t;
  int64_t rows, cols, rs, cs;
  Operand(const TensorImpl& x, bool left) : t(&x) {
    const int d = x.dim();
    const bool vector = d == 1;
    rows = vector ? (left ? 1 : x.sizes[0]) : x.sizes[d - 2];
    cols = vector ? (left ? x.sizes[0] : 1) : x.sizes[d - 1];
    rs = vector ? (left ? 0 : x.strides[0]) : x.strides[d - 2];
    cs = vector ? (left ? x.strides[0] : 0) : x.strides[d - 1];
  }
  int batch_dims() const { return t->dim() > 2 ? t->dim() - 2 : 0; }
  template <class S>
  Strided<S> matrix(int64_t offset) const {
    return {t->ptr<S>() + offset, rs, cs};
  }
};

// beta * D of addmm and its kin: D broadcasts to the output.
struct Addend {
  const TensorImpl* t = nullptr;
  double alpha = 1, beta = 1;
};

// Element offset of batch entry `index` of an operand whose batch dims broadcast to `batch`.
int64_t batch_offset(const Operand& x, const Dims& batch, int64_t index) {
  int64_t offset = 0;
  const int missing = batch.size() - x.batch_dims();
  for (int d = batch.size() - 1; d >= missing; --d) {
    const int own = d - missing;
    if (x.t->sizes[own] != 1) offset += index % batch[d] * x.t->strides[own];
    index /= batch[d];
  }
  return offset;
}

// One matrix b for the whole batch and rows of a at one stride: the batch is just more rows of a.
bool folds_into_rows(const Operand& a, const Operand& b, const Dims& batch) {
  if (b.batch_dims() != 0 || a.batch_dims() != batch.size() || a.t->dim() < 2) return false;
  int64_t expected = a.rs * a.rows;
  for (int d = batch.size() - 1; d >= 0; --d) {
    if (batch[d] != 1 && a.t->strides[d] != expected) return false;
    expected *= batch[d];
  }
  return true;
}

// out is contiguous, of the accumulation type T; `add` is null or indexes like out with column stride 1.
template <class S, class T>
void batched(const Operand& a, const Operand& b, const Dims& batch, T* out, const Addend& d, const T* add,
             int64_t add_rs, int64_t add_bs) {
  int64_t count = 1, m = a.rows;
  for (int64_t s : batch) count *= s;
  const int64_t n = b.cols, k = a.cols;
  if (count > 1 && folds_into_rows(a, b, batch) && (add == nullptr || add_bs == add_rs * m)) {
    m *= count;
    count = 1;
  }
  const auto one = [&](int64_t i) {
    const Epilogue<T> e{T(d.alpha), T(d.beta), add == nullptr ? nullptr : add + i * add_bs, add_rs};
    gemm<S, T>(m, n, k, a.matrix<S>(batch_offset(a, batch, i)), b.matrix<S>(batch_offset(b, batch, i)), out + i * m * n,
               n, e);
  };
  if (count == 1) return one(0);
  const int64_t work = m * n * k;
  if (work >= 8 * kTaskFma && count < get_num_threads()) {  // few large products: threads inside each
    for (int64_t i = 0; i < count; ++i) one(i);
    return;
  }
  parallel_for(0, count, ceil_div(kTaskFma, std::max<int64_t>(work, 256)), [&](int64_t i0, int64_t i1) {
    for (int64_t i = i0; i < i1; ++i) one(i);
  });
}

template <class T>
void run_int(const Operand& a, const Operand& b, const Dims& batch, const Tensor& out, const Addend& d) {
  using U = std::make_unsigned_t<T>;
  int64_t count = 1;
  for (int64_t s : batch) count *= s;
  const int64_t matrix = a.rows * b.cols;
  const Tensor product = d.t == nullptr ? out : empty(out.sizes(), out.dtype());
  for (int64_t i = 0; i < count; ++i)
    gemm_int<T>(a.rows, b.cols, a.cols, a.matrix<T>(batch_offset(a, batch, i)), b.matrix<T>(batch_offset(b, batch, i)),
                product.ptr<T>() + i * matrix);
  if (d.t == nullptr) return;
  copy_into(out, alias(*d.t, out.sizes(), broadcast_strides(d.t->sizes, d.t->strides, out.sizes()), d.t->offset));
  T* o = out.ptr<T>();
  const T* p = product.ptr<T>();
  for (int64_t i = 0; i < out.numel(); ++i)
    o[i] = T(uint64_t(int64_t(d.beta)) * uint64_t(U(o[i])) + uint64_t(int64_t(d.alpha)) * uint64_t(U(p[i])));
}

// S: stored type, T: accumulation type. `out` is contiguous and of type S.
template <class S, class T>
void run_float(const Operand& a, const Operand& b, const Dims& batch, const Tensor& out, const Addend& d) {
  const Tensor sums = std::is_same_v<S, T> ? out : empty(out.sizes(), dtype_of<T>());
  const T* add = nullptr;
  int64_t add_rs = 0, add_bs = 0;
  if (d.t != nullptr && d.beta != 0) {
    const Dims strides = broadcast_strides(d.t->sizes, d.t->strides, out.sizes());
    const int nd = out.dim();
    const bool in_place = std::is_same_v<S, T> && nd >= 2 && nd <= 3 && (strides[nd - 1] == 1 || out.size(-1) == 1);
    if (in_place) {
      add = d.t->ptr<T>();
      add_rs = strides[nd - 2];
      add_bs = nd == 3 ? strides[0] : 0;
    } else {  // materialise D where the result goes; every element is read before it is written
      const Tensor addend = alias(*d.t, out.sizes(), strides, d.t->offset);
      if (d.t->data() != sums->data()) copy_into(sums, addend);
      add = sums.ptr<T>();
      add_rs = b.cols;
      add_bs = a.rows * b.cols;
    }
  }
  batched<S, T>(a, b, batch, sums.ptr<T>(), d, add, add_rs, add_bs);
  if (!std::is_same_v<S, T>) copy_into(out, sums);
}

void product(const TensorImpl& left, const TensorImpl& right, const Tensor& result, const Addend& d) {
  if (result.numel() == 0) return;
  // out= may name a strided tensor, or one of the factors
  const bool direct = result->contiguous && !(result->storage == left.storage) && !(result->storage == right.storage);
  const Tensor out = direct ? result : empty(result.sizes(), result.dtype());
  const Operand a(left, true), b(right, false);
  Dims batch = result.sizes();
  batch.resize_uninitialized(result.dim() - (left.dim() > 1) - (right.dim() > 1));
  switch (left.dtype) {
    case DType::Float32:
      run_float<float, float>(a, b, batch, out, d);
      break;
    case DType::Float64:
      run_float<double, double>(a, b, batch, out, d);
      break;
    case DType::Float16:
      run_float<half, float>(a, b, batch, out, d);
      break;
    case DType::BFloat16:
      run_float<bfloat16, float>(a, b, batch, out, d);
      break;
    case DType::UInt8:
      run_int<uint8_t>(a, b, batch, out, d);
      break;
    case DType::Int8:
      run_int<int8_t>(a, b, batch, out, d);
      break;
    case DType::Int16:
      run_int<int16_t>(a, b, batch, out, d);
      break;
    case DType::Int32:
      run_int<int32_t>(a, b, batch, out, d);
      break;
    case DType::Int64:
      run_int<int64_t>(a, b, batch, out, d);
      break;
    default:
      MG_INTERNAL(false, "matmul of bool passed its meta");
  }
  if (!direct) copy_into(result, out);
}

void matmul_cpu(Invocation& inv) { product(inv.in(0), inv.in(1), inv.outs[0], {}); }

void int_mm_cpu(Invocation& inv) {
  const TensorImpl &left = inv.in(0), &right = inv.in(1);
  if (inv.out().numel == 0) return;
  const Tensor out = inv.out().contiguous ? inv.outs[0] : empty(inv.out().sizes, DType::Int32);
  const Operand a(left, true), b(right, false);
  if (left.dtype == DType::Int8) {
    gemm<int8_t, int32_t>(a.rows, b.cols, a.cols, a.matrix<int8_t>(0), b.matrix<int8_t>(0), out.ptr<int32_t>(), b.cols);
  } else {  // (a - 128) b + 128 (1 b): bytes of a as int8, the rest is one row
    const Tensor shifted = empty({a.rows, a.cols}, DType::Int8), ones = empty({1, a.cols}, DType::Int8);
    copy_into(shifted, alias(left, left.sizes, left.strides, left.offset));
    for (int64_t i = 0; i < a.rows * a.cols; ++i) shifted.ptr<int8_t>()[i] ^= int8_t(-128);
    std::fill_n(ones.ptr<int8_t>(), a.cols, int8_t(1));
    const Tensor sums = empty({1, b.cols}, DType::Int32);
    gemm<int8_t, int32_t>(1, b.cols, a.cols, {ones.ptr<int8_t>(), a.cols, 1}, b.matrix<int8_t>(0), sums.ptr<int32_t>(),
                          b.cols);
    Epilogue<int32_t> e;
    e.beta = 128;
    e.add = sums.ptr<int32_t>();
    gemm<int8_t, int32_t>(a.rows, b.cols, a.cols, {shifted.ptr<int8_t>(), a.cols, 1}, b.matrix<int8_t>(0),
                          out.ptr<int32_t>(), b.cols, e);
  }
  if (!inv.out().contiguous) copy_into(inv.outs[0], out);
}

void addmm_cpu(Invocation& inv) { product(inv.in(1), inv.in(2), inv.outs[0], {&inv.in(0), inv.f(4), inv.f(3)}); }

void linear_cpu(Invocation& inv) {
  const TensorImpl& x = inv.in(0);
  const TensorImpl& w = inv.in(1);
  const TensorImpl& out = inv.out();
  if (w.dim() == 1) return product(x, w, inv.outs[0], {});
  if (x.dtype == DType::Float32 && x.contiguous && out.contiguous && (!inv.has(2) || inv.in(2).strides[0] == 1))
      [[likely]] {
    Epilogue<float> e;
    if (inv.has(2)) e.add = inv.in(2).ptr<float>();
    const int64_t n = w.sizes[0], k = w.sizes[1];
    if (out.numel == 0) return;
    gemm<float, float>(out.numel / n, n, k, {x.ptr<float>(), k, 1}, {w.ptr<float>(), w.strides[1], w.strides[0]},
                       out.ptr<float>(), n, e);
    return;
  }
  const Tensor weight_KN = alias(w, {w.sizes[1], w.sizes[0]}, {w.strides[1], w.strides[0]}, w.offset);
  Addend bias;
  if (inv.has(2)) bias.t = &inv.in(2);
  product(x, *weight_KN, inv.outs[0], bias);
}

}  // namespace

MG_KERNEL("matmul", CPU, matmul_cpu);
MG_KERNEL("mm", CPU, matmul_cpu);
MG_KERNEL("bmm", CPU, matmul_cpu);
MG_KERNEL("_int_mm", CPU, int_mm_cpu);
MG_KERNEL("mv", CPU, matmul_cpu);
MG_KERNEL("dot", CPU, matmul_cpu);
MG_KERNEL("addmm", CPU, addmm_cpu);
MG_KERNEL("addmv", CPU, addmm_cpu);
MG_KERNEL("baddbmm", CPU, addmm_cpu);
MG_KERNEL("linear", CPU, linear_cpu);

}  // namespace mg::cpu
