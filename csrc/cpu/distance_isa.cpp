// See distance_norms.h. A plain loop over neighbouring sums, which the compiler turns into this file's instructions.
#include "distance_norms.h"

namespace mg::cpu::MG_ISA_NS {

namespace {

constexpr int64_t kBlock = 1024;  // sums that stay in L1
constexpr int64_t kTerms = 16;    // added up by themselves before they join their sum: a long chain rounds worse

template <class T>
void row(double p, const T* a, const T* b, T* sums, int64_t n, int64_t m) {
  with_norm<T>(p, [&](auto norm) {
    for (int64_t j0 = 0; j0 < n; j0 += kBlock) {
      const int64_t width = j0 + kBlock < n ? kBlock : n - j0;
      T* __restrict s = sums + j0;
      T part[kBlock];
      for (int64_t j = 0; j < width; ++j) s[j] = 0;
      for (int64_t k0 = 0; k0 < m; k0 += kTerms) {
        for (int64_t j = 0; j < width; ++j) part[j] = 0;
        for (int64_t k = k0; k < m && k < k0 + kTerms; ++k) {
          const T ak = a[k];
          const T* __restrict bk = b + k * n + j0;
          for (int64_t j = 0; j < width; ++j) part[j] = norm.add(part[j], std::abs(ak - bk[j]));
        }
        for (int64_t j = 0; j < width; ++j) s[j] = norm.join(s[j], part[j]);
      }
      for (int64_t j = 0; j < width; ++j) s[j] = norm.finish(s[j]);
    }
  });
}

}  // namespace

extern const DistanceTable distance_functions;
constinit const DistanceTable distance_functions = {row<float>, row<double>};

}  // namespace mg::cpu::MG_ISA_NS
