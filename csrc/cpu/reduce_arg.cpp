// Reductions that also say where: argmax, argmin, max and min along a dim. First position wins; NaN beats every number
// (PyTorch's rules).
#include "../core/parallel.h"
#include "../core/reduce_dims.h"
#include "reduce.h"

namespace mg::cpu {

namespace {

template <class T>
const ArgFns<T>& arg_fns(bool smallest) {
  if constexpr (std::is_same_v<T, float>)
    return reduce_table().arg32[smallest];
  else if constexpr (std::is_same_v<T, double>)
    return reduce_table().arg64[smallest];
  else
    return reduce_table().argi[smallest];
}

template <class T>
bool beats(T a, T b, bool smallest) {
  if (a != a) return b == b;
  return smallest ? a < b : a > b;
}

// One long row: fixed pieces, combined in order.
template <class T>
void arg_long_row(const ArgFns<T>& fns, const T* x, int64_t n, bool smallest, T* value, int64_t* index) {
  constexpr int64_t kPiece = 65536, kMaxPieces = 256;
  const int64_t pieces = std::min((n - 1) / kPiece + 1, kMaxPieces), piece = (n - 1) / pieces + 1;
  T values[kMaxPieces] = {};
  int64_t at[kMaxPieces] = {};
  parallel_for(0, pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const int64_t start = std::min(c * piece, n - 1);
      fns.rows(values + c, at + c, x + start, 1, 0, std::min(piece, n - start));
      at[c] += start;
    }
  });
  int64_t best = 0;
  for (int64_t c = 1; c < pieces; ++c)
    if (beats(values[c], values[best], smallest)) best = c;
  *value = values[best];
  *index = at[best];
}

// x is contiguous (outer, size, inner); value and index are (outer, inner).
template <class T>
void arg_dim(const T* x, const DimView& v, bool smallest, T* value, int64_t* index) {
  const ArgFns<T>& fns = arg_fns<T>(smallest);
  if (v.outer * v.inner == 0) return;
  if (v.inner == 1) {
    if (v.size > 131072) {
      for (int64_t o = 0; o < v.outer; ++o) arg_long_row(fns, x + o * v.size, v.size, smallest, value + o, index + o);
      return;
    }
    parallel_for(0, v.outer, std::max<int64_t>(kReduceGrain / v.size, 1),
                 [&](int64_t b, int64_t e) { fns.rows(value + b, index + b, x + b * v.size, e - b, v.size, v.size); });
    return;
  }
  const int64_t tiles = (v.inner - 1) / kFoldColumns + 1;
  const int64_t width = std::min(v.inner, kFoldColumns);
  parallel_for(0, v.outer * tiles, std::max<int64_t>(kReduceGrain / (v.size * width), 1), [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) {
      const int64_t o = i / tiles, c = i % tiles * kFoldColumns, n = std::min(kFoldColumns, v.inner - c);
      fns.columns(value + o * v.inner + c, index + o * v.inner + c, x + o * v.size * v.inner + c, v.size, v.inner, n);
    }
  });
}

// Runs on a contiguous copy in the accumulation dtype where the input is not one already; results come back converted.
void run(Invocation& inv, bool smallest, Tensor* value_out, const Tensor& index_out) {
  const Tensor in = inv.tensor(0);
  dispatch_accumulate(in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    const Tensor x = in.dtype() == dtype_of<T>() ? contiguous(in) : to_contiguous(*in, dtype_of<T>());
    const bool full = inv.args[1].none();
    DimView v(x.sizes(), full || x.dim() == 0 ? 0 : wrap_dim(inv.i(1), x.dim(), inv.op.name.c_str()));
    if (full) v.outer = v.inner = 1, v.size = x.numel();
    const bool direct = index_out->contiguous;
    const Tensor index = direct ? index_out : empty(index_out.sizes(), DType::Int64);
    const bool keep = value_out != nullptr && (*value_out)->contiguous && value_out->dtype() == dtype_of<T>();
    const Tensor value = keep ? *value_out : empty(index_out.sizes(), dtype_of<T>());
    arg_dim<T>(x.ptr<T>(), v, smallest, value.ptr<T>(), index.ptr<int64_t>());
    if (!direct) copy_into(index_out, index);
    if (value_out != nullptr && !keep) copy_into(*value_out, value);
  });
}

void argmax_cpu(Invocation& inv) { run(inv, false, nullptr, inv.outs[0]); }
void argmin_cpu(Invocation& inv) { run(inv, true, nullptr, inv.outs[0]); }
void max_dim_cpu(Invocation& inv) { run(inv, false, &inv.outs[0], inv.outs[1]); }
void min_dim_cpu(Invocation& inv) { run(inv, true, &inv.outs[0], inv.outs[1]); }

}  // namespace

MG_KERNEL("argmax", CPU, argmax_cpu);
MG_KERNEL("argmin", CPU, argmin_cpu);
MG_KERNEL("_max_dim", CPU, max_dim_cpu);
MG_KERNEL("_min_dim", CPU, min_dim_cpu);

}  // namespace mg::cpu
