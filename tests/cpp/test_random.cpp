// Philox against the published vectors, the distributions against their moments and exact functions, Generator's
// contract.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

#include "../../csrc/core/error.h"
#include "../../csrc/core/random.h"
#include "check.h"

using namespace mg;

static void test_philox_vectors() {
  // Random123, kat_vectors, philox4x32 with 10 rounds.
  struct Vector {
    Philox4 counter;
    uint32_t key[2];
    Philox4 expected;
  };
  const Vector vectors[] = {
      {{{0, 0, 0, 0}}, {0, 0}, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
      {{{~0u, ~0u, ~0u, ~0u}}, {~0u, ~0u}, {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
      {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
       {0xa4093822, 0x299f31d0},
       {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}},
  };
  for (const Vector& v : vectors) {
    const Philox4 got = philox4x32_10(v.counter, v.key[0], v.key[1]);
    CHECK(std::memcmp(&got, &v.expected, sizeof got) == 0);
  }
  const Philox4 a = philox(0x123456789abcdefull, 0xfedcba9876543210ull);
  const Philox4 b = philox4x32_10({{0x76543210u, 0xfedcba98u, 0, 0}}, 0x89abcdefu, 0x01234567u);
  CHECK(std::memcmp(&a, &b, sizeof a) == 0);
  CHECK(philox_u64(a, 1) == (uint64_t(a.v[3]) << 32 | a.v[2]));
}

static void test_functions() {
  const double pi = std::acos(-1.0);
  double worst_log = 0, worst_turn = 0, worst_log64 = 0, worst_turn64 = 0;
  for (uint64_t i = 0; i < 200000; ++i) {
    const Philox4 x = philox(1, i);
    const float u = uniform_positive(x.v[0] >> (i % 32));
    const double exact = std::log(double(u));
    worst_log = std::max(worst_log, std::abs(double(random_log(u)) - exact) / std::max(std::abs(exact), 1e-30));
    const SinCos<float> turn = random_sincos(x.v[1]);
    const double angle = 2 * pi * (x.v[1] * 0x1p-32);
    worst_turn = std::max({worst_turn, std::abs(turn.sin - std::sin(angle)), std::abs(turn.cos - std::cos(angle))});
    const uint64_t y = philox_u64(x, 1);
    const double v = uniform_positive(y >> (i % 64));
    const long double exact64 = std::log(static_cast<long double>(v));
    worst_log64 =
        std::max(worst_log64, double(std::abs(random_log(v) - exact64) / std::max(std::abs(exact64), 1e-30L)));
    const SinCos<double> turn64 = random_sincos(y);
    const long double angle64 = 2 * std::acos(-1.0L) * (static_cast<long double>(y) * 0x1p-64L);
    worst_turn64 = std::max({worst_turn64, double(std::abs(turn64.sin - std::sin(angle64))),
                             double(std::abs(turn64.cos - std::cos(angle64)))});
  }
  std::printf("log float %.2g double %.2g relative; sincos float %.2g double %.2g absolute\n", worst_log, worst_log64,
              worst_turn, worst_turn64);
  CHECK(worst_log < 3 * 0x1p-24);
  CHECK(worst_turn < 2 * 0x1p-24);
  CHECK(worst_log64 < 3 * 0x1p-53);
  CHECK(worst_turn64 < 2 * 0x1p-53);
}

static void test_ranges() {
  CHECK(uniform(0u) == 0.0f && uniform(~0u) == 1.0f - 0x1p-24f);
  CHECK(uniform(uint64_t(0)) == 0.0 && uniform(~uint64_t(0)) == 1.0 - 0x1p-53);
  CHECK(uniform_bits(~0u, 24) == uniform(~0u) && uniform_bits(~0u, 11) == 1 - 0x1p-11f &&
        uniform_bits(~0u, 8) == 1 - 0x1p-8f);
  CHECK(uniform_positive(0u) > 0 && uniform_positive(~0u) == 1.0f);
  CHECK(uniform_positive(uint64_t(0)) > 0 && uniform_positive(~uint64_t(0)) == 1.0);
  CHECK(uniform_between(1.0f - 0x1p-24f, 1.0f, 1.0f + 0x1p-23f) < 1.0f + 0x1p-23f);
  CHECK(uniform_between(0.5, -4.0, 8.0) == 2.0);
  for (uint32_t x : {0u, 1u, ~0u, ~0u - 1, 1u << 31}) {
    CHECK(exponential(x) > 0 && std::isfinite(exponential(x)) && exponential(uint64_t(x) << 32 | x) > 0);
    for (uint32_t y : {0u, 1u, ~0u, 1u << 30, 1u << 31, 3u << 30, (1u << 29) - 1, 1u << 29}) {
      const NormalPair<float> z = normal_pair(x, y);
      CHECK(std::abs(z.first) < 6.8f && std::abs(z.second) < 6.8f);
      const NormalPair<double> w = normal_pair(uint64_t(x) << 32, uint64_t(y) << 32 | y);
      CHECK(std::abs(w.first) < 9.5 && std::abs(w.second) < 9.5);
    }
  }
  CHECK(bounded(~uint64_t(0), 10) == 9 && bounded(0, 10) == 0 && bounded(12345, 0) == 12345 &&
        bounded(~uint64_t(0), 1) == 0);
}

struct Moments {
  double n = 0, sum[4] = {0, 0, 0, 0};
  void add(double x) {
    ++n;
    for (double& s : sum) s += (&s == &sum[0] ? x : &s == &sum[1] ? x * x : &s == &sum[2] ? x * x * x : x * x * x * x);
  }
  // |mean of x^k - expected| in units of its standard error.
  bool matches(int k, double expected, double variance) const {
    return std::abs(sum[k - 1] / n - expected) < 5 * std::sqrt(variance / n);
  }
};

static void test_statistics() {
  Moments u32, u64, z32, z64, e32;
  double z_product = 0;
  std::vector<int> bins(1000), dice(6);
  std::vector<double> tail(3);
  constexpr uint64_t kBlocks = 500000;
  for (uint64_t i = 0; i < kBlocks; ++i) {
    const Philox4 x = philox(42, i);
    for (uint32_t v : x.v) {
      u32.add(uniform(v));
      e32.add(exponential(v));
      ++bins[size_t(uniform(v) * 1000)];
    }
    for (int half = 0; half < 2; ++half) {
      u64.add(uniform(philox_u64(x, half)));
      ++dice[bounded(philox_u64(x, half), 6)];
      const NormalPair<float> z = normal_pair(x.v[2 * half], x.v[2 * half + 1]);
      z32.add(z.first);
      z32.add(z.second);
      z_product += double(z.first) * z.second;
      for (int k = 0; k < 3; ++k) tail[size_t(k)] += (std::abs(z.first) > k + 1) + (std::abs(z.second) > k + 1);
    }
    const NormalPair<double> w = normal_pair(philox_u64(x, 0), philox_u64(x, 1));
    z64.add(w.first);
    z64.add(w.second);
  }
  for (const Moments* u : {&u32, &u64}) {
    CHECK(u->matches(1, 1 / 2., 1 / 12.));
    CHECK(u->matches(2, 1 / 3., 1 / 5. - 1 / 9.));
  }
  for (const Moments* z : {&z32, &z64}) {
    CHECK(z->matches(1, 0, 1));
    CHECK(z->matches(2, 1, 2));
    CHECK(z->matches(3, 0, 15));
    CHECK(z->matches(4, 3, 96));
  }
  CHECK(e32.matches(1, 1, 1));
  CHECK(e32.matches(2, 2, 20));
  CHECK(std::abs(z_product) < 5 * std::sqrt(2.0 * kBlocks));
  for (int k = 0; k < 3; ++k) {
    const double p = std::erfc((k + 1) / std::sqrt(2.0)), n = 4.0 * kBlocks;
    CHECK(std::abs(tail[size_t(k)] - n * p) < 5 * std::sqrt(n * p * (1 - p)));
  }
  double chi = 0;
  for (int count : bins) chi += std::pow(count - 4.0 * kBlocks / 1000, 2) / (4.0 * kBlocks / 1000);
  CHECK(std::abs(chi - 999) < 5 * std::sqrt(2 * 999.0));
  for (int count : dice) CHECK(std::abs(count - 2.0 * kBlocks / 6) < 5 * std::sqrt(2.0 * kBlocks * 5 / 36));
}

static void test_generator() {
  Generator g;
  CHECK(g.initial_seed() == Generator::kDefaultSeed && g.offset() == 0);
  g.manual_seed(7);
  CHECK(g.reserve(0).counter == 0 && g.reserve(1).counter == 0 && g.reserve(4).counter == 1 &&
        g.reserve(5).counter == 2);
  CHECK(g.offset() == 4);
  const Generator::State state = g.get_state();
  const PhiloxRange next = g.reserve(100);
  g.manual_seed(8);
  CHECK(g.reserve(8).seed == 8 && g.offset() == 2);
  g.set_state(state);
  const PhiloxRange again = g.reserve(100);
  CHECK(next.seed == again.seed && next.counter == again.counter && again.counter == 4);
  CHECK(state[0] == 7 && state[8] == 4);
  CHECK_THROWS(Error, g.set_state(std::span(state.data(), 15)));

  CHECK(&default_generator() == &default_generator(Device{DeviceType::CPU, 0}));
  manual_seed(123);
  CHECK(default_generator().initial_seed() == 123);
  CHECK(default_generator(Device{DeviceType::CUDA, 3}).initial_seed() == 123);
  CHECK_THROWS(Error, default_generator(Device{DeviceType::CPU, -1}));
  CHECK(random_device_seed() != random_device_seed());
  CHECK(g.seed() < (uint64_t(1) << 53));

  // Concurrent reservations never overlap.
  g.manual_seed(0);
  std::vector<uint64_t> starts(4000);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 1000; ++i) starts[t * 1000 + i] = g.reserve(4 * 3).counter;
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::sort(starts.begin(), starts.end());
  for (size_t i = 0; i < starts.size(); ++i) CHECK(starts[i] == 3 * i);
}

int main() {
  test_philox_vectors();
  test_functions();
  test_ranges();
  test_statistics();
  test_generator();
  return mg_test::report("random");
}
