// The worst error in ulp of the vectorised functions, on every instruction set this machine has: float over a sample of
// all bit patterns against the C library in double, double against long double.
//
// MINIGRAD_ULP_POINTS sets the sample size (default 300000 per function and instruction set);
// MINIGRAD_ULP_VERBOSE=1 prints the table.
#include <cstdlib>
#include <vector>

#include "pointwise_reference.h"

namespace {

struct Bound {
  const char* name;
  double f32;
};
const Bound bounds[] = {{"exp", 2},        {"exp2", 2},        {"expm1", 2},        {"log", 2},        {"log2", 2},
                        {"log10", 2},      {"log1p", 2},       {"sin", 2},          {"cos", 2},        {"tan", 1},
                        {"asin", 1},       {"acos", 1},        {"atan", 1},         {"sinh", 1},       {"cosh", 1},
                        {"tanh", 2},       {"asinh", 1},       {"acosh", 1},        {"atanh", 1},      {"sigmoid", 2},
                        {"erf", 2},        {"erfc", 1},        {"erfinv", 1},       {"lgamma", 1},     {"digamma", 1},
                        {"sqrt", 0.5},     {"rsqrt", 1.5},     {"reciprocal", 0.5}, {"gelu_erf", 2.1}, {"silu", 2.2},
                        {"logsigmoid", 3}, {"gelu_tanh", 2.4}, {"mish", 0.6},       {"round_even", 0}, {"floor", 0},
                        {"ceil", 0},       {"trunc", 0}};

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
