// QR factorisation and Householder reflectors.
//
// Legend: A (*, m, n), k = min(m, n); reflectors below the diagonal of (*, m, k) with their factors tau (*, k), as
// geqrf leaves them: H_i = I - tau_i v_i v_i^H. Meta: ../core/meta_linalg.cpp. Declarations:
// minigrad/ops/linalg/ortho.py.
#include "linalg_batch.h"

namespace mg::cpu {

namespace {

// geqrf with its work array.
template <class S>
struct Qr {
  const Routine<S>& routine;
  int m, n, ld, work = 1;
  Qr(const Lapack<S>& lib, int64_t rows, int64_t cols)
      : routine(lib.geqrf), m(int(rows)), n(int(cols)), ld(ld_of(rows)) {
    const int ask = -1;
    int code = 0;
    S query(1);
    if (m > 0 && n > 0) routine(&m, &n, static_cast<S*>(nullptr), &ld, static_cast<S*>(nullptr), &query, &ask, &code);
    work = work_size(query);
  }
  void operator()(S* a, S* tau, S* space) const {
    int code = 0;
    if (m > 0 && n > 0) routine(&m, &n, a, &ld, tau, space, &work, &code);
  }
};

// orgqr: the first n columns of the product of k reflectors.
template <class S>
struct MakeQ {
  const Routine<S>& routine;
  int m, n, k, ld, work = 1;
  MakeQ(const Lapack<S>& lib, int64_t rows, int64_t cols, int64_t count)
      : routine(lib.orgqr), m(int(rows)), n(int(cols)), k(int(count)), ld(ld_of(rows)) {
    const int ask = -1;
    int code = 0;
    S query(1);
    if (m > 0 && n > 0)
      routine(&m, &n, &k, static_cast<S*>(nullptr), &ld, static_cast<const S*>(nullptr), &query, &ask, &code);
    work = work_size(query);
  }
  void operator()(S* a, const S* tau, S* space) const {
    int code = 0;
    if (m > 0 && n > 0) routine(&m, &n, &k, a, &ld, tau, space, &work, &code);
  }
};

// _linalg_qr(input, mode) -> Q, R with mode 0 reduced, 1 complete, 2 R alone
void qr_cpu(Invocation& inv) {
  const int64_t mode = inv.i(1);
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    const auto& lib = lapack<S>();
    const Batch<S> in(inv.in(0), 2), r(inv.out(1), 2), q = mode == 2 ? r : Batch<S>(inv.out(0), 2);
    const int64_t m = in.rows, n = in.cols, k = std::min(m, n), q_cols = mode == 1 ? m : k;
    const Qr<S> factor(lib, m, n);
    const MakeQ<S> make_q(lib, m, q_cols, k);
    for_each_piece(in.count(), 4 * m * n * k, [&](int64_t begin, int64_t end) {
      const auto a = buffer<S>(m * std::max(n, q_cols)), tau = buffer<S>(k),
                 space = buffer<S>(std::max(factor.work, make_q.work));
      for (int64_t i = begin; i < end; ++i) {
        load(a.get(), m, in, in.at(i));
        factor(a.get(), tau.get(), space.get());
        store(r, r.at(i), a.get(), m, Part::Upper);
        if (mode == 2) continue;
        make_q(a.get(), tau.get(), space.get());
        store(q, q.at(i), a.get(), m);
      }
    });
  });
}

// geqrf(input) -> a, tau
void geqrf_cpu(Invocation& inv) {
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    const auto& lib = lapack<S>();
    const Batch<S> in(inv.in(0), 2), out(inv.out(0), 2), factors(inv.out(1), 1);
    const int64_t m = in.rows, n = in.cols, k = std::min(m, n);
    const Qr<S> factor(lib, m, n);
    for_each_piece(in.count(), 2 * m * n * k, [&](int64_t begin, int64_t end) {
      const auto a = buffer<S>(m * n), tau = buffer<S>(k), space = buffer<S>(factor.work);
      for (int64_t i = begin; i < end; ++i) {
        load(a.get(), m, in, in.at(i));
        factor(a.get(), tau.get(), space.get());
        store(out, out.at(i), a.get(), m);
        store_vector(factors, factors.at(i), tau.get());
      }
    });
  });
}

template <class S>
void load_vector(S* to, const Batch<S>& b, const S* from) {
  for (int64_t i = 0; i < b.rows; ++i) to[i] = from[i * b.rs];
}

// _householder_product(input, tau) -> out
void householder_cpu(Invocation& inv) {
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    const auto& lib = lapack<S>();
    const Batch<S> in(inv.in(0), 2), tau(inv.in(1), 1), out(inv.out(), 2);
    const int64_t m = in.rows, n = in.cols, k = tau.rows;
    const MakeQ<S> make_q(lib, m, n, k);
    for_each_piece(out.count(), 2 * m * n * std::max<int64_t>(k, 1), [&](int64_t begin, int64_t end) {
      const auto a = buffer<S>(m * n), factors = buffer<S>(k), space = buffer<S>(make_q.work);
      for (int64_t i = begin; i < end; ++i) {
        load(a.get(), m, in, in.at(i));
        load_vector(factors.get(), tau, tau.at(i));
        make_q(a.get(), factors.get(), space.get());
        store(out, out.at(i), a.get(), m);
      }
    });
  });
}

// _ormqr(input, tau, other, left, transpose) -> out: Q other, Q^H other, other Q, other Q^H
void ormqr_cpu(Invocation& inv) {
  const bool left = inv.b(3), adjoint = inv.b(4);
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    const auto& lib = lapack<S>();
    const Batch<S> in(inv.in(0), 2), tau(inv.in(1), 1), other(inv.in(2), 2), out(inv.out(), 2);
    const int m = int(other.rows), n = int(other.cols), k = int(tau.rows), lda = ld_of(in.rows), ldc = ld_of(m),
              ask = -1;
    const char *side = left ? "L" : "R", *trans = !adjoint ? "N" : is_complex_scalar<S> ? "C" : "T";
    const bool empty = m == 0 || n == 0;
    int code = 0;
    S query(1);
    if (!empty)
      lib.ormqr(side, trans, &m, &n, &k, static_cast<S*>(nullptr), &lda, static_cast<S*>(nullptr),
                static_cast<S*>(nullptr), &ldc, &query, &ask, &code, size_t(1), size_t(1));
    const int work = work_size(query);
    for_each_piece(out.count(), 2 * int64_t(m) * n * std::max(k, 1), [&](int64_t begin, int64_t end) {
      const auto a = buffer<S>(in.rows * in.cols), factors = buffer<S>(k), c = buffer<S>(int64_t(m) * n),
                 space = buffer<S>(work);
      for (int64_t i = begin; i < end; ++i) {
        load(a.get(), in.rows, in, in.at(i));
        load_vector(factors.get(), tau, tau.at(i));
        load(c.get(), m, other, other.at(i));
        int failed = 0;
        if (!empty)
          lib.ormqr(side, trans, &m, &n, &k, a.get(), &lda, factors.get(), c.get(), &ldc, space.get(), &work, &failed,
                    size_t(1), size_t(1));
        store(out, out.at(i), c.get(), m);
      }
    });
  });
}

}  // namespace

MG_KERNEL("_linalg_qr", CPU, qr_cpu);
MG_KERNEL("_geqrf", CPU, geqrf_cpu);
MG_KERNEL("_householder_product", CPU, householder_cpu);
MG_KERNEL("_ormqr", CPU, ormqr_cpu);
MG_KERNEL_COMPLEX("_linalg_qr", CPU, qr_cpu);
MG_KERNEL_COMPLEX("_geqrf", CPU, geqrf_cpu);
MG_KERNEL_COMPLEX("_householder_product", CPU, householder_cpu);
MG_KERNEL_COMPLEX("_ormqr", CPU, ormqr_cpu);

}  // namespace mg::cpu
