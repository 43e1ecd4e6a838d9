// Singular values, eigenvalues and their vectors.
//
// Legend: A (*, m, n) or (*, n, n); info (*) is LAPACK's, or kNotFinite; Python raises. Outputs of a matrix that failed
// are NaN. Meta: ../core/meta_linalg.cpp. Declarations: minigrad/ops/linalg/eigen.py.
#include "linalg_spectral.h"

namespace mg::cpu {

namespace {

// _linalg_svd(input, full_matrices, compute_uv) -> U, S, Vh, info; without vectors U and Vh are empty
void svd_cpu(Invocation& inv) {
  const bool vectors = inv.b(2);
  const char* job = !vectors ? "N" : inv.b(1) ? "A" : "S";
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    using R = real_t<S>;
    const Batch<S> in(inv.in(0), 2), u = vectors ? Batch<S>(inv.out(0), 2) : in,
                                     vh = vectors ? Batch<S>(inv.out(2), 2) : in;
    const Batch<R> values(inv.out(1), 1);
    const Batch<int32_t> info(inv.out(3), 0);
    const int64_t m = in.rows, n = in.cols, k = std::min(m, n);
    const Svd<S> svd(lapack<S>(), m, n, job);
    for_each_piece(in.count(), 8 * m * n * k + 1, [&](int64_t begin, int64_t end) {
      const auto a = buffer<S>(m * n), left = buffer<S>(vectors ? m * u.cols : 1),
                 right = buffer<S>(vectors ? vh.rows * n : 1);
      const auto s = buffer<R>(k);
      typename Svd<S>::Space space(svd);
      for (int64_t i = begin; i < end; ++i) {
        load(a.get(), m, in, in.at(i));
        const int code = svd.run(a.get(), s.get(), left.get(), right.get(), space);
        *info.at(i) = code;
        if (code != 0) std::fill_n(s.get(), k, not_a_number<R>());
        store_vector(values, values.at(i), s.get());
        if (!vectors) continue;
        if (code != 0 || k == 0) {  // of nothing: the identity, whose columns are orthonormal
          for (const auto& [b, p] : {std::pair(left.get(), &u), std::pair(right.get(), &vh)})
            for (int64_t r = 0; r < p->rows; ++r)
              for (int64_t c = 0; c < p->cols; ++c) b[c * p->rows + r] = code != 0 ? not_a_number<S>() : S(r == c);
        }
        store(u, u.at(i), left.get(), m);
        store(vh, vh.at(i), right.get(), vh.rows);
      }
    });
  });
}

// _linalg_eigh(input, upper, compute_v) -> eigenvalues, eigenvectors, info
void eigh_cpu(Invocation& inv) {
  const bool upper = inv.b(1), vectors = inv.b(2);
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    using R = real_t<S>;
    const Batch<S> in(inv.in(0), 2), v = vectors ? Batch<S>(inv.out(1), 2) : in;
    const Batch<R> values(inv.out(0), 1);
    const Batch<int32_t> info(inv.out(2), 0);
    const int64_t n = in.rows;
    const Eigh<S> eigh(lapack<S>(), n, vectors, upper);
    for_each_piece(in.count(), 8 * n * n * n + 1, [&](int64_t begin, int64_t end) {
      const auto a = buffer<S>(n * n);
      const auto w = buffer<R>(n);
      typename Eigh<S>::Space space(eigh);
      for (int64_t i = begin; i < end; ++i) {
        load(a.get(), n, in, in.at(i));
        const int code = eigh.run(a.get(), w.get(), space);
        *info.at(i) = code;
        if (code != 0) {
          std::fill_n(w.get(), n, not_a_number<R>());
          std::fill_n(a.get(), n * n, not_a_number<S>());
        }
        store_vector(values, values.at(i), w.get());
        if (vectors) store(v, v.at(i), a.get(), n);
      }
    });
  });
}

// Eigenvalues w (n) and, with vectors, v (n, n) of a general matrix.
template <class S>
struct Eig {
  using R = real_t<S>;
  using C = std::complex<R>;
  const Lapack<S>& lib;
  const char* job;
  int n, ld, work = 1;

  Eig(const Lapack<S>& table, int64_t size, bool vectors)
      : lib(table), job(vectors ? "V" : "N"), n(int(size)), ld(ld_of(size)) {
    S query(1);
    R unused = 0;  // zgeev's query writes its first real
    if (n > 0) call(nullptr, nullptr, nullptr, &unused, &query, -1);
    work = work_size(query);
  }
  // values: 2n reals, for real matrices the real parts and then the imaginary parts.
  int call(S* a, R* values, S* vr, R* reals, S* space, int length) const {
    int code = 0;
    const int one = 1;
    S* const none = nullptr;
    if constexpr (is_complex_scalar<S>)
      lib.geev("N", job, &n, a, &ld, reinterpret_cast<S*>(values), none, &one, vr, &ld, space, &length, reals, &code,
               size_t(1), size_t(1));
    else
      lib.geev("N", job, &n, a, &ld, values, values + n, none, &one, vr, &ld, space, &length, &code, size_t(1),
               size_t(1));
    return code;
  }
  void unpack(const R* values, const S* vr, C* w, C* v) const {
    for (int64_t j = 0; j < n; ++j) {
      if constexpr (is_complex_scalar<S>) {
        w[j] = C(values[2 * j], values[2 * j + 1]);
        if (v != nullptr) std::copy_n(vr + j * n, n, v + j * n);
      } else {
        w[j] = C(values[j], values[n + j]);
        if (v == nullptr) continue;
        const R im = values[n + j];  // conjugate pairs (j, j + 1) share the columns real part, imaginary part
        for (int64_t i = 0; i < n; ++i)
          v[j * n + i] = im == 0  ? C(vr[j * n + i])
                         : im > 0 ? C(vr[j * n + i], vr[(j + 1) * n + i])
                                  : C(vr[(j - 1) * n + i], -vr[j * n + i]);
      }
    }
  }
};

// _linalg_eig(input, compute_v) -> eigenvalues, eigenvectors, info
void eig_cpu(Invocation& inv) {
  const bool vectors = inv.b(1);
  dispatch_linalg(inv.in(0).dtype, [&](auto tag) {
    using S = decltype(tag);
    using R = real_t<S>;
    using C = std::complex<R>;
    const Batch<S> in(inv.in(0), 2);
    const Batch<C> values(inv.out(0), 1), v = vectors ? Batch<C>(inv.out(1), 2) : values;
    const Batch<int32_t> info(inv.out(2), 0);
    const int64_t n = in.rows;
    const Eig<S> eig(lapack<S>(), n, vectors);
    for_each_piece(in.count(), 20 * n * n * n + 1, [&](int64_t begin, int64_t end) {
      const auto a = buffer<S>(n * n), vr = buffer<S>(vectors ? n * n : 1), space = buffer<S>(eig.work);
      const auto parts = buffer<R>(2 * n), reals = buffer<R>(2 * n);
      const auto w = buffer<C>(n), full = buffer<C>(vectors ? n * n : 1);
      for (int64_t i = begin; i < end; ++i) {
        load(a.get(), n, in, in.at(i));
        int code = 0;
        if (!all_finite(a.get(), n * n))
          code = kNotFinite;
        else if (n > 0)
          code = eig.call(a.get(), parts.get(), vr.get(), reals.get(), space.get(), eig.work);
        if (code == 0) {
          eig.unpack(parts.get(), vr.get(), w.get(), vectors ? full.get() : nullptr);
        } else {
          std::fill_n(w.get(), n, not_a_number<C>());
          if (vectors) std::fill_n(full.get(), n * n, not_a_number<C>());
        }
        *info.at(i) = code;
        store_vector(values, values.at(i), w.get());
        if (vectors) store(v, v.at(i), full.get(), n);
      }
    });
  });
}

}  // namespace

MG_KERNEL("_linalg_svd", CPU, svd_cpu);
MG_KERNEL("_linalg_eigh", CPU, eigh_cpu);
MG_KERNEL("_linalg_eig", CPU, eig_cpu);
MG_KERNEL_COMPLEX("_linalg_svd", CPU, svd_cpu);
MG_KERNEL_COMPLEX("_linalg_eigh", CPU, eigh_cpu);
MG_KERNEL_COMPLEX("_linalg_eig", CPU, eig_cpu);

}  // namespace mg::cpu
