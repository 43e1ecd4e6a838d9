// One singular value or Hermitian eigenvalue decomposition with its work arrays; shared by linalg_eigen.cpp and
// linalg_lstsq.cpp. Everything is column-major. run() returns LAPACK's info, or kNotFinite without calling LAPACK: some
// of its iterations do not end on NaN.
#pragma once
#include "linalg_batch.h"

namespace mg::cpu {

constexpr int kNotFinite = -1;

template <class S>
struct Svd {
  using R = real_t<S>;
  const Lapack<S>& lib;
  const char* job;  // "A" all vectors, "S" the first min(m, n), "N" none
  int m, n, k, ldu, ldvt, work = 1;
  int64_t real_work;

  Svd(const Lapack<S>& table, int64_t rows, int64_t cols, const char* which)
      : lib(table),
        job(which),
        m(int(rows)),
        n(int(cols)),
        k(std::min(m, n)),
        ldu(ld_of(m)),
        ldvt(ld_of(*job == 'A' ? n : k)) {
    const int64_t small = k, large = std::max(m, n);
    real_work = *job == 'N' ? 7 * small
                            : std::max(5 * small * small + 5 * small, 2 * large * small + 2 * small * small + small);
    S query(1);
    if (k > 0) call(nullptr, nullptr, nullptr, nullptr, &query, -1, nullptr, nullptr);
    work = work_size(query);
  }
  int call(S* a, R* s, S* u, S* vt, S* space, int length, R* reals, int* integers) const {
    int code = 0;
    const int lda = ldu;
    if constexpr (is_complex_scalar<S>)
      lib.gesdd(job, &m, &n, a, &lda, s, u, &ldu, vt, &ldvt, space, &length, reals, integers, &code, size_t(1));
    else
      lib.gesdd(job, &m, &n, a, &lda, s, u, &ldu, vt, &ldvt, space, &length, integers, &code, size_t(1));
    return code;
  }
  // Work arrays, one set per thread.
  struct Space {
    Buffer<S> work;
    Buffer<R> reals;
    Buffer<int> integers;
    explicit Space(const Svd& d)
        : work(buffer<S>(d.work)),
          reals(buffer<R>(is_complex_scalar<S> ? d.real_work : 1)),
          integers(buffer<int>(8 * int64_t(d.k))) {}
  };
  int run(S* a, R* s, S* u, S* vt, Space& space) const {
    if (k == 0) return 0;
    if (!all_finite(a, int64_t(m) * n)) return kNotFinite;
    return call(a, s, u, vt, space.work.get(), work, space.reals.get(), space.integers.get());
  }
};

// Reads one triangle of a; with vectors, a becomes them.
template <class S>
struct Eigh {
  using R = real_t<S>;
  const Lapack<S>& lib;
  const char *job, *triangle;
  int n, ld, work = 1, real_work = 1, int_work = 1;

  Eigh(const Lapack<S>& table, int64_t size, bool vectors, bool upper)
      : lib(table), job(vectors ? "V" : "N"), triangle(upper ? "U" : "L"), n(int(size)), ld(ld_of(size)) {
    S query(1);
    R real_query = 1;
    if (n > 0) call(nullptr, nullptr, &query, -1, &real_query, -1, &int_work, -1);
    work = work_size(query);
    real_work = work_size(real_query);
  }
  int call(S* a, R* w, S* space, int length, R* reals, int real_length, int* integers, int int_length) const {
    int code = 0;
    if constexpr (is_complex_scalar<S>)
      lib.syevd(job, triangle, &n, a, &ld, w, space, &length, reals, &real_length, integers, &int_length, &code,
                size_t(1), size_t(1));
    else
      lib.syevd(job, triangle, &n, a, &ld, w, space, &length, integers, &int_length, &code, size_t(1), size_t(1));
    return code;
  }
  struct Space {
    Buffer<S> work;
    Buffer<R> reals;
    Buffer<int> integers;
    explicit Space(const Eigh& d)
        : work(buffer<S>(d.work)), reals(buffer<R>(d.real_work)), integers(buffer<int>(d.int_work)) {}
  };
  int run(S* a, R* w, Space& space) const {
    for (int64_t c = 0; c < n; ++c) {
      const bool upper = *triangle == 'U';
      const int64_t first = upper ? 0 : c, count = upper ? c + 1 : n - c;
      if (!all_finite(a + c * n + first, count)) return kNotFinite;
    }
    return n == 0 ? 0
                  : call(a, w, space.work.get(), work, space.reals.get(), real_work, space.integers.get(), int_work);
  }
};

template <class S>
S not_a_number() {
  return S(std::numeric_limits<real_t<S>>::quiet_NaN());
}

}  // namespace mg::cpu
