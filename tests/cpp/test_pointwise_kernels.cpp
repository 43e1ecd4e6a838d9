// Every pointwise kernel, on every instruction set this machine has, against scalar double arithmetic: random and special
// values, all tail lengths, nothing written outside, in place over each operand, integer division by zero reported.
#include <string>
#include <vector>

#include "pointwise_reference.h"

namespace {

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
                        "bce_logits_error",
                        "kl_error",
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
      else reinterpret_cast<T*>(b.in[k].data())[i] = random_real<T>(rng);
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
    if (is_bool) ok = got == want;
    else if (std::isnan(want) || std::isnan(got)) ok = std::isnan(want) && std::isnan(got);
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
      if (k == 0 && row->mask) reinterpret_cast<uint8_t*>(b.in[k].data())[i] = uint8_t(r % 2);
      else reinterpret_cast<S*>(b.in[k].data())[i] = S(v);
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

}  // namespace

int main() {
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
  }
  return mg_test::report("pointwise_kernels");
}
