// matrix_exp by scaling and squaring with Pade approximants.
//
// exp(A) = exp(A / 2^s)^(2^s); the diagonal Pade approximant of degree 3 to 13 is the smallest whose backward error
// stays below half an ulp for the 1-norm of the (scaled) matrix. Source: N. Higham, The scaling and squaring method for
// the matrix exponential revisited, SIAM J. Matrix Anal. Appl. 26 (2005), tables 2.3 and 2.4. Every matrix of a batch
// gets its own degree and scaling. Declaration: minigrad/ops/linalg/product.py.
#include <cmath>

#include "linalg_batch.h"

namespace mg::cpu {

namespace {

constexpr double kPade3[] = {120, 60, 12, 1};
constexpr double kPade5[] = {30240, 15120, 3360, 420, 30, 1};
constexpr double kPade7[] = {17297280, 8648640, 1995840, 277200, 25200, 1512, 56, 1};
constexpr double kPade9[] = {17643225600., 8821612800., 2075673600., 302702400., 30270240.,
                             2162160.,     110880.,     3960.,       90.,        1.};
constexpr double kPade13[] = {64764752532480000.,
                              32382376266240000.,
                              7771770303897600.,
                              1187353796428800.,
                              129060195264000.,
                              10559470521600.,
                              670442572800.,
                              33522128640.,
                              1323241920.,
                              40840800.,
                              960960.,
                              16380.,
                              182.,
                              1.};
struct Degree {
  int degree;
  const double* coefficients;
  double norm;  // largest 1-norm it serves
};
constexpr Degree kDouble[] = {{3, kPade3, 1.495585217958292e-2},
                              {5, kPade5, 2.539398330063230e-1},
                              {7, kPade7, 9.504178996162932e-1},
                              {9, kPade9, 2.097847961257068},
                              {13, kPade13, 5.371920351148152}};
constexpr Degree kFloat[] = {
    {3, kPade3, 4.258730016922831e-1}, {5, kPade5, 1.880152677804762}, {7, kPade7, 3.925724783138660}};

template <class S>
class Exponential {
  using R = real_t<S>;
  const Lapack<S>& lib_;
  int64_t n_;
  Buffer<S> a_, a2_, a4_, a6_, u_, v_, t_;
  Buffer<int> pivots_;

  // c = a b
  void multiply(const S* a, const S* b, S* c) const {
    const int n = int(n_);
    const S one(1), zero(0);
    lib_.gemm("N", "N", &n, &n, &n, &one, a, &n, b, &n, &zero, c, &n, size_t(1), size_t(1));
  }
  // t = sum of coefficients times even powers: c0 I + c1 A^2 + c2 A^4 + c3 A^6
  void combine(S* t, double c0, double c1, double c2, double c3) const {
    for (int64_t i = 0; i < n_ * n_; ++i) {
      S x = S(R(c1)) * a2_[i];
      if (c2 != 0) x += S(R(c2)) * a4_[i];
      if (c3 != 0) x += S(R(c3)) * a6_[i];
      t[i] = x;
    }
    for (int64_t i = 0; i < n_; ++i) t[i * n_ + i] += S(R(c0));
  }
  // Odd part u (still to be multiplied by A) and even part v.
  void parts(const Degree& d) {
    const double* b = d.coefficients;
    const int64_t count = n_ * n_;
    if (d.degree <= 7) {
      const bool five = d.degree >= 5, seven = d.degree >= 7;
      combine(u_.get(), b[1], b[3], five ? b[5] : 0, seven ? b[7] : 0);
      combine(v_.get(), b[0], b[2], five ? b[4] : 0, seven ? b[6] : 0);
    } else if (d.degree == 9) {
      multiply(a6_.get(), a2_.get(), t_.get());
      combine(u_.get(), b[1], b[3], b[5], b[7]);
      combine(v_.get(), b[0], b[2], b[4], b[6]);
      for (int64_t i = 0; i < count; ++i) u_[i] += S(R(b[9])) * t_[i], v_[i] += S(R(b[8])) * t_[i];
    } else {
      Buffer<S> high = buffer<S>(count);
      combine(t_.get(), 0, b[9], b[11], b[13]);
      multiply(a6_.get(), t_.get(), high.get());
      combine(u_.get(), b[1], b[3], b[5], b[7]);
      for (int64_t i = 0; i < count; ++i) u_[i] += high[i];
      combine(t_.get(), 0, b[8], b[10], b[12]);
      multiply(a6_.get(), t_.get(), high.get());
      combine(v_.get(), b[0], b[2], b[4], b[6]);
      for (int64_t i = 0; i < count; ++i) v_[i] += high[i];
    }
  }

 public:
  Exponential(const Lapack<S>& lib, int64_t n)
      : lib_(lib),
        n_(n),
        a_(buffer<S>(n * n)),
        a2_(buffer<S>(n * n)),
        a4_(buffer<S>(n * n)),
        a6_(buffer<S>(n * n)),
        u_(buffer<S>(n * n)),
        v_(buffer<S>(n * n)),
        t_(buffer<S>(n * n)),
        pivots_(buffer<int>(n)) {}

  S* matrix() { return a_.get(); }

  double norm1() const {
    double largest = 0;
    for (int64_t c = 0; c < n_; ++c) {
      double sum = 0;
      for (int64_t r = 0; r < n_; ++r) sum += std::abs(a_[c * n_ + r]);
      largest = std::isnan(sum) || sum > largest ? sum : largest;
      if (std::isnan(largest)) break;
    }
    return largest;
  }

  // exp of matrix(), which is overwritten.
  const S* run() {
    const int64_t count = n_ * n_;
    const double norm = norm1();
    if (!std::isfinite(norm)) {
      std::fill_n(a_.get(), count, S(std::numeric_limits<R>::quiet_NaN()));
      return a_.get();
    }
    constexpr bool single = std::is_same_v<R, float>;
    const Degree* d = single ? std::begin(kFloat) : std::begin(kDouble);
    const Degree* const last = (single ? std::end(kFloat) : std::end(kDouble)) - 1;
    while (d != last && norm > d->norm) ++d;
    const int squarings = norm > d->norm ? std::max(0, int(std::ceil(std::log2(norm / d->norm)))) : 0;
    if (squarings > 0)
      for (int64_t i = 0; i < count; ++i) a_[i] *= R(std::ldexp(1.0, -squarings));
    multiply(a_.get(), a_.get(), a2_.get());
    if (d->degree >= 5) multiply(a2_.get(), a2_.get(), a4_.get());
    if (d->degree >= 7) multiply(a4_.get(), a2_.get(), a6_.get());
    parts(*d);
    multiply(a_.get(), u_.get(), t_.get());
    for (int64_t i = 0; i < count; ++i) {  // (V - U) X = V + U
      a_[i] = v_[i] - t_[i];
      u_[i] = v_[i] + t_[i];
    }
    const int n = int(n_);
    int code = 0;
    lib_.getrf(&n, &n, a_.get(), &n, pivots_.get(), &code);
    if (code == 0) lib_.getrs("N", &n, &n, a_.get(), &n, pivots_.get(), u_.get(), &n, &code, size_t(1));
    for (int s = 0; s < squarings; ++s) {
      multiply(u_.get(), u_.get(), t_.get());
      std::swap(u_, t_);
    }
    return u_.get();
  }
};

// _matrix_exp(input) -> out
void matrix_exp_cpu(Invocation& inv) {
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    const auto& lib = lapack<S>();
    const Batch<S> in(inv.in(0), 2), out(inv.out(), 2);
    const int64_t n = in.rows;
    if (n == 0) return;
    for_each_piece(in.count(), 8 * n * n * n, [&](int64_t begin, int64_t end) {
      Exponential<S> e(lib, n);
      for (int64_t i = begin; i < end; ++i) {
        load(e.matrix(), n, in, in.at(i));
        store(out, out.at(i), e.run(), n);
      }
    });
  });
}

}  // namespace

MG_KERNEL("_matrix_exp", CPU, matrix_exp_cpu);
MG_KERNEL_COMPLEX("_matrix_exp", CPU, matrix_exp_cpu);

}  // namespace mg::cpu
