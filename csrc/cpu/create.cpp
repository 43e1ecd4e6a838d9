// Kernels that make tensors out of numbers: arange, linspace, logspace, eye (`_full` is in copy_ops.cpp).
#include <cmath>

#include "../core/op.h"
#include "convert.h"
#include "copy.h"
#include "rows.h"

namespace mg::cpu {

// Writes f(i), a double or an int64, into a 1-d output of any dtype and stride.
template <class F>
static void generate(const TensorImpl& out, F&& f) {
  if (out.numel == 0) return;
  const int64_t step = out.strides[0];
  char* const base = out.data();
  dispatch(out.dtype, [&](auto tag) {
    using T = decltype(tag);
    T* data = reinterpret_cast<T*>(base);
    parallel_for(0, out.numel, kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) data[i * step] = convert<T>(f(i));
    });
  });
}

// _arange(start, end, step, dtype, device)
static void arange_cpu(Invocation& inv) {
  if (inv.args[0].kind != Kind::Float && inv.args[2].kind != Kind::Float) {
    const uint64_t start = uint64_t(inv.i(0)), step = uint64_t(inv.i(2));  // unsigned: wraps instead of overflowing
    return generate(inv.out(), [=](int64_t i) { return int64_t(start + uint64_t(i) * step); });
  }
  const double start = inv.f(0), step = inv.f(2);
  if (is_floating(inv.out().dtype)) return generate(inv.out(), [=](int64_t i) { return start + double(i) * step; });
  // PyTorch converts the ends first: arange(0, 3, 0.5, dtype=int64) steps by int(0.5).
  const uint64_t whole = uint64_t(convert<int64_t>(start)), by = uint64_t(convert<int64_t>(step));
  generate(inv.out(), [=](int64_t i) { return int64_t(whole + uint64_t(i) * by); });
}

// Symmetric about the middle, so that both ends are exact. Float32: the ends and the step are rounded first, as PyTorch does, so that the
// values agree to the last bit (a float times a count is exact in double).
static auto line(double start, double end, int64_t n, DType dtype) {
  double step = n > 1 ? (end - start) / double(n - 1) : 0;
  if (dtype == DType::Float32) {
    start = float(start), end = float(end);
    step = n > 1 ? (float(end) - float(start)) / float(n - 1) : 0;
  }
  return [=](int64_t i) { return n == 1 || i < n / 2 ? start + step * double(i) : end - step * double(n - 1 - i); };
}

static void linspace_cpu(Invocation& inv) { generate(inv.out(), line(inv.f(0), inv.f(1), inv.i(2), inv.out().dtype)); }

// _logspace(start, end, steps, dtype, device, base)
static void logspace_cpu(Invocation& inv) {
  const auto exponent = line(inv.f(0), inv.f(1), inv.i(2), DType::Float64);
  const double base = inv.f(5);
  generate(inv.out(), [=](int64_t i) { return std::pow(base, exponent(i)); });
}

static void eye_cpu(Invocation& inv) {
  TensorImpl& out = inv.out();
  fill_zero(inv.outs[0]);
  const int64_t n = std::min(out.sizes[0], out.sizes[1]);
  if (n > 0) fill(*alias(out, Dims{n}, Dims{out.strides[0] + out.strides[1]}, out.offset), 1.0, 1);
}

static void empty_cpu(Invocation&) {}  // call() has allocated it

MG_KERNEL("_empty", CPU, empty_cpu);
MG_KERNEL("_empty_strided", CPU, empty_cpu);
MG_KERNEL("_arange", CPU, arange_cpu);
MG_KERNEL("_linspace", CPU, linspace_cpu);
MG_KERNEL("_logspace", CPU, logspace_cpu);
MG_KERNEL("_eye", CPU, eye_cpu);

}  // namespace mg::cpu
