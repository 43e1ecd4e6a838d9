// Ops whose ordinary kernels serve complex tensors too: they move elements by width, or go through the conversion
// table, or add them with dispatch_any. Also the ops that make complex tensors of real parts.
#include "../core/complex_parts.h"
#include "../core/layout.h"
#include "../core/parallel.h"
#include "complex_math.h"

namespace mg::cpu {

#define MG_SAME(name) MG_KERNEL_COMPLEX(name, CPU, nullptr)

MG_SAME("clone");
MG_SAME("_to_dtype");
MG_SAME("_copy_contiguous");
MG_SAME("copy_");
MG_SAME("fill_");
MG_SAME("zero_");
MG_SAME("_full");
MG_SAME("flip");
MG_SAME("roll");
MG_SAME("tril");
MG_SAME("triu");
MG_SAME("_empty");
MG_SAME("_empty_strided");
MG_SAME("_eye");
MG_SAME("gather");
MG_SAME("_scatter");
MG_SAME("_scatter_");
MG_SAME("scatter_add");
MG_SAME("scatter_add_");
MG_SAME("scatter_reduce");
MG_SAME("scatter_reduce_");
MG_SAME("index_select");
MG_SAME("index_add");
MG_SAME("index_add_");
MG_SAME("index_copy");
MG_SAME("index_copy_");
MG_SAME("index_fill");
MG_SAME("index_fill_");
MG_SAME("index");
MG_SAME("_index_reduce");
MG_SAME("_index_reduce_");
MG_SAME("index_put");
MG_SAME("index_put_");
MG_SAME("cat");
MG_SAME("stack");
MG_SAME("_select_backward");
MG_SAME("_slice_backward");
MG_SAME("_narrow_backward");
MG_SAME("_diagonal_backward");
MG_SAME("select_scatter");
MG_SAME("slice_scatter");
MG_SAME("diagonal_scatter");
MG_SAME("_restride");
MG_SAME("_unfold_backward");
MG_SAME("masked_fill");
MG_SAME("masked_fill_");
MG_SAME("embedding");
MG_SAME("_embedding_backward");

template <class T>
static void interleave(const T* re, const T* im, T* out, int64_t n) {
  parallel_for(0, n, 32768, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      out[2 * i] = re[i];
      out[2 * i + 1] = im[i];
    }
  });
}

// _complex(real, imag)
static void complex_cpu(Invocation& inv) {
  const TensorImpl &re = inv.in(0), &im = inv.in(1), &out = inv.out();
  const DType real = to_real(out.dtype);
  const auto plain = [&](const TensorImpl& t) { return t.contiguous && t.dtype == real && t.numel == out.numel; };
  if (out.contiguous && plain(re) && plain(im)) {
    char* pairs = out.data();
    if (real == DType::Float32)
      return interleave(re.ptr<float>(), im.ptr<float>(), reinterpret_cast<float*>(pairs), out.numel);
    return interleave(re.ptr<double>(), im.ptr<double>(), reinterpret_cast<double*>(pairs), out.numel);
  }
  for (int k = 0; k < 2; ++k) {
    const TensorImpl& t = inv.in(k);
    const Dims& sizes = inv.out().sizes;
    copy_into(part(inv.out(), k), alias(t, sizes, broadcast_strides(t.sizes, t.strides, sizes), t.offset));
  }
}
MG_KERNEL_COMPLEX("_complex", CPU, complex_cpu);

// f(position) into a 1-d output; points are spaced evenly from both ends, so that both are exact.
template <class F>
static void generate(Invocation& inv, F f) {
  const complex128 start = inv.args[0].as_complex(), end = inv.args[1].as_complex();
  const int64_t n = inv.out().numel;
  const Tensor work = empty(inv.out().sizes, DType::Complex128);
  complex128* o = work.ptr<complex128>();
  const complex128 step = n > 1 ? (end - start) / complex128{double(n - 1), 0} : complex128{};
  for (int64_t i = 0; i < n; ++i)
    o[i] = f(i < (n + 1) / 2 ? start + step * complex128{double(i), 0} : end - step * complex128{double(n - 1 - i), 0});
  copy_into(inv.outs[0], work);
}
static void linspace_cpu(Invocation& inv) {
  generate(inv, [](complex128 z) { return z; });
}
static void logspace_cpu(Invocation& inv) {
  generate(inv, [base = inv.f(5)](complex128 z) { return pow(complex128{base, 0}, z); });
}
MG_KERNEL_COMPLEX("_linspace", CPU, linspace_cpu);
MG_KERNEL_COMPLEX("_logspace", CPU, logspace_cpu);

MG_KERNEL_COMPLEX("normal_", CPU, complex_normal);
MG_KERNEL_COMPLEX("uniform_", CPU, complex_uniform);

}  // namespace mg::cpu
