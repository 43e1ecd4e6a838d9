// The three convolution kernels against loops over their definition, for random shapes, and their independence of the
// thread count.
#include <cmath>
#include <random>
#include <vector>

#include "../../csrc/core/parallel.h"
#include "../../csrc/cpu/conv.h"
#include "check.h"

using namespace mg;
using namespace mg::cpu;

namespace {

std::mt19937 rng(11);
int64_t pick(int64_t lo, int64_t hi) { return std::uniform_int_distribution<int64_t>(lo, hi)(rng); }

template <class T>
std::vector<T> random_values(int64_t n) {
  std::normal_distribution<double> normal;
  std::vector<T> v(static_cast<size_t>(n));
  for (T& x : v) x = T(normal(rng));
  return v;
}

ConvShape random_shape() {
  ConvShape s{};
  s.G = pick(0, 2) == 0 ? pick(2, 4) : 1;
  s.N = pick(1, 4), s.C = s.G * pick(1, 6), s.O = s.G * pick(1, 20);
  s.KH = pick(1, 4), s.KW = pick(1, 4), s.SH = pick(1, 3), s.SW = pick(1, 3), s.DH = pick(1, 2), s.DW = pick(1, 2);
  s.PH = pick(0, 3), s.PW = pick(0, 3);
  s.H = pick(1, 20), s.W = pick(1, 20);
  s.D = s.KD = s.SD = s.DD = 1;
  if (pick(0, 3) == 0) {  // three-dimensional
    s.KD = pick(1, 3), s.SD = pick(1, 2), s.DD = pick(1, 2), s.PD = pick(0, 2), s.D = pick(1, 6);
    s.H = pick(1, 8), s.W = pick(1, 8);
  }
  s.OD = (s.D + 2 * s.PD - s.DD * (s.KD - 1) - 1) / s.SD + 1;
  s.OH = (s.H + 2 * s.PH - s.DH * (s.KH - 1) - 1) / s.SH + 1;
  s.OW = (s.W + 2 * s.PW - s.DW * (s.KW - 1) - 1) / s.SW + 1;
  const bool fits = s.D + 2 * s.PD > s.DD * (s.KD - 1) && s.H + 2 * s.PH > s.DH * (s.KH - 1) && s.W + 2 * s.PW > s.DW * (s.KW - 1);
  return fits ? s : random_shape();
}

// f(index into y, into x, into w) for every product of the convolution.
template <class F>
void for_products(const ConvShape& s, F&& f) {
  for (int64_t y = 0; y < s.N * s.O * s.pixels(); ++y) {
    const int64_t ow = y % s.OW, oh = y / s.OW % s.OH, od = y / (s.OW * s.OH) % s.OD, o = y / s.pixels() % s.O, n = y / s.pixels() / s.O;
    for (int64_t t = 0; t < s.taps(); ++t) {
      const int64_t c = t / s.kernel() + o / s.Og() * s.Cg();
      const int64_t d = od * s.SD - s.PD + t / (s.KH * s.KW) % s.KD * s.DD, h = oh * s.SH - s.PH + t / s.KW % s.KH * s.DH,
                    w = ow * s.SW - s.PW + t % s.KW * s.DW;
      if (d < 0 || d >= s.D || h < 0 || h >= s.H || w < 0 || w >= s.W) continue;
      f(y, (((n * s.C + c) * s.D + d) * s.H + h) * s.W + w, o * s.taps() + t);
    }
  }
}

template <class T>
double error(const std::vector<T>& got, const std::vector<double>& want) {
  double worst = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const double e = std::fabs(double(got[i]) - want[i]) / (1 + std::fabs(want[i]));
    worst = e <= worst ? worst : e;  // NaN becomes the worst
  }
  return worst;
}

template <class T>
void check_shape(const ConvShape& s, double tolerance) {
  const int64_t nx = s.N * s.C * s.D * s.H * s.W, ny = s.N * s.O * s.pixels(), nw = s.O * s.taps();
  const auto x = random_values<T>(nx), y = random_values<T>(ny), w = random_values<T>(nw),
             bias = random_values<T>(s.O + s.C);
  std::vector<double> dx(static_cast<size_t>(nx)), dy(static_cast<size_t>(ny)), dw(static_cast<size_t>(nw));
  for (int64_t i = 0; i < ny; ++i) dy[size_t(i)] = double(bias[size_t(i / s.pixels() % s.O)]);
  for (int64_t i = 0; i < nx; ++i) dx[size_t(i)] = double(bias[size_t(i / (s.D * s.H * s.W) % s.C)]);
  for_products(s, [&](int64_t iy, int64_t ix, int64_t iw) {
    dy[size_t(iy)] += double(x[size_t(ix)]) * double(w[size_t(iw)]);
    dx[size_t(ix)] += double(y[size_t(iy)]) * double(w[size_t(iw)]);
    dw[size_t(iw)] += double(y[size_t(iy)]) * double(x[size_t(ix)]);
  });
  std::vector<std::vector<T>> first;
  for (int threads : {1, 3}) {
    set_num_threads(threads);
    std::vector<T> a(static_cast<size_t>(ny)), b(static_cast<size_t>(nx)), c(static_cast<size_t>(nw));
    conv_forward<T>(s, x.data(), w.data(), bias.data(), a.data());
    conv_data<T>(s, y.data(), w.data(), bias.data(), b.data());
    conv_weight<T>(s, x.data(), y.data(), c.data());
    if (threads == 1) {
      CHECK(error(a, dy) <= tolerance);
      CHECK(error(b, dx) <= tolerance);
      CHECK(error(c, dw) <= tolerance);
      first = {a, b, c};
    }
    CHECK((first == std::vector<std::vector<T>>{a, b, c}));
  }
}

ConvShape square(int64_t n, int64_t c, int64_t size, int64_t o, int64_t k, int64_t stride, int64_t groups) {
  const int64_t pad = k / 2, out = (size + 2 * pad - k) / stride + 1;
  return {n, c, 1, size, size, o, groups, 1, k, k, 1, stride, stride, 0, pad, pad, 1, 1, 1, 1, out, out};
}

}  // namespace

int main() {
  for (int i = 0; i < 150; ++i) {
    const ConvShape s = random_shape();
    check_shape<float>(s, 2e-5);
    if (i % 2 == 0) check_shape<double>(s, 1e-12);
  }
  for (const ConvShape& s :
       {square(3, 40, 14, 70, 3, 1, 1), square(2, 70, 9, 33, 3, 2, 1), square(5, 64, 4, 48, 3, 1, 1),
        square(2, 33, 17, 40, 1, 1, 1), square(2, 24, 20, 24, 3, 1, 24), square(2, 3, 33, 16, 7, 2, 1),
        square(2, 20, 16, 40, 3, 2, 1), square(1, 33, 23, 17, 3, 2, 1), square(7, 70, 8, 66, 3, 2, 1),
        square(3, 33, 17, 40, 1, 2, 1), square(2, 17, 16, 130, 1, 3, 1)})
    check_shape<float>(s, 5e-5);
  return mg_test::report("conv");
}
