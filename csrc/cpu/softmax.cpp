// softmax, log_softmax and their gradients along any dim, threaded over rows or tiles of columns. Loops:
// softmax_isa.cpp.
#include "../core/parallel.h"
#include "../core/reduce_dims.h"
#include "isa.h"
#include "softmax_table.h"
#include "staged.h"

namespace mg::cpu {

namespace avx512 { extern const SoftmaxTable softmax_table; }
namespace avx2 { extern const SoftmaxTable softmax_table; }
namespace portable { extern const SoftmaxTable softmax_table; }

const SoftmaxTable& softmax_table() {
  static const SoftmaxTable& table = MG_PICK(softmax_table);
  return table;
}
template <>
const SoftmaxFns<float>& softmax_fns<float>() {
  return softmax_table().f32;
}
template <>
const SoftmaxFns<double>& softmax_fns<double>() {
  return softmax_table().f64;
}

namespace {

constexpr int64_t kGrain = 8192, kColumns = kSoftmaxColumns;  // elements a task, columns a tile

// rows(first, count) for a last dim, columns(offset, ld, ncols) otherwise.
template <class Rows, class Columns>
void along_dim(const DimView& v, Rows rows, Columns columns) {
  if (v.outer * v.size * v.inner == 0) return;
  if (v.inner == 1) {
    parallel_for(0, v.outer, std::max<int64_t>(kGrain / v.size, 1),
                 [&](int64_t b, int64_t e) { rows(b * v.size, e - b); });
    return;
  }
  const int64_t tiles = (v.inner - 1) / kColumns + 1, width = std::min(v.inner, kColumns);
  parallel_for(0, v.outer * tiles, std::max<int64_t>(kGrain / (v.size * width), 1), [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) {
      const int64_t c = i % tiles * kColumns;
      columns(i / tiles * v.size * v.inner + c, v.inner, std::min(kColumns, v.inner - c));
    }
  });
}

DimView view_of(const Invocation& inv, int dim_arg) {
  const TensorImpl& x = inv.in(0);
  return DimView(x.sizes, x.dim() == 0 ? 0 : wrap_dim(inv.i(dim_arg), x.dim(), inv.op.name.c_str()));
}

void forward(Invocation& inv, bool log) {
  const DimView v = view_of(inv, 1);
  const DType compute = float_compute(inv.compute);
  dispatch_float(compute, [&](auto tag) {
    using T = decltype(tag);
    const Tensor in = staged(inv.in(0), compute);
    const StagedOut out(inv.outs[0], compute);
    const T* x = in.ptr<T>();
    T* y = out.ptr<T>();
    const SoftmaxFns<T>& fns = softmax_fns<T>();
    along_dim(
        v, [&](int64_t at, int64_t nrows) { fns.rows(y + at, x + at, nrows, v.size, log); },
        [&](int64_t at, int64_t ld, int64_t n) { fns.columns(y + at, x + at, v.size, ld, n, log); });
    out.commit();
  });
}

void backward(Invocation& inv, bool log) {
  const DimView v = view_of(inv, 2);
  const DType compute = float_compute(inv.compute);
  dispatch_float(compute, [&](auto tag) {
    using T = decltype(tag);
    const Tensor gradient = staged(inv.in(0), compute), result = staged(inv.in(1), compute);
    const StagedOut out(inv.outs[0], compute);
    const T *g = gradient.ptr<T>(), *y = result.ptr<T>();
    T* dx = out.ptr<T>();
    const SoftmaxFns<T>& fns = softmax_fns<T>();
    along_dim(
        v, [&](int64_t at, int64_t nrows) { fns.backward_rows(dx + at, g + at, y + at, nrows, v.size, log); },
        [&](int64_t at, int64_t ld, int64_t n) { fns.backward_columns(dx + at, g + at, y + at, v.size, ld, n, log); });
    out.commit();
  });
}

void softmax_cpu(Invocation& inv) { forward(inv, false); }
void log_softmax_cpu(Invocation& inv) { forward(inv, true); }
void softmax_backward_cpu(Invocation& inv) { backward(inv, false); }
void log_softmax_backward_cpu(Invocation& inv) { backward(inv, true); }

}  // namespace

MG_KERNEL("softmax", CPU, softmax_cpu);
MG_KERNEL("log_softmax", CPU, log_softmax_cpu);
MG_KERNEL("_softmax_backward", CPU, softmax_backward_cpu);
MG_KERNEL("_log_softmax_backward", CPU, log_softmax_backward_cpu);

}  // namespace mg::cpu
