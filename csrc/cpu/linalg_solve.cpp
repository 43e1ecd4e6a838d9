// Linear systems: by LU of a matrix (solve, inv), by a given factor (lu_solve, solve_triangular, ldl_solve).
//
// Legend: A (*, n, n); B, X (*, n, k), with left=False (*, k, n) for X A = B. The batches of A and B broadcast; a
// matrix that several right sides share is factored once. X A = B is solved as A^H X^H = B^H, so LAPACK only sees left
// sides. Meta: ../core/meta_linalg.cpp. Declarations: minigrad/ops/linalg/solve.py.
#include "linalg_small.h"

namespace mg::cpu {

namespace {

// Work estimate of one system with k right sides.
int64_t solve_work(int64_t n, int64_t k) { return n * n * (k + 4); }

void check_pivots(const int32_t* pivots, int64_t count, int64_t n) {
  for (int64_t i = 0; i < count; ++i)
    MG_CHECK(pivots[i] >= 1 && pivots[i] <= n, Runtime, "linalg.lu_solve: pivots out of range: got ", pivots[i],
             ", expected 1 to ", n, ". Try the pivots that lu_factor returned.");
}

// Right sides of one output batch, to and from column-major.
template <class S>
struct Sides {
  Batch<S> b, x;
  bool left;
  int64_t n, k;
  Sides(const TensorImpl& rhs, const TensorImpl& out, bool is_left)
      : b(rhs, 2), x(out, 2), left(is_left), n(is_left ? x.rows : x.cols), k(is_left ? x.cols : x.rows) {}
  template <class W>
  void read(W* to, int64_t i) const { load(to, n, b, b.at(i, x.sizes), !left); }
  template <class W>
  void write(const W* from, int64_t i) const { store(x, x.at(i), from, n, Part::All, !left); }
};

// X from a column-major LU with its pivots, one per item of `lu`'s batch.
template <class W, class S>
void solve_factored(const Lapack<W>& lib, const W* factors, const int32_t* pivots, const Batch<S>& lu,
                    const Sides<S>& s, bool adjoint) {
  const int64_t n = s.n, k = s.k;
  // left: A X = B or A^H X = B. Right sides arrive conjugate-transposed, which turns A into A^H and back.
  const bool flipped = s.left == adjoint;
  for_each_piece(s.x.count(), solve_work(n, k), [&](int64_t begin, int64_t end) {
    const auto x = buffer<W>(n * k);
    for (int64_t i = begin; i < end; ++i) {
      s.read(x.get(), i);
      int64_t item = 0, rest = i, step = 1;  // number of the factor that belongs to output i
      for (int d = s.x.sizes.size() - 1, own = lu.sizes.size() - 1; d >= 0; --d, --own) {
        if (own >= 0) {
          if (lu.sizes[own] != 1) item += rest % s.x.sizes[d] * step;
          step *= lu.sizes[own];
        }
        rest /= s.x.sizes[d];
      }
      solve_lu(lib, factors + item * n * n, pivots + item * n, n, x.get(), k, flipped);
      s.write(x.get(), i);
    }
  });
}

// _linalg_solve(A, B, left) -> result, LU, pivots, info
template <class S, class W>
void solve_batch(Invocation& inv, const Batch<S>& in) {
  const auto& lib = lapack<W>();
  const Batch<S> lu(inv.out(1), 2);
  const Batch<int32_t> pivots(inv.out(2), 1), info(inv.out(3), 0);
  const int64_t n = in.rows, count = in.count();
  const auto factors = buffer<W>(count * n * n);
  const auto all_pivots = buffer<int32_t>(count * n);
  for_each_piece(count, n * n * n, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      W* a = factors.get() + i * n * n;
      int32_t* pivot = all_pivots.get() + i * n;
      load(a, n, in, in.at(i));
      *info.at(i) = factor_lu(lib, a, n, n, pivot);
      store(lu, lu.at(i), a, n);
      store_vector(pivots, pivots.at(i), pivot);
    }
  });
  solve_factored(lib, factors.get(), all_pivots.get(), in, Sides<S>(inv.in(1), inv.out(0), inv.b(2)), false);
}

void solve_cpu(Invocation& inv) {
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    const Batch<S> in(inv.in(0), 2);
    with_working_type<S>(in.rows, [&](auto wide) { solve_batch<S, decltype(wide)>(inv, in); });
  });
}

// _linalg_lu_solve(LU, pivots, B, left, adjoint) -> out
void lu_solve_cpu(Invocation& inv) {
  const bool left = inv.b(3), adjoint = inv.b(4);
  const Tensor pivots = to_contiguous(inv.in(1), DType::Int32);
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    const auto& lib = lapack<S>();
    const Batch<S> lu(inv.in(0), 2);
    const int64_t n = lu.rows, count = lu.count();
    check_pivots(pivots.ptr<int32_t>(), pivots.numel(), n);
    const auto factors = buffer<S>(count * n * n);
    for_each_piece(count, n * n, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) load(factors.get() + i * n * n, n, lu, lu.at(i));
    });
    solve_factored(lib, factors.get(), pivots.ptr<int32_t>(), lu, Sides<S>(inv.in(2), inv.out(), left), adjoint);
  });
}

// _linalg_inv(input) -> inverse, info
template <class S, class W>
void invert_batch(Invocation& inv, const Batch<S>& in) {
  const auto& lib = lapack<W>();
  const Batch<S> out(inv.out(0), 2);
  const Batch<int32_t> info(inv.out(1), 0);
  const int64_t n = in.rows;
  const bool small = !is_complex_scalar<W> && n <= kSmallMatrix;
  const int size = int(n), ld = ld_of(n), ask = -1;
  int code = 0;
  W query(1);
  if (!small && n > 0)
    lib.getri(&size, static_cast<W*>(nullptr), &ld, static_cast<int*>(nullptr), &query, &ask, &code);
  const int work = work_size(query);
  for_each_piece(in.count(), 2 * n * n * n, [&](int64_t begin, int64_t end) {
    const auto a = buffer<W>(n * n), space = buffer<W>(small ? n * n : work);
    const auto pivot = buffer<int32_t>(n);
    for (int64_t i = begin; i < end; ++i) {
      load(a.get(), n, in, in.at(i));
      const int failed = factor_lu(lib, a.get(), n, n, pivot.get());
      int ignored = 0;
      if (failed == 0 && small) {
        for (int64_t e = 0; e < n * n; ++e) space[e] = W(e % (n + 1) == 0);
        solve_lu(lib, a.get(), pivot.get(), n, space.get(), n, false);
      } else if (failed == 0 && n > 0) {
        lib.getri(&size, a.get(), &ld, pivot.get(), space.get(), &work, &ignored);
      }
      store(out, out.at(i), small && failed == 0 ? space.get() : a.get(), n);
      *info.at(i) = failed;
    }
  });
}

void inv_cpu(Invocation& inv) {
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    const Batch<S> in(inv.in(0), 2);
    with_working_type<S>(in.rows, [&](auto wide) { invert_batch<S, decltype(wide)>(inv, in); });
  });
}

// _linalg_solve_triangular(A, B, upper, left, unitriangular) -> out
void solve_triangular_cpu(Invocation& inv) {
  const bool upper = inv.b(2), left = inv.b(3), unit = inv.b(4);
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    const auto& lib = lapack<S>();
    const Batch<S> a(inv.in(0), 2), b(inv.in(1), 2), out(inv.out(), 2);
    const int64_t n = a.rows, m = out.rows, k = out.cols;
    // A matrix with rows apart and columns adjacent is the transpose of a column-major one: no copy needed.
    const bool columns = (a.rs == 1 || n == 1) && a.cs >= n, rows = (a.cs == 1 || n == 1) && a.rs >= n;
    const bool copy = !columns && !rows;
    for_each_piece(out.count(), n * n + m * k * n, [&](int64_t begin, int64_t end) {
      const auto x = buffer<S>(m * k), own = buffer<S>(copy ? n * n : 0);
      for (int64_t i = begin; i < end; ++i) {
        load(x.get(), m, b, b.at(i, out.sizes));
        const S* factor = a.at(i, out.sizes);
        if (copy) {
          load(own.get(), n, a, factor);
          factor = own.get();
        }
        const bool flipped = !copy && !columns;
        const int size_m = int(m), size_k = int(k), ldx = ld_of(m),
                  lda = copy ? ld_of(n) : int(std::max<int64_t>(columns ? a.cs : a.rs, 1));
        const S one(1);
        if (m > 0 && k > 0)
          lib.trsm(left ? "L" : "R", upper != flipped ? "U" : "L", flipped ? "T" : "N", unit ? "U" : "N", &size_m,
                   &size_k, &one, factor, &lda, x.get(), &ldx, size_t(1), size_t(1), size_t(1), size_t(1));
        store(out, out.at(i), x.get(), m);
      }
    });
  });
}

// _cholesky_solve(input2, input, upper) -> out, input2 being the factor
void cholesky_solve_cpu(Invocation& inv) {
  const char* triangle = inv.b(2) ? "U" : "L";
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    const auto& lib = lapack<S>();
    const Batch<S> factor(inv.in(0), 2), b(inv.in(1), 2), out(inv.out(), 2);
    const int64_t n = factor.rows, k = out.cols;
    for_each_piece(out.count(), solve_work(n, k), [&](int64_t begin, int64_t end) {
      const auto a = buffer<S>(n * n), x = buffer<S>(n * k);
      for (int64_t i = begin; i < end; ++i) {
        load(a.get(), n, factor, factor.at(i, out.sizes));
        load(x.get(), n, b, b.at(i, out.sizes));
        const int size = int(n), sides = int(k), ld = ld_of(n);
        int code = 0;
        if (n > 0 && k > 0) lib.potrs(triangle, &size, &sides, a.get(), &ld, x.get(), &ld, &code, size_t(1));
        store(out, out.at(i), x.get(), n);
      }
    });
  });
}

// 1x1 blocks have a positive pivot, 2x2 blocks two negative ones.
void check_ldl_pivots(const int32_t* p, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const bool pair = p[i] < 0;
    const bool valid =
        p[i] != 0 && std::abs(int64_t(p[i])) <= n && (!pair || (i + 1 < n && p[i + 1] < 0 && -int64_t(p[i + 1]) <= n));
    MG_CHECK(valid, Runtime, "linalg.ldl_solve: pivots are not those of a factorization of size ", n, ": got ", p[i],
             " at position ", i, ". Try the pivots that ldl_factor returned.");
    i += pair;
  }
}

// _linalg_ldl_solve(LD, pivots, B, hermitian) -> out
void ldl_solve_cpu(Invocation& inv) {
  const bool hermitian = inv.b(3);
  const Tensor pivots = to_contiguous(inv.in(1), DType::Int32);
  dispatch_linalg(inv.compute, [&](auto tag) {
    using S = decltype(tag);
    const auto& lib = lapack<S>();
    const Routine<S>& solve = hermitian ? lib.hetrs : lib.sytrs;
    const Batch<S> factor(inv.in(0), 2), b(inv.in(2), 2), out(inv.out(), 2);
    const Batch<int32_t> pivot(*pivots, 1);
    const int64_t n = factor.rows, k = out.cols;
    for (int64_t i = 0; i < pivot.count(); ++i) check_ldl_pivots(pivot.at(i), n);
    for_each_piece(out.count(), solve_work(n, k), [&](int64_t begin, int64_t end) {
      const auto a = buffer<S>(n * n), x = buffer<S>(n * k);
      for (int64_t i = begin; i < end; ++i) {
        load(a.get(), n, factor, factor.at(i, out.sizes));
        load(x.get(), n, b, b.at(i, out.sizes));
        const int size = int(n), sides = int(k), ld = ld_of(n);
        int code = 0;
        if (n > 0 && k > 0)
          solve("L", &size, &sides, a.get(), &ld, pivot.at(i, out.sizes), x.get(), &ld, &code, size_t(1));
        store(out, out.at(i), x.get(), n);
      }
    });
  });
}

}  // namespace

MG_KERNEL("_linalg_solve", CPU, solve_cpu);
MG_KERNEL("_linalg_lu_solve", CPU, lu_solve_cpu);
MG_KERNEL("_linalg_inv", CPU, inv_cpu);
MG_KERNEL("_linalg_solve_triangular", CPU, solve_triangular_cpu);
MG_KERNEL("_linalg_ldl_solve", CPU, ldl_solve_cpu);
MG_KERNEL("_cholesky_solve", CPU, cholesky_solve_cpu);
MG_KERNEL_COMPLEX("_linalg_solve", CPU, solve_cpu);
MG_KERNEL_COMPLEX("_linalg_lu_solve", CPU, lu_solve_cpu);
MG_KERNEL_COMPLEX("_linalg_inv", CPU, inv_cpu);
MG_KERNEL_COMPLEX("_linalg_solve_triangular", CPU, solve_triangular_cpu);
MG_KERNEL_COMPLEX("_linalg_ldl_solve", CPU, ldl_solve_cpu);
MG_KERNEL_COMPLEX("_cholesky_solve", CPU, cholesky_solve_cpu);

}  // namespace mg::cpu
