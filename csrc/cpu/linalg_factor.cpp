// Triangular factorisations: Cholesky, LU, LDL, and what follows from them directly (det, slogdet, inverse of a
// Cholesky factor, the permutation behind LU's pivots).
//
// Legend: A (*, n, n), for LU (*, m, n) with k = min(m, n); info (*) is LAPACK's, checked in Python. Meta:
// ../core/meta_linalg.cpp. Declarations: minigrad/ops/linalg/factor.py.
#include "linalg_batch.h"
#include "linalg_small.h"

namespace mg::cpu {

namespace {

// _linalg_cholesky(input, upper) -> L, info
void cholesky_cpu(Invocation& inv) {
  const bool upper = inv.b(1);
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    const auto& lib = lapack<S>();
    const Batch<S> in(inv.in(0), 2), out(inv.out(0), 2);
    const Batch<int32_t> info(inv.out(1), 0);
    const int64_t n = in.rows;
    for_each_piece(in.count(), n * n * n / 3, [&](int64_t begin, int64_t end) {
      const auto a = buffer<S>(n * n);
      for (int64_t i = begin; i < end; ++i) {
        load(a.get(), n, in, in.at(i));
        const int size = int(n), ld = ld_of(n);
        int code = 0;
        if constexpr (is_complex_scalar<S>) {
          if (n > 0) lib.potrf(upper ? "U" : "L", &size, a.get(), &ld, &code, size_t(1));
        } else if (n <= kSmallMatrix) {
          code = small_cholesky(a.get(), size, upper);
        } else {
          lib.potrf(upper ? "U" : "L", &size, a.get(), &ld, &code, size_t(1));
        }
        for (int64_t d = 0; d < n && code == 0; ++d)  // OpenBLAS lets pivots pass that are not finite
          if (!all_finite(a.get() + d * n + d, 1)) code = int(d + 1);
        store(out, out.at(i), a.get(), n, upper ? Part::Upper : Part::Lower);
        *info.at(i) = code;
      }
    });
  });
}

// _cholesky_inverse(input, upper) -> out, info: inverse of L L^H (U^H U) from its factor
void cholesky_inverse_cpu(Invocation& inv) {
  const bool upper = inv.b(1);
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    const auto& lib = lapack<S>();
    const Batch<S> in(inv.in(0), 2), out(inv.out(0), 2);
    const Batch<int32_t> info(inv.out(1), 0);
    const int64_t n = in.rows;
    for_each_piece(in.count(), n * n * n, [&](int64_t begin, int64_t end) {
      const auto a = buffer<S>(n * n);
      for (int64_t i = begin; i < end; ++i) {
        load(a.get(), n, in, in.at(i));
        const int size = int(n), ld = ld_of(n);
        int code = 0;
        if (n > 0) lib.potri(upper ? "U" : "L", &size, a.get(), &ld, &code, size_t(1));
        for (int64_t c = 0; c < n; ++c)  // potri fills one triangle; the result is Hermitian
          for (int64_t r = c + 1; r < n; ++r) {
            if (upper)
              a[c * n + r] = conj_of(a[r * n + c]);
            else
              a[r * n + c] = conj_of(a[c * n + r]);
          }
        store(out, out.at(i), a.get(), n);
        *info.at(i) = code;
      }
    });
  });
}

// _linalg_lu_factor(input) -> LU, pivots, info
template <class S, class W>
void lu_factor_batch(Invocation& inv, const Batch<S>& in) {
  const auto& lib = lapack<W>();
  const Batch<S> out(inv.out(0), 2);
  const Batch<int32_t> pivots(inv.out(1), 1), info(inv.out(2), 0);
  const int64_t m = in.rows, n = in.cols, k = std::min(m, n);
  for_each_piece(in.count(), m * n * k, [&](int64_t begin, int64_t end) {
    const auto a = buffer<W>(m * n);
    const auto pivot = buffer<int32_t>(k);
    for (int64_t i = begin; i < end; ++i) {
      load(a.get(), m, in, in.at(i));
      *info.at(i) = factor_lu(lib, a.get(), m, n, pivot.get());
      store(out, out.at(i), a.get(), m);
      store_vector(pivots, pivots.at(i), pivot.get());
    }
  });
}

void lu_factor_cpu(Invocation& inv) {
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    const Batch<S> in(inv.in(0), 2);
    with_working_type<S>(std::max(in.rows, in.cols), [&](auto wide) { lu_factor_batch<S, decltype(wide)>(inv, in); });
  });
}

// The determinant of one factored matrix as sign (of modulus 1, or 0) and log of its modulus.
template <class S>
void sign_and_log(const S* lu, int64_t n, const int32_t* pivots, S& sign, real_t<S>& log_abs) {
  sign = S(1);
  log_abs = 0;
  for (int64_t i = 0; i < n; ++i) {
    const S d = lu[i * n + i];
    const real_t<S> magnitude = std::abs(d);
    if constexpr (is_complex_scalar<S>)
      sign *= magnitude == 0 ? S(0) : d / magnitude;
    else
      sign *= S((d > 0) - (d < 0));  // NaN counts as 0, as in sgn()
    log_abs += std::log(magnitude);
    if (pivots[i] != i + 1) sign = -sign;
  }
}

// _linalg_det(input) -> out, LU, pivots and _linalg_slogdet(input) -> sign, logabsdet, LU, pivots
template <bool logarithm, class S, class W>
void determinant_batch(Invocation& inv, const Batch<S>& in) {
  using R = real_t<S>;
  const auto& lib = lapack<W>();
  const Batch<S> det(inv.out(0), 0), lu(inv.out(logarithm ? 2 : 1), 2);
  const Batch<R> log_abs(inv.out(logarithm ? 1 : 0), 0);
  const Batch<int32_t> pivots(inv.out(logarithm ? 3 : 2), 1);
  const int64_t n = in.rows;
  for_each_piece(in.count(), n * n * n, [&](int64_t begin, int64_t end) {
    const auto a = buffer<W>(n * n);
    const auto pivot = buffer<int32_t>(n);
    for (int64_t i = begin; i < end; ++i) {
      load(a.get(), n, in, in.at(i));
      factor_lu(lib, a.get(), n, n, pivot.get());
      if constexpr (logarithm) {
        W sign;
        real_t<W> log;
        sign_and_log(a.get(), n, pivot.get(), sign, log);
        *det.at(i) = S(sign), *log_abs.at(i) = R(log);
      } else {
        W product(1);
        for (int64_t d = 0; d < n; ++d) product *= pivot[d] != d + 1 ? -a[d * n + d] : a[d * n + d];
        *det.at(i) = S(product);
      }
      store(lu, lu.at(i), a.get(), n);
      store_vector(pivots, pivots.at(i), pivot.get());
    }
  });
}

template <bool logarithm>
void determinant_cpu(Invocation& inv) {
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    const Batch<S> in(inv.in(0), 2);
    with_working_type<S>(in.rows, [&](auto wide) { determinant_batch<logarithm, S, decltype(wide)>(inv, in); });
  });
}

// _lu_permutation(pivots, rows) -> out: row i of L U is row out[i] of A. Pivots come from the user, so they are
// checked.
void lu_permutation_cpu(Invocation& inv) {
  const Tensor given = to_contiguous(inv.in(0), DType::Int32);
  const Batch<int32_t> pivots(*given, 1);
  const Batch<int64_t> out(inv.out(), 1);
  const int64_t m = out.rows;
  for (int64_t i = 0; i < given.numel(); ++i)
    MG_CHECK(given.ptr<int32_t>()[i] >= 1 && given.ptr<int32_t>()[i] <= m, Runtime,
             "lu_unpack: pivots out of range: got ", given.ptr<int32_t>()[i], ", expected 1 to ", m,
             ". Try the pivots that lu_factor returned.");
  const auto order = buffer<int64_t>(m);
  for (int64_t i = 0; i < out.count(); ++i) {
    for (int64_t r = 0; r < m; ++r) order[r] = r;
    const int32_t* p = pivots.at(i);
    for (int64_t r = 0; r < pivots.rows; ++r) std::swap(order[r], order[p[r * pivots.rs] - 1]);
    store_vector(out, out.at(i), order.get());
  }
}

// _linalg_ldl_factor(input, hermitian) -> LD, pivots, info; reads and writes the lower triangle
void ldl_factor_cpu(Invocation& inv) {
  const bool hermitian = inv.b(1);
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    const auto& lib = lapack<S>();
    const Routine<S>& factor = hermitian ? lib.hetrf : lib.sytrf;
    const Batch<S> in(inv.in(0), 2), out(inv.out(0), 2);
    const Batch<int32_t> pivots(inv.out(1), 1), info(inv.out(2), 0);
    const int64_t n = in.rows;
    const int size = int(n), ld = ld_of(n), ask = -1;
    int code = 0;
    S query(1);
    if (n > 0)
      factor("L", &size, static_cast<S*>(nullptr), &ld, static_cast<int*>(nullptr), &query, &ask, &code, size_t(1));
    const int work = work_size(query);
    for_each_piece(in.count(), n * n * n / 3, [&](int64_t begin, int64_t end) {
      const auto a = buffer<S>(n * n), space = buffer<S>(work);
      const auto pivot = buffer<int32_t>(n);
      for (int64_t i = begin; i < end; ++i) {
        load(a.get(), n, in, in.at(i));
        int failed = 0;
        if (n > 0) factor("L", &size, a.get(), &ld, pivot.get(), space.get(), &work, &failed, size_t(1));
        store(out, out.at(i), a.get(), n, Part::Lower);
        store_vector(pivots, pivots.at(i), pivot.get());
        *info.at(i) = failed;
      }
    });
  });
}

}  // namespace

MG_KERNEL("_linalg_cholesky", CPU, cholesky_cpu);
MG_KERNEL("_cholesky_inverse", CPU, cholesky_inverse_cpu);
MG_KERNEL("_linalg_lu_factor", CPU, lu_factor_cpu);
MG_KERNEL("_linalg_det", CPU, determinant_cpu<false>);
MG_KERNEL("_linalg_slogdet", CPU, determinant_cpu<true>);
MG_KERNEL("_lu_permutation", CPU, lu_permutation_cpu);
MG_KERNEL("_linalg_ldl_factor", CPU, ldl_factor_cpu);
MG_KERNEL_COMPLEX("_linalg_cholesky", CPU, cholesky_cpu);
MG_KERNEL_COMPLEX("_cholesky_inverse", CPU, cholesky_inverse_cpu);
MG_KERNEL_COMPLEX("_linalg_lu_factor", CPU, lu_factor_cpu);
MG_KERNEL_COMPLEX("_linalg_det", CPU, determinant_cpu<false>);
MG_KERNEL_COMPLEX("_linalg_slogdet", CPU, determinant_cpu<true>);
MG_KERNEL_COMPLEX("_linalg_ldl_factor", CPU, ldl_factor_cpu);

}  // namespace mg::cpu
