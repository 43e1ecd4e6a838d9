// Least squares and the pseudoinverse.
//
// Legend: A (*, m, n), B (*, m, k), X (*, n, k), pinv(A) (*, n, m). Meta: ../core/meta_linalg.cpp. Declarations:
// minigrad/ops/linalg/lstsq.py.
#include <cstring>

#include "linalg_spectral.h"

namespace mg::cpu {

namespace {

// One of LAPACK's four least-squares drivers with its work arrays.
template <class S>
struct Driver {
  using R = real_t<S>;
  enum Kind { Gels, Gelsy, Gelsd, Gelss };
  const Lapack<S>& lib;
  Kind kind;
  int m, n, k, lda, ldb, work = 1, real_work = 1, int_work = 1;
  R rcond;

  Driver(const Lapack<S>& table, const char* name, int64_t rows, int64_t cols, int64_t sides, double cutoff)
      : lib(table),
        kind(std::strcmp(name, "gels") == 0    ? Gels
             : std::strcmp(name, "gelsy") == 0 ? Gelsy
             : std::strcmp(name, "gelsd") == 0 ? Gelsd
                                               : Gelss),
        m(int(rows)),
        n(int(cols)),
        k(int(sides)),
        lda(ld_of(rows)),
        ldb(ld_of(std::max(rows, cols))),
        rcond(R(cutoff)) {
    S query(1);
    R real_query = R(std::max(5 * std::min(m, n), 2 * n));
    int rank = 0;
    if (!empty()) call(nullptr, nullptr, nullptr, &rank, &query, -1, &real_query, &int_work);
    work = work_size(query);
    real_work = kind == Gelsd ? work_size(real_query) : std::max(5 * std::min(m, n), 2 * n);
    if (kind == Gelsy) int_work = n;
  }
  bool empty() const { return m == 0 || n == 0 || k == 0; }

  int call(S* a, S* b, R* s, int* rank, S* space, int length, R* reals, int* integers) const {
    int code = 0;
    constexpr bool complex = is_complex_scalar<S>;
    if (kind == Gels) {
      lib.gels("N", &m, &n, &k, a, &lda, b, &ldb, space, &length, &code, size_t(1));
    } else if (kind == Gelsy) {
      if constexpr (complex)
        lib.gelsy(&m, &n, &k, a, &lda, b, &ldb, integers, &rcond, rank, space, &length, reals, &code);
      else
        lib.gelsy(&m, &n, &k, a, &lda, b, &ldb, integers, &rcond, rank, space, &length, &code);
    } else if (kind == Gelsd) {
      if constexpr (complex)
        lib.gelsd(&m, &n, &k, a, &lda, b, &ldb, s, &rcond, rank, space, &length, reals, integers, &code);
      else
        lib.gelsd(&m, &n, &k, a, &lda, b, &ldb, s, &rcond, rank, space, &length, integers, &code);
    } else {
      if constexpr (complex)
        lib.gelss(&m, &n, &k, a, &lda, b, &ldb, s, &rcond, rank, space, &length, reals, &code);
      else
        lib.gelss(&m, &n, &k, a, &lda, b, &ldb, s, &rcond, rank, space, &length, &code);
    }
    return code;
  }
};

// _linalg_lstsq(A, B, rcond, driver) -> solution, rank, singular_values, info
void lstsq_cpu(Invocation& inv) {
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    using R = real_t<S>;
    const Batch<S> in(inv.in(0), 2), rhs(inv.in(1), 2), out(inv.out(0), 2);
    const Batch<int64_t> rank(inv.out(1), 0);
    const Batch<R> values(inv.out(2), 1);
    const Batch<int32_t> info(inv.out(3), 0);
    const int64_t m = in.rows, n = in.cols, k = rhs.cols, ldb = std::max<int64_t>(std::max(m, n), 1),
                  small = std::min(m, n);
    const Driver<S> driver(lapack<S>(), inv.args[3].str, m, n, k, inv.f(2));
    for_each_piece(out.count(), 4 * m * n * std::max(small, k) + 1, [&](int64_t begin, int64_t end) {
      const auto a = buffer<S>(m * n), b = buffer<S>(ldb * k), space = buffer<S>(driver.work);
      const auto s = buffer<R>(small), reals = buffer<R>(driver.real_work);
      const auto integers = buffer<int>(driver.int_work);
      for (int64_t i = begin; i < end; ++i) {
        load(a.get(), m, in, in.at(i, out.sizes));
        load(b.get(), ldb, rhs, rhs.at(i, out.sizes));
        int code = 0, found = 0;
        bool finite = all_finite(a.get(), m * n);
        for (int64_t c = 0; c < k; ++c) finite = finite && all_finite(b.get() + c * ldb, m);
        std::fill_n(s.get(), small, R(0));
        std::fill_n(integers.get(), driver.int_work, 0);  // gelsy: 0 leaves a column free to move
        if (!finite)
          code = kNotFinite;
        else if (!driver.empty())
          code = driver.call(a.get(), b.get(), s.get(), &found, space.get(), driver.work, reals.get(), integers.get());
        if (driver.empty() || code != 0) std::fill_n(b.get(), ldb * k, code != 0 ? not_a_number<S>() : S(0));
        store(out, out.at(i), b.get(), ldb);
        *rank.at(i) = found;
        if (values.rows == small) store_vector(values, values.at(i), s.get());
        *info.at(i) = code;
      }
    });
  });
}

// The reciprocals of the values above max(atol, rtol * largest), 0 for the others.
template <class R>
void invert_above(R* s, int64_t k, R atol, R rtol) {
  R largest = 0;
  for (int64_t i = 0; i < k; ++i) largest = std::max(largest, std::abs(s[i]));
  const R cut = std::max(atol, rtol * largest);
  for (int64_t i = 0; i < k; ++i) s[i] = std::abs(s[i]) > cut ? 1 / s[i] : R(0);
}

// to (m, n) = u (m, k) diag(s) w, with w (k, n), or (n, k) to be conjugate-transposed
template <class S>
void scaled_product(const Lapack<S>& lib, int64_t m, int64_t n, int64_t k, S* u, const real_t<S>* s, const S* w,
                    bool adjoint, S* to) {
  for (int64_t c = 0; c < k; ++c)
    for (int64_t r = 0; r < m; ++r) u[c * m + r] *= s[c];
  const int rows = int(m), cols = int(n), inner = int(k), ldu = ld_of(m), ldw = ld_of(adjoint ? n : k);
  const S one(1), zero(0);
  lib.gemm("N", adjoint ? "C" : "N", &rows, &cols, &inner, &one, static_cast<const S*>(u), &ldu, w, &ldw, &zero, to,
           &ldu, size_t(1), size_t(1));
}

// _linalg_pinv(input, atol, rtol, hermitian) -> out, info; tolerances are real tensors that broadcast to the batch
void pinv_cpu(Invocation& inv) {
  const bool hermitian = inv.b(3);
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    using R = real_t<S>;
    const auto& lib = lapack<S>();
    const Batch<S> in(inv.in(0), 2), out(inv.out(0), 2);
    const Batch<R> atol(inv.in(1), 0), rtol(inv.in(2), 0);
    const Batch<int32_t> info(inv.out(1), 0);
    const int64_t m = in.rows, n = in.cols, k = std::min(m, n);
    const Svd<S> svd(lib, hermitian ? 0 : m, hermitian ? 0 : n, "S");
    const Eigh<S> eigh(lib, hermitian ? n : 0, true, false);
    for_each_piece(in.count(), 10 * m * n * k + 1, [&](int64_t begin, int64_t end) {
      const auto a = buffer<S>(m * n), u = buffer<S>(m * k), vh = buffer<S>(k * n), result = buffer<S>(m * n);
      const auto s = buffer<R>(k);
      typename Svd<S>::Space svd_space(svd);
      typename Eigh<S>::Space eigh_space(eigh);
      for (int64_t i = begin; i < end; ++i) {
        load(a.get(), m, in, in.at(i));
        const int code = hermitian ? eigh.run(a.get(), s.get(), eigh_space)
                                   : svd.run(a.get(), s.get(), u.get(), vh.get(), svd_space);
        *info.at(i) = code;
        if (code != 0) {
          std::fill_n(result.get(), m * n, not_a_number<S>());
        } else if (k > 0) {
          invert_above(s.get(), k, *atol.at(i, out.sizes), *rtol.at(i, out.sizes));
          if (hermitian) std::copy_n(a.get(), n * n, u.get());
          scaled_product(lib, m, n, k, u.get(), s.get(), hermitian ? a.get() : vh.get(), hermitian, result.get());
        }
        store(out, out.at(i), result.get(), m, Part::All, true);  // pinv = (U S^-1 V^H)^H
      }
    });
  });
}

}  // namespace

MG_KERNEL("_linalg_lstsq", CPU, lstsq_cpu);
MG_KERNEL("_linalg_pinv", CPU, pinv_cpu);
MG_KERNEL_COMPLEX("_linalg_lstsq", CPU, lstsq_cpu);
MG_KERNEL_COMPLEX("_linalg_pinv", CPU, pinv_cpu);

}  // namespace mg::cpu
