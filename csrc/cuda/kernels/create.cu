// Tensors made out of numbers: arange, linspace, logspace, eye; and frexp.
#include "../kernel.h"
#include "complex_math.h"
#include "copy.h"

namespace mg::cuda {
namespace {

// a + b * c, rounded twice as the CPU's baseline code does: the last bits agree.
MG_DEVICE double line_at(double a, double b, double c) {
#ifdef __CUDA_ARCH__
  return __dadd_rn(a, __dmul_rn(b, c));
#else
  return a + b * c;
#endif
}

struct Whole {
  uint64_t start, step;  // unsigned: wraps
  MG_DEVICE int64_t operator()(int64_t i) const { return int64_t(start + uint64_t(i) * step); }
};
struct Ramp {
  double start, step;
  MG_DEVICE double operator()(int64_t i) const { return line_at(start, double(i), step); }
};
// Symmetric about the middle, so that both ends are exact.
struct Line {
  double start, end, step;
  int64_t n;
  MG_DEVICE double operator()(int64_t i) const {
    return n == 1 || i < n / 2 ? line_at(start, step, double(i)) : line_at(end, -step, double(n - 1 - i));
  }
};
struct Powers {
  Line exponent;
  double base;
  MG_DEVICE double operator()(int64_t i) const { return ::pow(base, exponent(i)); }
};
struct ComplexLine {
  complex128 start, end, step;
  int64_t n;
  double base;  // of logspace; 0: the line itself
  MG_DEVICE complex128 operator()(int64_t i) const {
    using namespace zmath;
    const bool first = i < (n + 1) / 2;
    const double count = double(first ? i : n - 1 - i);
    const Z z = first ? start + count * step : end - count * step;
    return base == 0 ? z : zmath::pow(Z{base, 0}, z);
  }
};

template <class T, class F>
__global__ void generate_kernel(T* out, int64_t stride, int64_t n, F f) {
  MG_GRID_LOOP(i, n) out[i * stride] = convert<T>(f(i));
}
template <class F>
void generate(const TensorImpl& out, const F& f) {
  if (out.numel == 0) return;
  dispatch_any(out.dtype, [&](auto tag) {
    using T = decltype(tag);
    launch_items(generate_kernel<T, F>, out.numel, static_cast<T*>(static_cast<void*>(out.data())), out.strides[0], out.numel, f);
  });
}

// _arange(start, end, step, dtype, device)
void arange_cuda(Invocation& inv) {
  if (inv.args[0].kind != Kind::Float && inv.args[2].kind != Kind::Float)
    return generate(inv.out(), Whole{uint64_t(inv.i(0)), uint64_t(inv.i(2))});
  const double start = inv.f(0), step = inv.f(2);
  if (is_floating(inv.out().dtype)) return generate(inv.out(), Ramp{start, step});
  generate(inv.out(), Whole{uint64_t(convert<int64_t>(start)), uint64_t(convert<int64_t>(step))});  // PyTorch converts the ends first
}

// Float32: the ends and the step are rounded first, as PyTorch does.
Line line(double start, double end, int64_t n, DType dtype) {
  double step = n > 1 ? (end - start) / double(n - 1) : 0;
  if (dtype == DType::Float32) {
    start = float(start), end = float(end);
    step = n > 1 ? (float(end) - float(start)) / float(n - 1) : 0;
  }
  return {start, end, step, n};
}
void linspace_cuda(Invocation& inv) { generate(inv.out(), line(inv.f(0), inv.f(1), inv.i(2), inv.out().dtype)); }
// _logspace(start, end, steps, dtype, device, base)
void logspace_cuda(Invocation& inv) { generate(inv.out(), Powers{line(inv.f(0), inv.f(1), inv.i(2), DType::Float64), inv.f(5)}); }

ComplexLine complex_line(Invocation& inv, double base) {
  using namespace zmath;
  const complex128 start = inv.args[0].as_complex(), end = inv.args[1].as_complex();
  const int64_t n = inv.out().numel;
  const complex128 step = n > 1 ? (end - start) / complex128{double(n - 1), 0} : complex128{};
  return {start, end, step, n, base};
}
void complex_linspace_cuda(Invocation& inv) { generate(inv.out(), complex_line(inv, 0)); }
void complex_logspace_cuda(Invocation& inv) { generate(inv.out(), complex_line(inv, inv.f(5))); }

void eye_cuda(Invocation& inv) {
  TensorImpl& out = inv.out();
  fill(out, Value(0));
  const int64_t n = std::min(out.sizes[0], out.sizes[1]);
  if (n > 0) fill(*alias(out, Dims{n}, Dims{out.strides[0] + out.strides[1]}, out.offset), Value(1));
}

template <class T>
__global__ void frexp_kernel(T* mantissa, int32_t* exponent, const T* x, int64_t n) {
  MG_GRID_LOOP(i, n) {
    int e = 0;
    const T v = x[i];
    T m;
    if constexpr (std::is_same_v<T, float>) m = ::frexpf(v, &e);
    else m = ::frexp(v, &e);
    mantissa[i] = m;
    exponent[i] = v - v == 0 ? e : 0;  // unspecified for infinities and NaN
  }
}
// _frexp(input) -> mantissa, exponent: the 16-bit floats go through float, which holds their mantissas exactly
void frexp_cuda(Invocation& inv) {
  const DType compute = float_compute(inv.in(0).dtype);
  const Tensor x = staged(inv.in(0), compute);
  const StagedOut mantissa(inv.outs[0], compute), exponent(inv.outs[1], DType::Int32);
  const auto run = [&](auto tag) {
    using T = decltype(tag);
    launch_items(frexp_kernel<T>, x.numel(), mantissa.template ptr<T>(), exponent.template ptr<int32_t>(), static_cast<const T*>(x.ptr<T>()), x.numel());
  };
  if (compute == DType::Float64) run(double{});
  else run(float{});
  mantissa.commit();
  exponent.commit();
}

MG_CUDA_KERNEL("_arange", arange_cuda);
MG_CUDA_KERNEL("_linspace", linspace_cuda);
MG_CUDA_KERNEL("_logspace", logspace_cuda);
MG_CUDA_KERNEL("_eye", eye_cuda);
MG_CUDA_KERNEL("_frexp", frexp_cuda);
MG_CUDA_KERNEL_COMPLEX("_linspace", complex_linspace_cuda);
MG_CUDA_KERNEL_COMPLEX("_logspace", complex_logspace_cuda);
MG_CUDA_KERNEL_COMPLEX("_eye", nullptr);

}  // namespace
}  // namespace mg::cuda
