// frexp: mantissa and exponent of every element, x == mantissa * 2 ** exponent with 0.5 <= |mantissa| < 1.
#include <cmath>

#include "../core/op.h"
#include "../core/parallel.h"

namespace mg::cpu {

namespace {

template <class T>
void split(const T* x, T* mantissa, int32_t* exponent, int64_t n) {
  parallel_for(0, n, 16384, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      int e = 0;  // frexp leaves it unspecified for infinities and NaN
      mantissa[i] = std::frexp(x[i], &e);
      exponent[i] = std::isfinite(x[i]) ? e : 0;
    }
  });
}

// float16 and bfloat16 go through float, which holds their mantissas exactly.
void frexp_cpu(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  const DType compute = in.dtype == DType::Float64 ? DType::Float64 : DType::Float32;
  const Tensor x = to_contiguous(in, compute);
  const Tensor mantissa = empty(in.sizes, compute), exponent = empty(in.sizes, DType::Int32);
  if (compute == DType::Float64) split(x.ptr<double>(), mantissa.ptr<double>(), exponent.ptr<int32_t>(), in.numel);
  else split(x.ptr<float>(), mantissa.ptr<float>(), exponent.ptr<int32_t>(), in.numel);
  copy_into(inv.outs[0], mantissa);
  copy_into(inv.outs[1], exponent);
}

MG_KERNEL("_frexp", CPU, frexp_cpu);

}  // namespace

}  // namespace mg::cpu
