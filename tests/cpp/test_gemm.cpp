// gemm() against a double loop, over random sizes, strides, epilogues and thread counts, for every element type and
// path.
#include <cmath>
#include <random>
#include <vector>

#include "../../csrc/core/parallel.h"
#include "../../csrc/cpu/gemm.h"
#include "check.h"

using namespace mg;
using namespace mg::cpu;

namespace {

std::mt19937 rng(7);
int64_t pick(int64_t lo, int64_t hi) { return std::uniform_int_distribution<int64_t>(lo, hi)(rng); }

// A random matrix behind random strides: row-major, column-major, padded, doubly strided, broadcast rows or columns.
template <class S>
struct Source {
  std::vector<S> data;
  Strided<S> view;
  explicit Source(int64_t rows, int64_t cols, int64_t layout = pick(0, 6)) {
    int64_t rs = cols, cs = 1;
    if (layout == 1) rs = 1, cs = rows;
    if (layout == 2) rs = cols + pick(1, 9);
    if (layout == 3) rs = 1, cs = rows + pick(1, 9);
    if (layout == 4) rs = 3 * cols, cs = 2;
    if (layout == 5) rs = 0;
    if (layout == 6) rs = 1, cs = 0;
    data.resize(size_t(std::max<int64_t>(1, rows * rs + cols * cs + 1)));
    std::normal_distribution<double> normal;
    for (S& v : data) v = S(float(normal(rng)));
    view = {data.data(), rs, cs};
  }
};

// What the act of the test does: x -> x / 2 + 1.
template <class T>
int half_plus_one(void* out, const void* const* in, int64_t n) {
  for (int64_t i = 0; i < n; ++i) static_cast<T*>(out)[i] = static_cast<const T*>(in[0])[i] / 2 + 1;
  return 0;
}

template <class S, class T>
void check_one(int64_t m, int64_t n, int64_t k, double tolerance, int64_t layout_a = pick(0, 6), int64_t layout_b = pick(0, 6)) {
  const Source<S> a(m, k, layout_a), b(k, n, layout_b);
  const int64_t ldc = n + pick(0, 1) * pick(0, 5), guard = 64;
  const T canary = T(12345);
  std::vector<T> c(size_t(m * ldc + 2 * guard), canary), d(size_t(m * ldc + 1));
  std::normal_distribution<double> normal;
  for (T& v : d) v = T(normal(rng));
  Epilogue<T> e;
  const int64_t mode = pick(0, 4), finish = pick(0, 3);
  if (pick(0, 1) != 0) e.alpha = T(0.5), e.beta = T(-2);
  if (mode == 1) e.add = d.data(), e.add_rs = ldc;
  if (mode == 2) e.add = d.data(), e.add_rs = 0;
  if (mode == 4) e.add = d.data(), e.add_rs = 1, e.add_cs = 0;
  std::vector<T> pre(finish == 2 ? size_t(m * n) : 0), residual(finish == 3 ? size_t(m * n) : 0);
  for (T& v : residual) v = T(normal(rng));
  if (finish > 0) e.act = half_plus_one<T>;
  if (finish == 2) e.pre = pre.data(), e.pre_rs = n;
  if (finish == 3) e.residual = residual.data(), e.residual_rs = n;
  if (mode == 3) {  // accumulate into C
    std::copy_n(d.data(), size_t(m * ldc), c.data() + guard);
    e.add = c.data() + guard, e.add_rs = ldc;
  }
  std::vector<T> before = c;
  gemm<S, T>(m, n, k, a.view, b.view, c.data() + guard, ldc, e);
  double worst = 0;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0, size = 0;
      for (int64_t p = 0; p < k; ++p) {
        const double x =
            double(a.view.data[i * a.view.rs + p * a.view.cs]) * double(b.view.data[p * b.view.rs + j * b.view.cs]);
        sum += x;
        size += std::fabs(x);
      }
      const double addend = e.add == nullptr ? 0 : double(e.beta) * double(d[size_t(i * e.add_rs + j * e.add_cs)]);
      const double got = double(c[size_t(guard + i * ldc + j)]);
      double want = double(e.alpha) * sum + addend;
      if (finish == 2) worst = std::max(worst, std::fabs(double(pre[size_t(i * n + j)]) - want) / (size + std::fabs(addend) + 1));
      if (finish > 0) want = want / 2 + 1;
      if (finish == 3) want += double(residual[size_t(i * n + j)]);
      worst = std::max(worst, std::fabs(got - want) / (size + std::fabs(addend) + 1));
      before[size_t(guard + i * ldc + j)] = c[size_t(guard + i * ldc + j)];
    }
  if (!(worst <= tolerance))
    std::fprintf(stderr, "m %ld n %ld k %ld mode %ld worst %g\n", long(m), long(n), long(k), long(mode), worst);
  CHECK(worst <= tolerance);
  CHECK(before == c);  // nothing outside C was written
}

template <class S, class T>
void check_many(int rounds, int64_t limit, double tolerance) {
  for (int r = 0; r < rounds; ++r) {
    const int64_t kind = pick(0, 5);
    int64_t m = pick(1, limit), n = pick(1, limit), k = pick(0, limit);
    if (kind == 0) m = pick(0, 5);
    if (kind == 1) n = pick(0, 5);
    if (kind == 2) k = pick(0, 3 * limit);
    if (kind == 3) m = pick(0, 20), n = pick(0, 20), k = pick(0, 40);
    if (kind == 4) m = pick(1, 16), n = pick(1, 4 * limit);
    check_one<S, T>(m, n, k, tolerance);
  }
}

// Few rows of A, B contiguous along k as in linear, or along n: dot products, streams, the transposed product.
template <class S, class T>
void check_linear(double tolerance) {
  for (int r = 0; r < 60; ++r) {
    const int64_t m = pick(0, 2) == 0 ? pick(1, 9) : pick(10, 140);
    check_one<S, T>(m, pick(1, 200), pick(1, 8) * 97 + pick(0, 3), tolerance, pick(0, 2), pick(0, 3) == 0 ? 2 : 1 + 2 * pick(0, 1));
  }
  check_one<S, T>(5, 70, 9001, tolerance, 0, 1);  // more than one block of a dot product
  check_one<S, T>(64, 48, 2000, tolerance, 0, 1);
}

// The same bits for every number of threads.
template <class S, class T>
void check_threads() {
  for (const auto& [m, n, k] :
       {std::tuple{64, 700, 784}, {128, 90, 1024}, {2, 9000, 400}, {7, 900, 900}, {17, 300, 2000}, {200, 300, 700}, {1, 5000, 900}, {3, 4000, 300}, {900, 20, 400}, {12, 3000, 500}, {40, 700, 900}, {130, 130, 130}, {700, 100, 90}}) {
    for (int layout : {0, 1}) {
      const Source<S> a(m, k, 0), b(k, n, layout);
      std::vector<T> first;
      for (int threads : {1, 2, 3, 5}) {
        set_num_threads(threads);
        std::vector<T> c(size_t(m) * size_t(n));
        gemm<S, T>(m, n, k, a.view, b.view, c.data(), n);
        if (threads == 1) first = c;
        CHECK(first == c);
      }
    }
  }
  set_num_threads(2);
}

template <class T>
void check_int() {
  for (int r = 0; r < 60; ++r) {
    const int64_t m = pick(0, 40), n = pick(0, 90), k = pick(0, 70);
    const Source<T> a(m, k), b(k, n);
    std::vector<T> c(size_t(m * n) + 1, T(77));
    gemm_int<T>(m, n, k, a.view, b.view, c.data());
    bool same = c.back() == T(77);
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        uint64_t sum = 0;
        for (int64_t p = 0; p < k; ++p)
          sum += uint64_t(a.view.data[i * a.view.rs + p * a.view.cs]) *
                 uint64_t(b.view.data[p * b.view.rs + j * b.view.cs]);
        same = same && T(sum) == c[size_t(i * n + j)];
      }
    CHECK(same);
  }
}

}  // namespace

// int8 with int32 sums: exact, whatever the instruction, with an int32 addend.
void check_int8_sums() {
  for (int r = 0; r < 200; ++r) {
    const int64_t limit = r < 150 ? 90 : 400, m = pick(0, r % 3 == 0 ? 9 : limit), n = pick(0, limit), k = pick(0, 3 * limit);
    Source<int8_t> a(m, k), b(k, n, r % 2 == 0 ? 1 : pick(0, 6));
    for (auto* x : {&a.data, &b.data})
      for (int8_t& v : *x) v = int8_t(pick(0, 9) == 0 ? -128 : pick(-128, 127));
    const int64_t ldc = n + pick(0, 3);
    std::vector<int32_t> c(size_t(m * ldc) + 1, 77), d(size_t(n) + 1);
    for (int32_t& v : d) v = int32_t(pick(-1000000, 1000000));
    Epilogue<int32_t> e;
    if (r % 2 == 0) e.alpha = 3, e.beta = -2, e.add = d.data();
    gemm<int8_t, int32_t>(m, n, k, a.view, b.view, c.data(), ldc, e);
    bool same = c.back() == 77;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        int32_t sum = 0;
        for (int64_t p = 0; p < k; ++p)
          sum += int32_t(a.view.data[i * a.view.rs + p * a.view.cs]) * int32_t(b.view.data[p * b.view.rs + j * b.view.cs]);
        if (r % 2 == 0) sum = 3 * sum - 2 * d[size_t(j)];
        same = same && sum == c[size_t(i * ldc + j)];
      }
    if (!same) std::fprintf(stderr, "int8 m %ld n %ld k %ld\n", long(m), long(n), long(k));
    CHECK(same);
  }
}

int main() {
  set_num_threads(2);
  check_many<float, float>(600, 150, 4e-6);
  check_many<double, double>(300, 120, 4e-15);
  check_many<half, float>(150, 110, 4e-6);
  check_many<bfloat16, float>(150, 110, 4e-6);
  check_one<float, float>(400, 3300, 33, 4e-6);  // more columns than one block
  check_one<float, float>(1, 1, 300000, 4e-6);
  check_many<float, float>(40, 420, 4e-6);  // many rows, several blocks of k
  for (const int64_t m : {3, 7, 9, 35}) check_one<float, float>(m, 2100, 2050, 4e-6);  // B comes from memory
  check_linear<float, float>(4e-6);
  check_linear<double, double>(4e-15);
  check_linear<half, float>(4e-6);
  check_linear<bfloat16, float>(4e-6);
  check_threads<float, float>();
  check_threads<double, double>();
  check_threads<bfloat16, float>();
  check_threads<half, float>();
  check_int8_sums();
  check_int<uint8_t>();
  check_int<int8_t>();
  check_int<int16_t>();
  check_int<int32_t>();
  check_int<int64_t>();
  return mg_test::report("gemm");
}
