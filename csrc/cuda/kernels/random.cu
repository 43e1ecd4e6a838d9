// The random ops whose elements are independent. Element i of the result (row-major) depends on the seed, the generator's position and i
// alone: a thread takes one Philox block, which is four numbers of 32 bits or two of 64.
#include "random.h"

#include "../../core/complex_parts.h"
#include "../runtime/graphs.h"
#include "copy.h"

namespace mg::cuda {
namespace {

__global__ void write_range_kernel(int64_t* at, RandomRange drawn) {
  const PhiloxRange range = drawn.now();
  at[0] = int64_t(range.seed), at[1] = int64_t(range.counter);
}

// f(block, number of the first element, values): the values of 4 (32-bit) or 2 (64-bit) neighbouring elements.
template <class T, class W, int each, class F>
__global__ void draw_kernel(T* out, int64_t n, RandomRange drawn, F f) {
  const PhiloxRange range = drawn.now();
  MG_GRID_LOOP(b, (n + each - 1) / each) {
    W values[each];
    f(philox(range.seed, range.counter + uint64_t(b)), b * each, values);
    for (int k = 0; k < each; ++k)
      if (b * each + k < n) out[b * each + k] = convert<T>(values[k]);
  }
}

template <class W, int each, class F>
void draw(const Tensor& out, const RandomRange& range, const F& f) {
  if (out.numel() == 0) return;
  const StagedOut work(out, out.dtype());
  dispatch_real(out.dtype(), [&](auto tag) {
    using T = decltype(tag);
    launch_items(draw_kernel<T, W, each, F>, (out.numel() + each - 1) / each, work.template ptr<T>(), out.numel(), range, f);
  });
  work.commit();
}
template <class W, int each, class F>
void draw_floats(const Tensor& out, const RandomRange& range, const F& f) {
  if (out.numel() == 0) return;
  const StagedOut work(out, out.dtype());
  dispatch_floating(out.dtype(), [&](auto tag) {
    using T = decltype(tag);
    if constexpr (std::is_same_v<T, double> == std::is_same_v<W, double>)
      launch_items(draw_kernel<T, W, each, F>, (out.numel() + each - 1) / each, work.template ptr<T>(), out.numel(), range, f);
  });
  work.commit();
}

// One number from each 32-bit or 64-bit random number.
template <class G>
struct Each32 {
  G g;
  template <class W>
  MG_DEVICE void operator()(const Philox4& b, int64_t first, W (&v)[4]) const {
    for (int k = 0; k < 4; ++k) v[k] = g(b.v[k], first + k);
  }
};
template <class G>
struct Each64 {
  G g;
  template <class W>
  MG_DEVICE void operator()(const Philox4& b, int64_t first, W (&v)[2]) const {
    for (int k = 0; k < 2; ++k) v[k] = g(philox_u64(b, k), first + k);
  }
};

struct Uniform32 {
  float lo, hi;
  int digits;
  MG_DEVICE float operator()(uint32_t x, int64_t) const {
    return digits == 24 && lo == 0 && hi == 1 ? uniform(x) : uniform_between(uniform_bits(x, digits), lo, hi);
  }
};
struct Uniform64 {
  double lo, hi;
  MG_DEVICE double operator()(uint64_t x, int64_t) const { return uniform_between(uniform(x), lo, hi); }
};
// Box-Muller pairs; `mean` and `std` may be tensors, one for each element; grown: exp of it.
template <class W>
struct Normal {
  W mean, std;
  bool grown;
  const W *means, *stds;
  int64_t n;
  MG_DEVICE W finish(W z, int64_t i) const {
    if (means != nullptr) {
      if (i >= n) return 0;
#ifdef __CUDA_ARCH__
      if constexpr (std::is_same_v<W, float>) return __fadd_rn(__fmul_rn(z, stds[i]), means[i]);
      else return __dadd_rn(__dmul_rn(z, stds[i]), means[i]);
#else
      return z * stds[i] + means[i];
#endif
    }
    const W x = random_fma(z, std, mean);
    if (!grown) return x;
    if constexpr (std::is_same_v<W, float>) return ::expf(x);
    else return ::exp(x);
  }
  MG_DEVICE void operator()(const Philox4& b, int64_t first, W (&v)[sizeof(W) == 4 ? 4 : 2]) const {
    if constexpr (sizeof(W) == 4) {
      for (int k = 0; k < 4; k += 2) {
        const NormalPair<float> p = normal_pair(b.v[k], b.v[k + 1]);
        v[k] = finish(p.first, first + k), v[k + 1] = finish(p.second, first + k + 1);
      }
    } else {
      const NormalPair<double> p = normal_pair(philox_u64(b, 0), philox_u64(b, 1));
      v[0] = finish(p.first, first), v[1] = finish(p.second, first + 1);
    }
  }
};
struct Exponential32 {
  float rate;
  MG_DEVICE float operator()(uint32_t x, int64_t) const { return exponential(x) / rate; }
};
struct Exponential64 {
  double rate;
  MG_DEVICE double operator()(uint64_t x, int64_t) const { return exponential(x) / rate; }
};
struct Cauchy {
  double median, sigma;
  MG_DEVICE double operator()(uint64_t x, int64_t) const {
    return median + sigma * ::tan(3.14159265358979323846 * (uniform_between(uniform(x), 0.0, 1.0) - 0.5));
  }
};
struct Geometric {
  double scale;
  MG_DEVICE double operator()(uint64_t x, int64_t) const {
    return ::fmax(1.0, ::ceil(::log1p(-uniform_between(uniform(x), 0.0, 1.0)) * scale));
  }
};
struct RandInt {
  uint64_t low, width;
  MG_DEVICE int64_t operator()(uint64_t x, int64_t) const { return int64_t(low + bounded(x, width)); }
};

// x is kept when x < threshold: probability p to within 2^-32, exact at 0 and 1.
MG_DEVICE uint64_t threshold_of(double p) { return uint64_t(::llround(p * 0x1p32)); }
struct Bernoulli {
  uint64_t threshold;
  const double* each;
  int64_t n;
  FaultNote note;
  MG_DEVICE bool operator()(uint32_t x, int64_t i) const {
    if (each == nullptr) return x < threshold;
    if (i >= n) return false;
    const double p = each[i];
    if (!(p >= 0 && p <= 1)) {
      note_fault(note, kProbabilityFault, i, n);
      return false;
    }
    return x < threshold_of(p);
  }
};

bool wide(const Invocation& inv) { return inv.out().dtype == DType::Float64; }
RandomRange reserve(const Invocation& inv, int generator, int words) {
  return cuda::reserve(generator_of(inv, generator), uint64_t(inv.out().numel) * uint64_t(words));
}

// uniform_(input!, from, to, generator)
void uniform_cuda(Invocation& inv) {
  const DType d = inv.out().dtype;
  const int digits = d == DType::Float16 ? 11 : d == DType::BFloat16 ? 8 : 24;  // so that rounding never reaches `to`
  if (wide(inv)) return draw_floats<double, 2>(inv.outs[0], reserve(inv, 3, 2), Each64<Uniform64>{{inv.f(1), inv.f(2)}});
  draw_floats<float, 4>(inv.outs[0], reserve(inv, 3, 1), Each32<Uniform32>{{float(inv.f(1)), float(inv.f(2)), digits}});
}

void normal_into(Invocation& inv, int generator, double mean, double std, bool grown, const Tensor* each) {
  const int64_t n = inv.out().numel;
  if (wide(inv))
    return draw_floats<double, 2>(inv.outs[0], reserve(inv, generator, 2),
                                  Normal<double>{mean, std, grown, each ? each[0].ptr<double>() : nullptr, each ? each[1].ptr<double>() : nullptr, n});
  draw_floats<float, 4>(inv.outs[0], reserve(inv, generator, 1),
                        Normal<float>{float(mean), float(std), grown, each ? each[0].ptr<float>() : nullptr, each ? each[1].ptr<float>() : nullptr, n});
}
// normal_(input!, mean, std, generator)
void normal_cuda(Invocation& inv) { normal_into(inv, 3, inv.f(1), inv.f(2), false, nullptr); }
void log_normal_cuda(Invocation& inv) { normal_into(inv, 3, inv.f(1), inv.f(2), true, nullptr); }

template <class T>
__global__ void check_std_kernel(const T* std, int64_t n, FaultNote note) {
  MG_GRID_LOOP(i, n) {
    if (std[i] < 0) note_fault(note, kDeviationFault, i, n);
  }
}
// _normal_of(mean, std, generator): a mean and a standard deviation each
void normal_of_cuda(Invocation& inv) {
  const DType compute = float_compute(inv.out().dtype);
  Tensor each[2];
  for (int k = 0; k < 2; ++k) {
    const Tensor t = staged(inv.in(k), compute, inv.out().device);
    each[k] = to_contiguous(*alias(*t, inv.out().sizes, broadcast_strides(t.sizes(), t.strides(), inv.out().sizes), t->offset), compute);
  }
  const int64_t n = each[1].numel();
  if (compute == DType::Float64) launch_items(check_std_kernel<double>, n, static_cast<const double*>(each[1].ptr<double>()), n, fault_note(inv.op));
  else launch_items(check_std_kernel<float>, n, static_cast<const float*>(each[1].ptr<float>()), n, fault_note(inv.op));
  normal_into(inv, 2, 0, 1, false, each);
}

// exponential_(input!, lambd, generator)
void exponential_cuda(Invocation& inv) {
  if (wide(inv)) return draw_floats<double, 2>(inv.outs[0], reserve(inv, 2, 2), Each64<Exponential64>{{inv.f(1)}});
  draw_floats<float, 4>(inv.outs[0], reserve(inv, 2, 1), Each32<Exponential32>{{float(inv.f(1))}});
}
// cauchy_(input!, median, sigma, generator)
void cauchy_cuda(Invocation& inv) { draw<double, 2>(inv.outs[0], reserve(inv, 3, 2), Each64<Cauchy>{{inv.f(1), inv.f(2)}}); }
// geometric_(input!, p, generator)
void geometric_cuda(Invocation& inv) { draw<double, 2>(inv.outs[0], reserve(inv, 2, 2), Each64<Geometric>{{1 / std::log1p(-inv.f(1))}}); }
// _randint_(input!, low, high, generator)
void randint_cuda(Invocation& inv) {
  const uint64_t low = uint64_t(inv.i(1));
  draw<int64_t, 2>(inv.outs[0], reserve(inv, 3, 2), Each64<RandInt>{{low, uint64_t(inv.i(2)) - low}});
}

void bernoulli_into(Invocation& inv, const Value& p, int generator) {
  const TensorImpl& out = inv.out();
  Tensor each;
  if (p.is_tensor()) {
    const Tensor t = staged(*p.t, DType::Float64, out.device);
    each = to_contiguous(*alias(*t, out.sizes, broadcast_strides(t.sizes(), t.strides(), out.sizes), t->offset), DType::Float64);
  }
  const uint64_t common = p.is_tensor() ? 0 : threshold_of(p.as_double());
  draw<bool, 4>(inv.outs[0], reserve(inv, generator, 1), Each32<Bernoulli>{{common, each ? each.ptr<double>() : nullptr, out.numel, fault_note(inv.op)}});
}
// bernoulli_(input!, p: operand, generator)
void bernoulli_inplace_cuda(Invocation& inv) { bernoulli_into(inv, inv.args[1], 2); }
// _bernoulli(input, generator): the input holds the probabilities
void bernoulli_cuda(Invocation& inv) { bernoulli_into(inv, inv.args[0], 1); }

// --- dropout

template <class T>
__global__ void dropout_kernel(T* out, bool* mask, const T* in, int64_t n, RandomRange drawn, uint64_t keep, compute_t<T> scale) {
  using C = compute_t<T>;
  const PhiloxRange range = drawn.now();
  MG_GRID_LOOP(b, (n + 3) / 4) {
    const Philox4 bits = philox(range.seed, range.counter + uint64_t(b));
    for (int k = 0; k < 4 && b * 4 + k < n; ++k) {
      const int64_t i = b * 4 + k;
      const bool kept = bits.v[k] < keep;
      mask[i] = kept;
      out[i] = convert<T>(kept ? C(convert<C>(in[i]) * scale) : C(0));
    }
  }
}
// _dropout(input, p, generator) -> out, mask
void dropout_cuda(Invocation& inv) {
  const double p = inv.f(1);
  const Tensor in = staged(inv.in(0), inv.in(0).dtype);
  const RandomRange range = reserve(inv, 2, 1);
  const StagedOut out(inv.outs[0], in.dtype()), mask(inv.outs[1], DType::Bool);
  dispatch_floating(in.dtype(), [&](auto tag) {
    using T = decltype(tag);
    launch_items(dropout_kernel<T>, (in.numel() + 3) / 4, out.template ptr<T>(), mask.template ptr<bool>(), static_cast<const T*>(in.ptr<T>()), in.numel(),
                 range, threshold_of(1 - p), compute_t<T>(p < 1 ? 1 / (1 - p) : 0));
  });
  out.commit();
  mask.commit();
}

template <class T>
__global__ void masked_scale_kernel(T* out, const T* g, const uint8_t* mask, Offsets<3> offsets, compute_t<T> scale) {
  using C = compute_t<T>;
  MG_GRID_LOOP(i, offsets.count) {
    int64_t at[3];
    offsets.get(i, at);
    *byte_at(out, at[0]) = convert<T>(mask[at[2]] != 0 ? C(convert<C>(*byte_at(g, at[1])) * scale) : C(0));
  }
}
// _masked_scale(g, mask, scale): g * scale where mask, else 0
void masked_scale_cuda(Invocation& inv) {
  LoopPlan plan(inv.out().sizes);
  plan.add(inv.out());
  plan.add(inv.in(0));
  plan.add(inv.in(1));
  plan.finish();
  dispatch_floating(inv.out().dtype, [&](auto tag) {
    using T = decltype(tag);
    with_offsets<3>(plan, [&](const Offsets<3>& offsets, char* const* base) {
      launch_items(masked_scale_kernel<T>, offsets.count, reinterpret_cast<T*>(base[0]), reinterpret_cast<const T*>(base[1]),
                   reinterpret_cast<const uint8_t*>(base[2]), offsets, compute_t<T>(inv.f(2)));
    });
  });
}

MG_CUDA_KERNEL("uniform_", uniform_cuda);
MG_CUDA_KERNEL("normal_", normal_cuda);
MG_CUDA_KERNEL("_normal_of", normal_of_cuda);
MG_CUDA_KERNEL("log_normal_", log_normal_cuda);
MG_CUDA_KERNEL("exponential_", exponential_cuda);
MG_CUDA_KERNEL("cauchy_", cauchy_cuda);
MG_CUDA_KERNEL("geometric_", geometric_cuda);
MG_CUDA_KERNEL("_randint_", randint_cuda);
MG_CUDA_KERNEL("bernoulli_", bernoulli_inplace_cuda);
MG_CUDA_KERNEL("_bernoulli", bernoulli_cuda);
MG_CUDA_KERNEL("_dropout", dropout_cuda);
MG_CUDA_KERNEL("_masked_scale", masked_scale_cuda);
MG_CUDA_KERNEL_COMPLEX("normal_", complex_normal);
MG_CUDA_KERNEL_COMPLEX("uniform_", complex_uniform);

}  // namespace

RandomRange reserve(Generator& generator, uint64_t n_numbers) {
  return capturing() ? reserve_in_capture(generator, n_numbers) : RandomRange{generator.reserve(n_numbers)};
}
void write_range(int64_t* seed_and_counter, const RandomRange& range) { launch_items(write_range_kernel, 1, seed_and_counter, range); }

}  // namespace mg::cuda
