// Every pointwise kernel, on every instruction set this machine has, against scalar double arithmetic: random values,
// special values, all tail lengths, in place; and the worst error in ulp of the float functions over a sample of all
// bit patterns.
//
// The reference expands the same csrc/scalar.h lines with T = double, so that a function of Vec is compared with the C
// library's. MINIGRAD_ULP_POINTS sets the sample size (default 300000 per function and instruction set);
// MINIGRAD_ULP_VERBOSE=1 prints the table.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "../../csrc/cpu/pointwise_table.h"
#include "../../csrc/scalar_math.h"
#include "check.h"

using namespace mg;
using namespace mg::cpu;
using namespace mg::scalar;

// --- the reference
// Inside mg::scalar, so that exp(double) means the overload there and not ::exp.
namespace mg::scalar::reference_ops {
#define F1(name, cls, res, a, ...)            \
  struct op_##name {                          \
    template <class T>                        \
    static auto apply([[maybe_unused]] T a) { \
      return __VA_ARGS__;                     \
    }                                         \
  };
#define F2(name, cls, res, a, b, ...)                               \
  struct op_##name {                                                \
    template <class T>                                              \
    static auto apply([[maybe_unused]] T a, [[maybe_unused]] T b) { \
      return __VA_ARGS__;                                           \
    }                                                               \
  };
#define F3(name, cls, res, a, b, c, ...) \
  struct op_##name {                     \
    template <class T>                   \
    static auto apply(T a, T b, T c) {   \
      return __VA_ARGS__;                \
    }                                    \
  };
#define F4(name, cls, res, a, b, c, d, ...) \
  struct op_##name {                        \
    template <class T>                      \
    static auto apply(T a, T b, T c, T d) { \
      return __VA_ARGS__;                   \
    }                                       \
  };
#define FW(name, cls, res, m, a, b, ...) \
  struct op_##name {                     \
    template <class T>                   \
    static auto apply(T m0, T a, T b) {  \
      const bool m = m0 != T(0);         \
      return __VA_ARGS__;                \
    }                                    \
  };
#define MG_OP1 F1
#define MG_OP2 F2
#define MG_DIV2 F2
#define MG_OP3 F3
#define MG_OP4 F4
#define MG_WHERE FW
#include "../../csrc/scalar.h"
}  // namespace mg::scalar::reference_ops

namespace {

using namespace mg::scalar::reference_ops;

struct Reference {
  const char* name;
  char cls;
  double (*real)(const double* x);            // classes F, N, A
  int64_t (*whole[kDTypes])(const int64_t*);  // classes N, A, I
};
template <class R>
double to_double(R r) {
  return double(r);
}
template <class R>
int64_t to_int(Int<R> r) {
  return int64_t(r.v);
}
int64_t to_int(int r) { return r; }
template <class Op, int N, class T>
auto apply_to(const T* x) {
  if constexpr (N == 1)
    return Op::apply(x[0]);
  else if constexpr (N == 2)
    return Op::apply(x[0], x[1]);
  else if constexpr (N == 3)
    return Op::apply(x[0], x[1], x[2]);
  else
    return Op::apply(x[0], x[1], x[2], x[3]);
}
template <class Op, int N>
double real_reference(const double* x) {
  return to_double(apply_to<Op, N>(x));
}
template <class Op, int N, class T>
int64_t int_reference(const int64_t* x) {
  Int<T> v[4] = {T(0), T(0), T(0), T(0)};
  for (int k = 0; k < N; ++k) v[k] = Int<T>(T(x[k]));
  return to_int(apply_to<Op, N>(v));
}
template <class Op, int N, char C>
Reference reference(const char* name) {
  Reference r{name, C, nullptr, {}};
  if constexpr (C != 'I') r.real = real_reference<Op, N>;
  if constexpr (C != 'F') {
    r.whole[int(DType::UInt8)] = int_reference<Op, N, uint8_t>;
    r.whole[int(DType::Int8)] = int_reference<Op, N, int8_t>;
    r.whole[int(DType::Int16)] = int_reference<Op, N, int16_t>;
    r.whole[int(DType::Int32)] = int_reference<Op, N, int32_t>;
    r.whole[int(DType::Int64)] = int_reference<Op, N, int64_t>;
  }
  if constexpr (C == 'A' || C == 'I') r.whole[int(DType::Bool)] = int_reference<Op, N, bool>;
  return r;
}
const Reference references[] = {
#define MG_OP1(name, cls, ...) reference<op_##name, 1, *#cls>(#name),
#define MG_OP2(name, cls, ...) reference<op_##name, 2, *#cls>(#name),
#define MG_DIV2(name, cls, ...) reference<op_##name, 2, *#cls>(#name),
#define MG_OP3(name, cls, ...) reference<op_##name, 3, *#cls>(#name),
#define MG_OP4(name, cls, ...) reference<op_##name, 4, *#cls>(#name),
#define MG_WHERE(name, cls, ...) reference<op_##name, 3, *#cls>(#name),
#include "../../csrc/scalar.h"
};

struct Rng {  // splitmix64
  uint64_t s = 42;
  uint64_t next() {
    uint64_t z = (s += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  double uniform() { return double(next() >> 11) * 0x1p-53; }
};

const PointwiseKernel* find_in(Isa isa, const char* name) {
  const PointwiseTables t = pointwise_tables(isa);
  for (const PointwiseKernel* row : {t.unary, t.binary, t.ternary})
    for (; row->name; ++row)
      if (!std::strcmp(row->name, name)) return row;
  return nullptr;
}

// Distance in units of the last place of T at the exact value. Both NaN, or the same infinity, is 0.
template <class T, class R>
double ulps(T got, R want) {
  if (std::isnan(got) || std::isnan(want)) return std::isnan(got) && std::isnan(want) ? 0 : 1e30;
  if (std::isinf(got) || std::isinf(T(want))) {
    if (got == T(want)) return 0;
    const T largest = std::numeric_limits<T>::max();  // infinity counts as the number after the largest
    if (std::isinf(got)) got = std::copysign(largest, got);
    if (std::isinf(T(want))) want = std::copysign(R(largest), want);
    if (got == T(want)) return 1;
  }
  int e;
  std::frexp(want, &e);
  e = std::max(e, std::numeric_limits<T>::min_exponent);
  return double(std::fabs(R(got) - want) / std::ldexp(R(1), e - std::numeric_limits<T>::digits));
}

// Ops whose float form cannot be within a few ulp of the double one (cancellation or a discontinuity); compared with a
// tolerance relative to the largest operand instead.
bool cancels(const std::string& n) {
  for (const char* c : {"add",
                        "sub",
                        "addcmul",
                        "addcdiv",
                        "lerp",
                        "tanhshrink",
                        "mish",
                        "lgamma",
                        "digamma",
                        "logaddexp",
                        "logaddexp2",
                        "frac",
                        "floor_divide",
                        "sinc",
                        "erfinv",
                        "silu_backward",
                        "gelu_tanh",
                        "gelu_erf_backward",
                        "gelu_tanh_backward",
                        "hardswish_backward"})
    if (n.rfind(c, 0) == 0) return true;
  return false;
}

const double specials[] = {0.0,    -0.0, 1,     -1,   0.5,   -0.5,     2,         -2,   3,     -3,          1.5,
                           2.5,    -2.5, 20,    -20,  88,    -88,      100,       -100, 1e-20, -1e-20,      1e-40,
                           -1e-40, 1e10, -1e10, 3e38, -3e38, INFINITY, -INFINITY, NAN,  6,     0.99999994f, 1.0000001f};

template <class T>
T random_real(Rng& rng) {
  const int kind = int(rng.next() % 8);
  if (kind == 0) return T(specials[rng.next() % (sizeof specials / sizeof *specials)]);
  if (kind == 1) return T((rng.uniform() - 0.5) * 200);
  if (kind == 2) return T(std::ldexp(rng.uniform() - 0.5, int(rng.next() % 60) - 30));
  if (kind == 3) return T(int(rng.next() % 11) - 5);
  return T((rng.uniform() - 0.5) * 8);
}

struct Buffers {
  static constexpr int64_t kMax = 4096, kGuard = 64;
  std::vector<char> in[4], out;
  Buffers() : out(8 * kMax + 2 * kGuard) {
    for (auto& b : in) b.resize(8 * kMax);
  }
};

bool guards_intact(const Buffers& b, int64_t bytes) {
  for (int64_t i = 0; i < Buffers::kGuard; ++i)
    if (b.out[size_t(i)] != 0x5a || b.out[size_t(Buffers::kGuard + bytes + i)] != 0x5a) return false;
  return true;
}

template <class T>
void test_real(Isa isa, const Reference& ref, Rng& rng, int64_t n) {
  const PointwiseKernel* row = find_in(isa, ref.name);
  const PointwiseFn fn = row ? row->fn[int(dtype_of<T>())] : nullptr;
  CHECK(fn != nullptr);
  if (!fn) return;
  Buffers b;
  const void* in[4];
  for (int k = 0; k < row->arity; ++k) {
    in[k] = b.in[k].data();
    for (int64_t i = 0; i < n; ++i) {
      if (k == 0 && row->mask)
        reinterpret_cast<uint8_t*>(b.in[k].data())[i] = uint8_t(rng.next() % 2 * (1 + rng.next() % 255));
      else
        reinterpret_cast<T*>(b.in[k].data())[i] = random_real<T>(rng);
    }
  }
  std::memset(b.out.data(), 0x5a, b.out.size());
  T* out = reinterpret_cast<T*>(b.out.data() + Buffers::kGuard);
  const uint8_t* bools = reinterpret_cast<uint8_t*>(out);
  const bool is_bool = row->result == PointwiseResult::BOOL;
  CHECK(fn(out, in, n) == 0);
  CHECK(guards_intact(b, n * int64_t(is_bool ? 1 : sizeof(T))));
  for (int64_t i = 0; i < n; ++i) {
    double x[4] = {}, scale = 0, least = 1;  // largest and smallest nonzero operand
    for (int k = 0; k < row->arity; ++k) {
      x[k] =
          k == 0 && row->mask ? double(static_cast<const uint8_t*>(in[k])[i]) : double(static_cast<const T*>(in[k])[i]);
      scale = std::max(scale, std::fabs(x[k]));
      if (x[k] != 0) least = std::min(least, std::fabs(x[k]));
    }
    const double want = ref.real(x), got = is_bool ? double(bools[i]) : double(out[i]);
    bool ok;
    if (is_bool)
      ok = got == want;
    else if (std::isnan(want) || std::isnan(got))
      ok = std::isnan(want) && std::isnan(got);
    else if (cancels(ref.name))
      ok = std::isinf(T(want)) || std::isinf(got) || scale > 1e15 ||
           std::fabs(got - want) <= (sizeof(T) == 4 ? 1e-5 : 1e-12) * (1 + scale) * (1 + scale) ||
           std::fabs(got - want) <= (sizeof(T) == 4 ? 2e-5 : 1e-12) * std::fabs(want) ||
           std::strstr("floor_divide trunc_divide frac", ref.name);
    else
      ok = ulps(T(got), want) <= (std::strstr("celu softplus softplus_backward", ref.name) ? 1000 : 5) ||
           std::fabs(got - want) < 1e-37 || std::fabs(want) > 3e38;
    // intermediate overflow in float, and the sign of fmod-like results one ulp from a multiple, are not errors
    if (!ok && sizeof(T) == 4 && (scale > 1e18 || least < 1e-18)) ok = true;
    if (!ok)
      std::fprintf(stderr, "%s %s %s: (%.9g, %.9g, %.9g, %.9g) gave %.9g, expected %.9g\n", isa_name(isa), ref.name,
                   sizeof(T) == 4 ? "f32" : "f64", x[0], x[1], x[2], x[3], got, want);
    CHECK(ok);
  }
  // In place: out is operand k.
  if (is_bool) return;
  const std::vector<char> expected(reinterpret_cast<char*>(out), reinterpret_cast<char*>(out + n));
  for (int k = row->mask ? 1 : 0; k < row->arity; ++k) {
    const std::vector<char> saved = b.in[k];
    fn(b.in[k].data(), in, n);
    CHECK(n == 0 || std::memcmp(b.in[k].data(), expected.data(), expected.size()) == 0);
    b.in[k] = saved;
    in[k] = b.in[k].data();
  }
}

template <class T>
void test_int(Isa isa, const Reference& ref, Rng& rng, int64_t n) {
  using S = std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>;
  const int d = int(dtype_of<T>());
  const PointwiseKernel* row = find_in(isa, ref.name);
  const PointwiseFn fn = row ? row->fn[d] : nullptr;
  CHECK((fn != nullptr) == (ref.whole[d] != nullptr));
  if (!fn || !ref.whole[d]) return;
  Buffers b;
  const void* in[4];
  for (int k = 0; k < row->arity; ++k) {
    in[k] = b.in[k].data();
    for (int64_t i = 0; i < n; ++i) {
      const uint64_t r = rng.next();
      T v = r % 4 == 0    ? T(r >> 8)
            : r % 4 == 1  ? T(int64_t(r >> 8) % 10 - 5)
            : r % 32 == 2 ? std::numeric_limits<T>::min()
                          : T(int64_t(r >> 8) % 40 - 20);
      if (row->can_fail && k == 1 && v == T(0)) v = T(1);
      if (k == 0 && row->mask)
        reinterpret_cast<uint8_t*>(b.in[k].data())[i] = uint8_t(r % 2);
      else
        reinterpret_cast<S*>(b.in[k].data())[i] = S(v);
    }
  }
  std::memset(b.out.data(), 0x5a, b.out.size());
  S* out = reinterpret_cast<S*>(b.out.data() + Buffers::kGuard);
  const bool is_bool = row->result == PointwiseResult::BOOL;
  CHECK(fn(out, in, n) == 0);
  CHECK(guards_intact(b, n * int64_t(is_bool ? 1 : sizeof(S))));
  for (int64_t i = 0; i < n; ++i) {
    int64_t x[4] = {};
    for (int k = 0; k < row->arity; ++k)
      x[k] = k == 0 && row->mask ? int64_t(static_cast<const uint8_t*>(in[k])[i])
                                 : int64_t(static_cast<const S*>(in[k])[i]);
    const int64_t want = ref.whole[d](x), got = is_bool ? int64_t(reinterpret_cast<uint8_t*>(out)[i]) : int64_t(out[i]);
    if (want != got)
      std::fprintf(stderr, "%s %s %s: (%ld, %ld, %ld) gave %ld, expected %ld\n", isa_name(isa), ref.name,
                   dtype_name(DType(d)), long(x[0]), long(x[1]), long(x[2]), long(got), long(want));
    CHECK(want == got);
  }
  if (row->can_fail && n > 0) {
    const_cast<S*>(static_cast<const S*>(in[1]))[n - 1] = S(0);
    CHECK(fn(out, in, n) == 1);
  }
}

// --- ulp of the unary functions
struct Bound {
  const char* name;
  double f32;
};
const Bound bounds[] = {{"exp", 2},        {"exp2", 2},       {"expm1", 2},        {"log", 2},      {"log2", 2},
                        {"log10", 2},      {"log1p", 2},      {"sin", 2},          {"cos", 2},      {"tan", 1},
                        {"asin", 1},       {"acos", 1},       {"atan", 1},         {"sinh", 1},     {"cosh", 1},
                        {"tanh", 2},       {"asinh", 1},      {"acosh", 1},        {"atanh", 1},    {"sigmoid", 2},
                        {"erf", 2},        {"erfc", 3},       {"erfinv", 1},       {"lgamma", 1},   {"digamma", 1},
                        {"sqrt", 0.5},     {"rsqrt", 1.5},    {"reciprocal", 0.5}, {"gelu_erf", 4}, {"silu", 3},
                        {"logsigmoid", 3}, {"round_even", 0}, {"floor", 0},        {"ceil", 0},     {"trunc", 0}};

const Reference& reference_of(const char* name) {
  for (const Reference& r : references)
    if (!std::strcmp(r.name, name)) return r;
  std::abort();
}

void test_ulp(Isa isa, const Bound& bound, int64_t points, bool verbose) {
  const PointwiseKernel* row = find_in(isa, bound.name);
  const Reference& ref = reference_of(bound.name);
  std::vector<float> x(4096), y(4096);
  const uint64_t step = (uint64_t(1) << 32) / uint64_t(points) | 1;
  double worst = 0;
  float at = 0, gave = 0;
  for (uint64_t bits = 0; bits < uint64_t(1) << 32;) {
    int64_t n = 0;
    for (; n < 4096 && bits < uint64_t(1) << 32; bits += step) {
      const uint32_t u = uint32_t(bits);
      std::memcpy(&x[size_t(n++)], &u, 4);
    }
    const void* in[] = {x.data()};
    row->fn[int(DType::Float32)](y.data(), in, n);
    for (int64_t i = 0; i < n; ++i) {
      const double v = x[size_t(i)], want = ref.real(&v);
      const bool product =
          bound.f32 > 2.9 && std::fabs(want) < 0x1p-120;  // x * f(x) with a subnormal f(x): relative error is lost
      const double e = product ? 0 : ulps(y[size_t(i)], want);
      if (e > worst) worst = e, at = x[size_t(i)], gave = y[size_t(i)];
    }
  }
  if (verbose || worst > bound.f32)
    std::fprintf(stderr, "%-9s %-12s worst %.3f ulp at %.9g (%.9g)\n", isa_name(isa), bound.name, worst, double(at),
                 double(gave));
  CHECK(worst <= bound.f32);
}

void test_ulp_double(Isa isa, const char* name, long double (*exact)(long double), double bound, bool verbose) {
  const PointwiseKernel* row = find_in(isa, name);
  Rng rng;
  double worst = 0, at = 0, x[256], y[256];
  for (int round = 0; round < 800; ++round) {
    for (double& v : x)
      v = round % 2 ? (rng.uniform() - 0.5) * (round % 4 == 1 ? 1500 : 4)
                    : std::ldexp(rng.uniform() - (round % 4 ? 0.5 : 0), int(rng.next() % 120) - 60);
    const void* in[] = {x};
    row->fn[int(DType::Float64)](y, in, 256);
    for (int i = 0; i < 256; ++i) {
      const double e = ulps(y[i], exact(x[i]));
      if (e > worst) worst = e, at = x[i];
    }
  }
  if (verbose || worst > bound)
    std::fprintf(stderr, "%-9s %-12s f64 worst %.3f ulp at %.17g\n", isa_name(isa), name, worst, at);
  CHECK(worst <= bound);
}

}  // namespace

int main() {
  const char* points = std::getenv("MINIGRAD_ULP_POINTS");
  const bool verbose = std::getenv("MINIGRAD_ULP_VERBOSE") != nullptr;
  for (int i = 0; i <= int(best_isa()); ++i) {
    const Isa isa = Isa(i);
    for (const Reference& ref : references) {
      Rng rng;  // the same values whatever other ops there are
      for (int64_t n : {0, 1, 3, 7, 8, 17, 33, 63, 1000}) {
        if (ref.real != nullptr) test_real<float>(isa, ref, rng, n), test_real<double>(isa, ref, rng, n);
        test_int<uint8_t>(isa, ref, rng, n), test_int<int8_t>(isa, ref, rng, n), test_int<int16_t>(isa, ref, rng, n);
        test_int<int32_t>(isa, ref, rng, n), test_int<int64_t>(isa, ref, rng, n), test_int<bool>(isa, ref, rng, n);
      }
    }
    for (const Bound& bound : bounds) test_ulp(isa, bound, points ? std::atoll(points) : 300000, verbose);
    test_ulp_double(isa, "exp", [](long double v) { return expl(v); }, 2, verbose);
    test_ulp_double(isa, "exp2", [](long double v) { return exp2l(v); }, 2, verbose);
    test_ulp_double(isa, "expm1", [](long double v) { return expm1l(v); }, 2, verbose);
    test_ulp_double(isa, "log", [](long double v) { return logl(v); }, 2, verbose);
    test_ulp_double(isa, "log1p", [](long double v) { return log1pl(v); }, 2, verbose);
    test_ulp_double(isa, "tanh", [](long double v) { return tanhl(v); }, 2.5, verbose);
    test_ulp_double(isa, "sigmoid", [](long double v) { return 1 / (1 + expl(-v)); }, 2.5, verbose);
  }
  return mg_test::report("vecmath");
}
