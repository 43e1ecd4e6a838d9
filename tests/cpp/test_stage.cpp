// Row conversions between all dtypes (csrc/cpu/stage_isa.cpp) on every instruction set, against the one-element
// definition in convert.h: random and special values, contiguous, strided and repeated sources, strided destinations,
// all tail lengths, nothing written outside.
#include <cmath>
#include <cstring>
#include <vector>

#include "../../csrc/cpu/convert.h"
#include "../../csrc/cpu/isa.h"
#include "../../csrc/cpu/stage.h"
#include "check.h"

namespace mg::cpu {
namespace portable {
extern const StageTable stage_table;
}
#if MG_MULTI_ISA
namespace avx2 {
extern const StageTable stage_table;
}
namespace avx512 {
extern const StageTable stage_table;
}
#endif
}  // namespace mg::cpu

using namespace mg;
using namespace mg::cpu;

namespace {

uint64_t state = 7;
uint64_t next() {
  uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

template <class T>
T random_value() {
  const uint64_t r = next();
  if constexpr (std::is_same_v<T, bool>) return r & 1;
  else if constexpr (std::is_integral_v<T>) return T(r % 3 ? r >> 8 : int64_t(r >> 8) % 300 - 150);
  else {
    static const double special[] = {
        0.0,          -0.0,          1,     -1,     0.5,     1.5,  2.5,    -2.5,  255,      256,       300,
        -129,         65504,         65519, 65520,  65536,   6e-8, 2.9e-8, 3e-8,  6.1e-5,   -1e-7,     2147483647,
        2147483648.0, -2147483648.0, 4e9,   9.3e18, -9.3e18, 1e30, 3.4e38, 1e-40, INFINITY, -INFINITY, NAN};
    if (r % 2) return T(special[(r >> 8) % (sizeof special / sizeof *special)]);
    return T(std::ldexp(double(int64_t(r)) * 0x1p-63, int((r >> 3) % 80) - 40));
  }
}

template <class T>
bool same(T a, T b) {
  if constexpr (std::is_integral_v<T>) return a == b;
  else return std::memcmp(&a, &b, sizeof a) == 0 || (float(a) != float(a) && float(b) != float(b));
}

template <class D, class S>
void test_pair(StageFn fn, int64_t n, int64_t ds, int64_t ss) {
  std::vector<char> src(size_t(n * std::max<int64_t>(ss, 1) + 1) * sizeof(S)),
      dst(size_t(n * ds + 16) * sizeof(D), 0x33);
  S* s = reinterpret_cast<S*>(src.data());
  for (size_t i = 0; i < src.size() / sizeof(S); ++i) s[i] = random_value<S>();
  fn(dst.data() + 8 * sizeof(D), ds * int64_t(sizeof(D)), src.data(), ss * int64_t(sizeof(S)), n);
  const D* d = reinterpret_cast<const D*>(dst.data() + 8 * sizeof(D));
  for (int64_t i = 0; i < n; ++i) {
    const D want = convert<D>(s[i * ss]);
    const bool ok = same(d[i * ds], want);
    if (!ok)
      std::fprintf(stderr, "%s <- %s: %g gave %g, expected %g\n", dtype_name(dtype_of<D>()), dtype_name(dtype_of<S>()),
                   double(s[i * ss]), double(d[i * ds]), double(want));
    CHECK(ok);
  }
  for (size_t i = 0; i < dst.size(); ++i) {  // untouched: before, after and between
    const int64_t at = int64_t(i / sizeof(D)) - 8;
    if (at < 0 || at >= n * ds || at % ds != 0) CHECK(dst[i] == 0x33);
  }
}

void test_table(const StageTable& table) {
  for (int d = 0; d < kDTypes; ++d)
    for (int s = 0; s < kDTypes; ++s) {
      if (is_complex(DType(d)) || is_complex(DType(s))) continue;  // stage_complex.cpp
      dispatch(DType(d), [&](auto dv) {
        dispatch(DType(s), [&](auto sv) {
          for (int64_t n : {0, 1, 5, 16, 31, 200}) {
            for (int64_t ss : {1, 0, 3})
              for (int64_t ds : {1, 2}) test_pair<decltype(dv), decltype(sv)>(table.fn[d][s], n, ds, ss);
          }
        });
      });
    }
}

}  // namespace

int main() {
  test_table(portable::stage_table);
#if MG_MULTI_ISA
  if (best_isa() >= Isa::Avx2) test_table(avx2::stage_table);
  if (best_isa() >= Isa::Avx512) test_table(avx512::stage_table);
#endif
  return mg_test::report("stage");
}
