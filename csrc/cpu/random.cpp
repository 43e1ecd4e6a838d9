// The random ops whose elements are independent: uniform_, normal_, exponential_, bernoulli, randint, dropout … Element
// i of the result (row-major) depends on the seed, the generator's position and i alone (core/philox.h), so strides,
// threads and vector width do not matter.
#include <cmath>

#include "../core/op.h"
#include "convert.h"
#include "copy.h"
#include "isa.h"
#include "mask_table.h"
#include "random_table.h"
#include "rows.h"
#include "stream.h"

#define MG_EXTERN_RANDOM(ns)                 \
  namespace mg::cpu::ns {                    \
  extern const RandomTable random_functions; \
  }
MG_EXTERN_RANDOM(portable)
MG_EXTERN_RANDOM(avx2)
MG_EXTERN_RANDOM(avx512)

namespace mg::cpu {

const RandomTable& random_table() {
  static const RandomTable& table = MG_PICK(random_functions);
  return table;
}

namespace {

constexpr int64_t kBlock = 1024;  // elements per staging buffer, a multiple of 64

Generator& generator_of(const Invocation& inv, int k) {
  return inv.has(k) ? *inv.args[k].generator : default_generator(inv.out().device);
}

// Fills `out` in row-major order with blocks made by make(W* block, n, first), converted to the output's dtype.
template <class W, class F>
void generate(const Tensor& out, F&& make) {
  if (out.numel() == 0) return;
  const Tensor dense = out->contiguous ? out : empty(out.sizes(), out.dtype());
  char* data = dense->data();
  const int64_t item = itemsize(out.dtype());
  const bool direct = out.dtype() == dtype_of<W>();
  const RowFn store = row_copier(out.dtype(), dtype_of<W>());
  parallel_for(0, dense.numel(), 16 * kBlock, [&](int64_t begin, int64_t end) {
    alignas(64) W block[kBlock];
    for (int64_t at = begin; at < end; at += kBlock) {
      const int64_t n = std::min(kBlock, end - at);
      if (direct) {
        make(reinterpret_cast<W*>(data) + at, n, at);
      } else {
        make(block, n, at);
        store(data + at * item, item, reinterpret_cast<const char*>(block), sizeof(W), n);
      }
    }
  });
  if (!dense.is(out)) strided_copy(*out, *dense);
}

// make32(float*, n, range, first) or make64(double*, …), by the precision of the output
template <class F32, class F64>
void generate_floats(Invocation& inv, int generator, F32&& make32, F64&& make64) {
  const bool wide = inv.out().dtype == DType::Float64;
  const PhiloxRange range = generator_of(inv, generator).reserve(uint64_t(inv.out().numel) * (wide ? 2 : 1));
  if (wide)
    generate<double>(inv.outs[0], [&](double* out, int64_t n, int64_t first) { make64(out, n, range, first); });
  else
    generate<float>(inv.outs[0], [&](float* out, int64_t n, int64_t first) { make32(out, n, range, first); });
}

// uniform_(input!, from, to, generator)
void uniform_cpu(Invocation& inv) {
  const double lo = inv.f(1), hi = inv.f(2);
  const DType d = inv.out().dtype;
  const int digits = d == DType::Float16 ? 11 : d == DType::BFloat16 ? 8 : 24;  // so that rounding never reaches `to`
  const RandomTable& t = random_table();
  generate_floats(
      inv, 3,
      [&](float* o, int64_t n, PhiloxRange r, int64_t at) { t.uniform32(o, n, r, at, float(lo), float(hi), digits); },
      [&](double* o, int64_t n, PhiloxRange r, int64_t at) { t.uniform64(o, n, r, at, lo, hi); });
}

// normal_(input!, mean, std, generator)
void normal_cpu(Invocation& inv) {
  const double mean = inv.f(1), std = inv.f(2);
  const RandomTable& t = random_table();
  generate_floats(
      inv, 3, [&](float* o, int64_t n, PhiloxRange r, int64_t at) { t.normal32(o, n, r, at, float(mean), float(std)); },
      [&](double* o, int64_t n, PhiloxRange r, int64_t at) { t.normal64(o, n, r, at, mean, std); });
}

// _normal_of(mean, std, generator): a mean and a standard deviation each
void normal_of_cpu(Invocation& inv) {
  const DType compute = inv.out().dtype == DType::Float64 ? DType::Float64 : DType::Float32;
  Tensor each[2];
  for (int k = 0; k < 2; ++k) {
    const TensorImpl& t = inv.in(k);
    each[k] = alias(t, inv.out().sizes, broadcast_strides(t.sizes, t.strides, inv.out().sizes), t.offset);
    each[k] = to_contiguous(*each[k], compute);
  }
  for (int64_t i = 0; i < each[1].numel(); ++i)
    MG_CHECK(!(read_double(*each[1], i) < 0), Runtime, "normal: expects all elements of std >= 0.0: got ",
             read_double(*each[1], i), " at position ", i);
  auto scale = [&]<class T>(T* o, int64_t n, int64_t at) {
    const T *mean = each[0].ptr<T>() + at, *std = each[1].ptr<T>() + at;
    for (int64_t i = 0; i < n; ++i) o[i] = o[i] * std[i] + mean[i];
  };
  const RandomTable& t = random_table();
  generate_floats(
      inv, 2,
      [&](float* o, int64_t n, PhiloxRange r, int64_t at) {
        t.normal32(o, n, r, at, 0, 1);
        scale(o, n, at);
      },
      [&](double* o, int64_t n, PhiloxRange r, int64_t at) {
        t.normal64(o, n, r, at, 0, 1);
        scale(o, n, at);
      });
}

// log_normal_(input!, mean, std, generator)
void log_normal_cpu(Invocation& inv) {
  const double mean = inv.f(1), std = inv.f(2);
  const RandomTable& t = random_table();
  auto exponentiate = [](auto* o, int64_t n) {
    for (int64_t i = 0; i < n; ++i) o[i] = std::exp(o[i]);
  };
  generate_floats(
      inv, 3,
      [&](float* o, int64_t n, PhiloxRange r, int64_t at) {
        t.normal32(o, n, r, at, float(mean), float(std));
        exponentiate(o, n);
      },
      [&](double* o, int64_t n, PhiloxRange r, int64_t at) {
        t.normal64(o, n, r, at, mean, std);
        exponentiate(o, n);
      });
}

// exponential_(input!, lambd, generator)
void exponential_cpu(Invocation& inv) {
  const double rate = inv.f(1);
  const RandomTable& t = random_table();
  generate_floats(
      inv, 2, [&](float* o, int64_t n, PhiloxRange r, int64_t at) { t.exponential32(o, n, r, at, float(rate)); },
      [&](double* o, int64_t n, PhiloxRange r, int64_t at) { t.exponential64(o, n, r, at, rate); });
}

// From one uniform double per element, whatever the output's dtype.
template <class F>
void generate_from_uniform(Invocation& inv, int generator, F&& f) {
  const PhiloxRange range = generator_of(inv, generator).reserve(uint64_t(inv.out().numel) * 2);
  const RandomTable& t = random_table();
  generate<double>(inv.outs[0], [&](double* out, int64_t n, int64_t first) {
    t.uniform64(out, n, range, first, 0, 1);
    for (int64_t i = 0; i < n; ++i) out[i] = f(out[i]);
  });
}

// cauchy_(input!, median, sigma, generator)
void cauchy_cpu(Invocation& inv) {
  const double median = inv.f(1), sigma = inv.f(2);
  generate_from_uniform(inv, 3, [=](double u) { return median + sigma * std::tan(M_PI * (u - 0.5)); });
}

// geometric_(input!, p, generator)
void geometric_cpu(Invocation& inv) {
  const double scale = 1 / std::log1p(-inv.f(1));
  generate_from_uniform(inv, 2, [=](double u) { return std::max(1.0, std::ceil(std::log1p(-u) * scale)); });
}

// _randint_(input!, low, high, generator)
void randint_cpu(Invocation& inv) {
  const uint64_t low = uint64_t(inv.i(1)), width = uint64_t(inv.i(2)) - low;
  const PhiloxRange range = generator_of(inv, 3).reserve(uint64_t(inv.out().numel) * 2);
  const RandomTable& t = random_table();
  generate<int64_t>(inv.outs[0], [&](int64_t* out, int64_t n, int64_t first) {
    uint32_t bits[2 * kBlock];
    t.bits32(bits, 2 * n, range, 2 * first);
    for (int64_t i = 0; i < n; ++i)
      out[i] = int64_t(low + bounded(uint64_t(bits[2 * i + 1]) << 32 | bits[2 * i], width));
  });
}

// x is kept when x < threshold: probability p to within 2^-32, exact at 0 and 1.
uint64_t threshold_of(double p) { return uint64_t(std::llround(p * 0x1p32)); }

void bernoulli_into(Invocation& inv, const Value& p, int generator) {
  const PhiloxRange range = generator_of(inv, generator).reserve(uint64_t(inv.out().numel));
  const RandomTable& t = random_table();
  Tensor each;
  if (p.is_tensor()) {
    each = alias(*p.t, inv.out().sizes, broadcast_strides(p.t->sizes, p.t->strides, inv.out().sizes), p.t->offset);
    each = to_contiguous(*each, DType::Float64);
    for (int64_t i = 0; i < each.numel(); ++i)
      MG_CHECK(each.ptr<double>()[i] >= 0 && each.ptr<double>()[i] <= 1, Runtime, inv.op.name,
               ": expected 0 <= p <= 1, got ", each.ptr<double>()[i], " at position ", i);
  }
  const uint64_t common = p.is_tensor() ? 0 : threshold_of(p.as_double());
  generate<bool>(inv.outs[0], [&](bool* out, int64_t n, int64_t first) {
    uint32_t bits[kBlock];
    t.bits32(bits, n, range, first);
    if (each) {
      const double* probability = each.ptr<double>() + first;
      for (int64_t i = 0; i < n; ++i) out[i] = bits[i] < threshold_of(probability[i]);
    } else {
      for (int64_t i = 0; i < n; ++i) out[i] = bits[i] < common;
    }
  });
}

// bernoulli_(input!, p: operand, generator)
void bernoulli_inplace_cpu(Invocation& inv) { bernoulli_into(inv, inv.args[1], 2); }
// _bernoulli(input, generator): the input holds the probabilities
void bernoulli_cpu(Invocation& inv) { bernoulli_into(inv, inv.args[0], 1); }

// _dropout(input, p, generator) -> out, mask
void dropout_cpu(Invocation& inv) {
  const Tensor in = contiguous(inv.tensor(0));
  const double p = inv.f(1);
  const uint64_t keep = threshold_of(1 - p);
  const double scale = p < 1 ? 1 / (1 - p) : 0;
  const PhiloxRange range = generator_of(inv, 2).reserve(uint64_t(in.numel()));
  const RandomTable& t = random_table();
  const Tensor out = inv.out(0).contiguous ? inv.outs[0] : empty(in.sizes(), in.dtype());
  const Tensor mask = inv.out(1).contiguous ? inv.outs[1] : empty(in.sizes(), DType::Bool);
  bool* kept = mask.ptr<bool>();
  if (keep == 0) {
    fill_zero(out);
    fill_zero(mask);
  } else {
    const uint32_t last = uint32_t(keep - 1);
    const int64_t item = itemsize(in.dtype());
    const RowFn widen = row_copier(DType::Float32, in.dtype()), store = row_copier(in.dtype(), DType::Float32);
    const bool around = in.numel() * item >= kStreamBytes;
    parallel_for(0, in.numel(), 16 * kBlock, [&](int64_t begin, int64_t end) {
      alignas(64) uint32_t bits[kBlock];
      alignas(64) float x[kBlock], y[kBlock];
      Stream stream;
      for (int64_t at = begin; at < end; at += kBlock) {
        const int64_t n = std::min(kBlock, end - at);
        const char* src = in->data() + at * item;
        char* dst = out->data() + at * item;
        t.bits32(bits, n, range, at);
        if (in.dtype() == DType::Float32) {
          float* const to = out.ptr<float>() + at;
          mask_table().drop32(around ? y : to, kept + at, in.ptr<float>() + at, bits, last, float(scale), n);
          if (around) stream.copy(to, y, n * item);
        } else if (in.dtype() == DType::Float64) {
          mask_table().drop64(out.ptr<double>() + at, kept + at, in.ptr<double>() + at, bits, last, scale, n);
        } else {
          widen(reinterpret_cast<char*>(x), 4, src, item, n);
          mask_table().drop32(y, kept + at, x, bits, last, float(scale), n);
          store(dst, item, reinterpret_cast<const char*>(y), 4, n);
        }
      }
    });
  }
  if (!out.is(inv.outs[0])) strided_copy(inv.out(0), *out);
  if (!mask.is(inv.outs[1])) strided_copy(inv.out(1), *mask);
}

// _masked_scale(g, mask, scale): g * scale where mask, else 0
void masked_scale_cpu(Invocation& inv) {
  LoopPlan plan(inv.out().sizes);
  plan.add(inv.out());
  plan.add(inv.in(0));
  plan.add(inv.in(1));
  plan.finish();
  dispatch(inv.out().dtype, [&](auto tag) {
    using T = decltype(tag);
    using W = std::conditional_t<std::is_same_v<T, double>, double, float>;
    const W scale = W(inv.f(2));
    if constexpr (std::is_floating_point_v<T> || is_low_precision<T>)
      for_rows(plan, [&](char** p, int64_t n) {
        const int64_t so = plan.inner_stride(0), sg = plan.inner_stride(1), sm = plan.inner_stride(2);
        if (so == int64_t(sizeof(T)) && sg == so && sm == 1) {
          const bool* m = reinterpret_cast<const bool*>(p[2]);
          if constexpr (std::is_same_v<T, float>)
            return mask_table().scale32(reinterpret_cast<T*>(p[0]), reinterpret_cast<const T*>(p[1]), m, scale, n);
          if constexpr (std::is_same_v<T, double>)
            return mask_table().scale64(reinterpret_cast<T*>(p[0]), reinterpret_cast<const T*>(p[1]), m, scale, n);
        }
        for (int64_t i = 0; i < n; ++i)
          *reinterpret_cast<T*>(p[0] + i * so) =
              p[2][i * sm] ? T(W(*reinterpret_cast<const T*>(p[1] + i * sg)) * scale) : T(0);
      });
  });
}

}  // namespace

MG_KERNEL("uniform_", CPU, uniform_cpu);
MG_KERNEL("normal_", CPU, normal_cpu);
MG_KERNEL("_normal_of", CPU, normal_of_cpu);
MG_KERNEL("log_normal_", CPU, log_normal_cpu);
MG_KERNEL("exponential_", CPU, exponential_cpu);
MG_KERNEL("cauchy_", CPU, cauchy_cpu);
MG_KERNEL("geometric_", CPU, geometric_cpu);
MG_KERNEL("_randint_", CPU, randint_cpu);
MG_KERNEL("bernoulli_", CPU, bernoulli_inplace_cpu);
MG_KERNEL("_bernoulli", CPU, bernoulli_cpu);
MG_KERNEL("_dropout", CPU, dropout_cpu);
MG_KERNEL("_masked_scale", CPU, masked_scale_cpu);

}  // namespace mg::cpu
