// Real kernels on the simulated device, each in both orders of blocks and threads.
#include <numeric>
#include <random>

#include "device_array.h"
#include "kernels.h"

static std::vector<float> noise(size_t n, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<float> v(n);
  for (float& x : v) x = float(rng() % 2001) / 1000 - 1;
  return v;
}

static void test_pointwise() {
  const auto a = noise(10000, 1), b = noise(10000, 2);
  DeviceArray<float> da(a), db(b), out(a.size());
  launch(add_kernel, 13, 128, 0, nullptr, da.data, db.data, out.data, int(a.size()));
  const auto sum = out.host();
  launch(saxpy4_kernel, dim3(20), dim3(128), 0, nullptr, 2.0f, reinterpret_cast<const float4*>(da.data),
         reinterpret_cast<float4*>(db.data), int(a.size()));
  const auto saxpy = db.host();
  for (size_t i = 0; i < a.size(); ++i) CHECK(sum[i] == a[i] + b[i] && saxpy[i] == std::fma(2.0f, a[i], b[i]));
}

static void test_sum() {
  const auto in = noise(5000, 3);
  DeviceArray<float> d(in), out(std::vector<float>{0});
  launch(sum_kernel, 7, 192, 0, nullptr, d.data, out.data, int(in.size()));
  CHECK(std::abs(out.host()[0] - std::accumulate(in.begin(), in.end(), 0.0)) < 1e-3);
  std::vector<int> numbers(4 * 64);
  std::iota(numbers.begin(), numbers.end(), 0);
  DeviceArray<int> dn(numbers), partial(4), total(1);
  DeviceArray<unsigned> finished(std::vector<unsigned>{0});
  launch(last_block_kernel, 4, 64, 0, nullptr, dn.data, partial.data, finished.data, total.data);
  CHECK(total.host()[0] == 255 * 128);
}

template <class T>
static void test_transpose() {
  const int rows = 45, columns = 70;
  std::vector<T> in(rows * columns);
  for (size_t i = 0; i < in.size(); ++i) in[i] = T(i % 1000);
  DeviceArray<T> d(in), out(in.size());
  launch(transpose_kernel<T>, dim3(3, 2), dim3(32, 8), 0, nullptr, d.data, out.data, rows, columns);
  const auto t = out.host();
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < columns; ++c) CHECK(t[c * rows + r] == in[r * columns + c]);
}

static void test_histogram() {
  std::vector<unsigned char> in(20000);
  std::vector<unsigned> expected(50);
  std::mt19937 rng(5);
  for (auto& v : in) v = static_cast<unsigned char>(rng()), ++expected[v % 50];
  DeviceArray<unsigned char> d(in);
  DeviceArray<unsigned> bins(50);
  OK(cudaMemset(bins.data, 0, 50 * sizeof(unsigned)));
  launch(histogram_kernel, 6, 96, 50 * sizeof(unsigned), nullptr, d.data, bins.data, int(in.size()), 50);
  CHECK(bins.host() == expected);
}

template <class T>
static void test_softmax(double tolerance) {
  const int rows = 5, columns = 77;
  const auto values = noise(rows * columns, 7);
  const std::vector<T> in(values.begin(), values.end());
  DeviceArray<T> d(in), out(in.size());
  launch(softmax_kernel<T>, rows, 64, 0, nullptr, d.data, out.data, columns);
  const auto y = out.host();
  for (int r = 0; r < rows; ++r) {
    double sum = 0;
    for (int c = 0; c < columns; ++c) sum += std::exp(double(float(in[r * columns + c])));
    for (int c = 0; c < columns; ++c) {
      const double expected = std::exp(double(float(in[r * columns + c]))) / sum;
      CHECK(std::abs(float(y[r * columns + c]) - expected) < tolerance * expected);
    }
  }
}

static void test_warp() {
  std::vector<int> in(32);
  for (int i = 0; i < 32; ++i) in[i] = i % 5 - 2;
  DeviceArray<int> d(in), kept(32), sums(32), out(32);
  DeviceArray<unsigned> equal(32);
  launch(warp_kernel, 1, 32, 0, nullptr, d.data, kept.data, sums.data, equal.data);
  const auto k = kept.host(), s = sums.host();
  const auto e = equal.host();
  int count = 0, sum = 0;
  for (int i = 0; i < 32; ++i) {
    if (in[i] > 0) CHECK(k[count++] == in[i]);
    CHECK(s[i] == (sum += in[i]));
    for (int j = 0; j < 32; ++j) CHECK((e[i] >> j & 1) == (in[i] == in[j]));
  }
  CHECK(k[count] == -1);  // untouched fresh memory is poison
  launch(half_warps_kernel, 1, 32, 0, nullptr, out.data);
  const auto o = out.host();
  for (int i = 0; i < 32; ++i) CHECK(o[i] == 100 + (i < 16 ? (i + 3) % 16 : i ^ 1));
}

// A block of 1024 threads that all wait, and one whose last warp is not full.
static void test_block_sizes() {
  for (const int threads : {1, 31, 33, 100, 256, 1000, 1024}) {
    std::vector<float> in(threads, 1.0f);
    DeviceArray<float> d(in), out(in.size());
    const int padded = (threads + 31) / 32 * 32;
    if (threads > 256) {
      DeviceArray<float> total(std::vector<float>{0});
      launch(sum_kernel, 1, padded, 0, nullptr, d.data, total.data, threads);
      CHECK(total.host()[0] == float(threads));
    } else {
      launch(reverse_kernel, 1, threads, 0, nullptr, d.data, out.data, true);
      CHECK(out.host() == in);
    }
  }
}

static void test_early_exit() {
  DeviceArray<int> out(64);
  launch(early_exit_kernel, 1, 64, 0, nullptr, out.data);
  const auto o = out.host();
  for (int i = 0; i < 64; ++i) CHECK(o[i] == (i < 40 ? 139 - i : -1));
}

static void test_narrow() {
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    const __half h = __ushort_as_half(static_cast<unsigned short>(bits));
    const __nv_bfloat16 b = __ushort_as_bfloat16(static_cast<unsigned short>(bits));
    if (!__hisnan(h)) CHECK(__half_as_ushort(__float2half(__half2float(h))) == bits);
    if (!__hisnan(b)) CHECK(__bfloat16_as_ushort(__float2bfloat16(__bfloat162float(b))) == bits);
  }
  CHECK(float(__half(65520.0f)) == INFINITY && float(__half(65519.0f)) == 65504 && float(__half(6e-8f)) > 0);
  CHECK(float(__half(1.00048828125)) == 1.0f);                        // halfway to the next half: to even
  CHECK(float(__double2half(1.00048828125 + 1e-12)) > 1.0f);          // beyond halfway, though not in float
  CHECK(float(__double2bfloat16(1.00390625 + 1e-12)) == 1.0078125f);  // likewise
  CHECK(float(__double2bfloat16(-1.00390625 - 1e-12)) == -1.0078125f &&
        float(__double2bfloat16(1.01171875 - 1e-12)) == 1.0078125f);
  CHECK(std::isnan(float(__nv_bfloat16(NAN))) && float(__nv_bfloat16(3.4e38f)) == INFINITY);
  const __half2 sum = __hadd2(__floats2half2_rn(1, 2), __half2half2(__half(0.5f)));
  CHECK(__low2float(sum) == 1.5f && __high2float(sum) == 2.5f);
  __half2 cell(1, 1);
  atomicAdd(&cell, sum);
  CHECK(float(cell.y) == 3.5f && !__hne(__half(NAN), __half(NAN)));
}

static void test_intrinsics() {
  CHECK(__popc(255) == 8 && __clz(1) == 31 && __ffs(8) == 4 && __brev(1) == 0x80000000u && __umulhi(~0u, 2) == 1);
  CHECK(__mulhi(-1, 1) == -1 && __umul64hi(~0ull, 4) == 3 && __float_as_int(1.0f) == 0x3f800000);
  CHECK(min(3, 4u) == 3 && max(2.0f, NAN) == 2.0f && __saturatef(NAN) == 0 && rsqrtf(4) == 0.5f);
  unsigned u = 5;
  CHECK(atomicInc(&u, 5) == 5 && u == 0 && atomicDec(&u, 7) == 0 && u == 7 && atomicCAS(&u, 7u, 9u) == 7 && u == 9);
  int i = 5;
  CHECK(atomicMax(&i, 8) == 5 && atomicMin(&i, -1) == 8 && atomicSub(&i, 3) == -1 && i == -4 &&
        atomicExch(&i, 1) == -4);
  static_assert(alignof(float4) == 16 && sizeof(float3) == 12 && alignof(uchar4) == 4 && sizeof(__half2) == 4);
}

int main() {
  for (const bool reversed : {false, true}) {
    cudasim::set_reversed(reversed);
    test_pointwise();
    test_sum();
    test_transpose<float>();
    test_transpose<__half>();
    test_histogram();
    test_softmax<float>(1e-5);
    test_softmax<__half>(1e-3);
    test_softmax<__nv_bfloat16>(8e-3);
    test_warp();
    test_block_sizes();
    test_early_exit();
  }
  test_narrow();
  test_intrinsics();
  const cudasim::Leaks l = cudasim::leaks();
  CHECK(l.allocations == 0 && l.bytes == 0 && l.pending == 0);
  OK(cudaGetLastError());
  return mg_test::report("test_sim_kernels");
}
