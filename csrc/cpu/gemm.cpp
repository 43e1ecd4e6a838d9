// Choice of path, blocking and threading of gemm(). The loops that touch numbers are in gemm_isa.cpp.
//
// Paths, in this order: nothing to sum; vectors and short sides (dots, axpys: memory-bound, no packing); small (one
// thread, A unpacked); skinny (few rows: B is read in place; few columns: A is read in place); blocked (B packed once
// per block and shared, A packed per task).
#include "gemm.h"

#include <cstdlib>
#include <new>
#include <type_traits>

#include "../core/parallel.h"
#include "isa.h"

namespace mg::cpu {

static const GemmTables& pick_tables() {
#if MG_HAVE_avx512
  if (isa() == Isa::Avx512) return avx512::gemm_table;
#endif
#if MG_HAVE_avx2
  if (isa() == Isa::Avx2) return avx2::gemm_table;
#endif
  return portable::gemm_table;
}

const GemmTables& gemm_tables() {
  static const GemmTables& table = pick_tables();
  return table;
}

void* scratch_bytes(ScratchSlot slot, size_t bytes) {
  struct Slots {
    void* data[int(ScratchSlot::Count)] = {};
    size_t size[int(ScratchSlot::Count)] = {};
    ~Slots() {
      for (void* p : data) std::free(p);
    }
  };
  thread_local Slots slots;
  const int s = int(slot);
  if (slots.size[s] < bytes) {
    const size_t wanted = (bytes + bytes / 4 + 4095) / 4096 * 4096;
    std::free(slots.data[s]);
    slots.size[s] = 0;
    slots.data[s] = std::aligned_alloc(64, wanted);
    if (slots.data[s] == nullptr) throw std::bad_alloc();
    slots.size[s] = wanted;
  }
  return slots.data[s];
}

namespace {

constexpr int64_t kSmallFma = 64 * 1024, kMaxRows = 192, kMaxColumns = 3072;
constexpr int64_t kStreamElements = 64 * 1024;  // of a matrix read once: worth a thread

template <class S, class T>
const PackTable<S, T>& pack_table() {
  if constexpr (std::is_same_v<S, half>)
    return gemm_tables().f16;
  else if constexpr (std::is_same_v<S, bfloat16>)
    return gemm_tables().bf16;
  else
    return gemm_table<T>().pack;
}

template <class S, class T>
struct Problem {
  int64_t m, n, k;
  Strided<S> a, b;
  T* c;
  int64_t ldc;
  Epilogue<T> e;

  bool a_rows() const { return a.cs == 1 || k == 1; }     // contiguous along k
  bool b_columns() const { return b.rs == 1 || k == 1; }  // contiguous along k
  bool b_rows() const { return b.cs == 1 || n == 1; }
  int64_t fma() const { return m * n * k; }
};

// The part of the epilogue that starts at row i, column j; blocks of k after the first accumulate.
template <class T>
Epilogue<T> epilogue_at(const Epilogue<T>& e, bool first, T* c, int64_t ldc, int64_t i, int64_t j) {
  if (!first) return {e.alpha, T(1), c + i * ldc + j, ldc};
  return {e.alpha, e.beta, e.add == nullptr ? nullptr : e.add + i * e.add_rs + j, e.add_rs};
}

template <class T>
void no_product(int64_t m, int64_t n, T* c, int64_t ldc, const Epilogue<T>& e) {
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) c[i * ldc + j] = e.add == nullptr ? T(0) : e.beta * e.add[i * e.add_rs + j];
}

template <class T>
const T* gathered(const T* x, int64_t stride, int64_t k) {
  if (stride == 1 || k == 1) return x;
  T* dst = scratch<T>(ScratchSlot::Vector, k);
  for (int64_t i = 0; i < k; ++i) dst[i] = x[i * stride];
  return dst;
}

// Products with a short side that read the long matrix once, in place. False when the layout asks for another path.
template <class T>
bool gemm_stream(Problem<T, T> p) {
  const GemmTable<T>& g = gemm_table<T>();
  if (p.m == 1 && !p.b_columns() && p.b_rows()) {
    const int64_t grain = 512 * ceil_div(kStreamElements, 512 * p.k);
    parallel_for(0, p.n, grain, [&](int64_t j0, int64_t j1) {
      g.axpys(j1 - j0, p.k, p.a.data, p.a.cs, p.b.data + j0, p.b.rs, p.c + j0,
              epilogue_at(p.e, true, p.c, p.ldc, 0, j0));
    });
    return true;
  }
  if (p.n == 1 && p.a.rs == 1 && !p.a_rows() && p.m > 1 && p.ldc == 1 && (p.e.add == nullptr || p.e.add_rs == 1)) {
    const int64_t grain = 512 * ceil_div(kStreamElements, 512 * p.k);
    parallel_for(0, p.m, grain, [&](int64_t i0, int64_t i1) {
      g.axpys(i1 - i0, p.k, p.b.data, p.b.rs, p.a.data + i0, p.a.cs, p.c + i0, epilogue_at(p.e, true, p.c, 1, i0, 0));
    });
    return true;
  }
  if (p.n == 1 && p.a_rows())
    p.b = {gathered(p.b.data, p.b.rs, p.k), 1, 1};
  else if (p.m == 1 && p.b_columns())
    p.a = {gathered(p.a.data, p.a.cs, p.k), 1, 1};
  if (!p.a_rows() || !p.b_columns() || (p.m > 4 && p.n > 4)) return false;
  if (p.m > 1 && p.n > 1 && p.k < g.lanes) return false;
  const int64_t grain = 4 * ceil_div(kStreamElements, 4 * p.k);
  if (p.m <= p.n) {
    parallel_for(0, p.n, grain, [&](int64_t j0, int64_t j1) {
      g.dots(p.m, j1 - j0, p.k, p.a.data, p.a.rs, p.b.data + j0 * p.b.cs, p.b.cs, p.c + j0, p.ldc, 1,
             epilogue_at(p.e, true, p.c, p.ldc, 0, j0));
    });
  } else {
    parallel_for(0, p.m, grain, [&](int64_t i0, int64_t i1) {
      g.dots(i1 - i0, p.n, p.k, p.a.data + i0 * p.a.rs, p.a.rs, p.b.data, p.b.cs, p.c + i0 * p.ldc, p.ldc, 1,
             epilogue_at(p.e, true, p.c, p.ldc, i0, 0));
    });
  }
  return true;
}

// How the columns of B are dealt into panels.
struct Panels {
  int64_t vectors, count;
  int lanes;
  Panels(int64_t n, int lanes_, int nr)
      : vectors(ceil_div(n, lanes_)), count(ceil_div(vectors, nr / lanes_)), lanes(lanes_) {}
  int64_t column(int64_t p) const { return panel_start(p, vectors, count) * lanes; }
  int64_t padded() const { return vectors * lanes; }
};

// One block of k, A read in place: B in place too when its rows are contiguous and there are few rows of A, else packed
// panel by panel.
template <class T>
void unpacked_block(const Problem<T, T>& p, bool first, bool parallel) {
  const GemmTable<T>& g = gemm_table<T>();
  const Panels panels(p.n, g.lanes, g.nr);
  const bool in_place = p.b_rows();
  const auto columns = [&](int64_t q0, int64_t q1) {
    if (in_place) {
      const int64_t j = panels.column(q0), end = q1 == panels.count ? p.n : panels.column(q1);
      g.direct(p.m, end - j, p.k, p.a, p.b.data + j, p.b.rs, p.c + j, p.ldc, epilogue_at(p.e, first, p.c, p.ldc, 0, j));
      return;
    }
    for (int64_t q = q0; q < q1; ++q) {
      const int64_t j = panels.column(q), width = panels.column(q + 1) - j,
                    cols = q + 1 == panels.count ? p.n - j : width;
      T* packed = scratch<T>(ScratchSlot::PackA, width * p.k);
      g.pack.pack_b(p.k, cols, p.b.at(0, j), packed);
      g.direct(p.m, cols, p.k, p.a, packed, width, p.c + j, p.ldc, epilogue_at(p.e, first, p.c, p.ldc, 0, j));
    }
  };
  if (parallel)
    parallel_for(0, panels.count, ceil_div(kTaskFma, p.m * p.k * g.nr), columns);
  else
    columns(0, panels.count);
}

// Few columns: one packed panel of B shared by tasks over the rows of A, which are read in place.
template <class T>
void narrow_block(const Problem<T, T>& p, bool first) {
  const GemmTable<T>& g = gemm_table<T>();
  const int64_t width = ceil_div(p.n, g.lanes) * g.lanes;
  T* packed = scratch<T>(ScratchSlot::PackB, width * p.k);
  g.pack.pack_b(p.k, p.n, p.b, packed);
  const int64_t grain = g.mr * ceil_div(kTaskFma, g.mr * p.n * p.k);
  parallel_for(0, p.m, grain, [&](int64_t i0, int64_t i1) {
    g.direct(i1 - i0, p.n, p.k, p.a.at(i0, 0), packed, width, p.c + i0 * p.ldc, p.ldc,
             epilogue_at(p.e, first, p.c, p.ldc, i0, 0));
  });
}

// One block of k and of columns: pack B once, then tasks over a grid of rows x panels, each packing the rows of A that
// it needs.
template <class S, class T>
void packed_block(const Problem<S, T>& p, bool first) {
  const GemmTable<T>& g = gemm_table<T>();
  const PackTable<S, T>& pack = pack_table<S, T>();
  const Panels panels(p.n, g.lanes, g.nr);
  T* b = scratch<T>(ScratchSlot::PackB, panels.padded() * p.k);
  parallel_for(0, panels.count, ceil_div(kStreamElements, g.nr * p.k), [&](int64_t q0, int64_t q1) {
    for (int64_t q = q0; q < q1; ++q) {
      const int64_t j = panels.column(q), cols = q + 1 == panels.count ? p.n - j : panels.column(q + 1) - j;
      pack.pack_b(p.k, cols, p.b.at(0, j), b + j * p.k);
    }
  });
  const int64_t wanted = std::min<int64_t>(get_num_threads(), ceil_div(p.fma(), kTaskFma));
  const int64_t rows = std::min(kMaxRows, ceil_div(ceil_div(p.m, wanted), g.mr) * g.mr),
                row_tasks = ceil_div(p.m, rows);
  const int64_t column_tasks = std::min(panels.count, ceil_div(wanted, row_tasks));
  parallel_chunks(row_tasks * column_tasks, [&](int64_t task) {
    const int64_t i = task / column_tasks * rows, mm = std::min(rows, p.m - i), q = task % column_tasks;
    T* a = scratch<T>(ScratchSlot::PackA, ceil_div(mm, g.mr) * g.mr * p.k);
    pack.pack_a(mm, p.k, p.a.at(i, 0), a, g.mr * p.k);
    g.packed(mm, p.n, p.k, a, b, panels.count, panel_start(q, panels.count, column_tasks),
             panel_start(q + 1, panels.count, column_tasks), p.c + i * p.ldc, p.ldc,
             epilogue_at(p.e, first, p.c, p.ldc, i, 0));
  });
}

// Runs one(problem, first) for every block of k.
template <class S, class T, class F>
void over_k(const Problem<S, T>& p, F&& one) {
  const int64_t blocks = ceil_div(p.k, kMaxKBlock);
  for (int64_t q = 0; q < blocks; ++q) {
    const int64_t k0 = panel_start(q, p.k, blocks), k1 = panel_start(q + 1, p.k, blocks);
    Problem<S, T> part = p;
    part.k = k1 - k0;
    part.a = p.a.at(0, k0);
    part.b = p.b.at(k0, 0);
    one(part, q == 0);
  }
}

}  // namespace

template <class S, class T>
void gemm(int64_t m, int64_t n, int64_t k, Strided<S> a, Strided<S> b, T* c, int64_t ldc, const Epilogue<T>& e) {
  if (m == 0 || n == 0) return;
  if (k == 0 || e.alpha == T(0)) return no_product(m, n, c, ldc, e);
  const Problem<S, T> p{m, n, k, a, b, c, ldc, e};
  if constexpr (std::is_same_v<S, T>) {
    const GemmTable<T>& g = gemm_table<T>();
    const bool small = p.fma() <= kSmallFma;
    if ((m <= 4 || n <= 4) && gemm_stream(p)) return;
    if (small || (m <= 16 && p.b_rows()))
      return over_k(p, [&](const Problem<T, T>& q, bool first) { unpacked_block(q, first, !small); });
    if (n <= g.nr) return over_k(p, [](const Problem<T, T>& q, bool first) { narrow_block(q, first); });
  }
  for (int64_t j = 0; j < n; j += kMaxColumns) {
    Problem<S, T> part = p;
    part.n = std::min(kMaxColumns, n - j);
    part.b = b.at(0, j);
    part.c = c + j;
    part.e = epilogue_at(e, true, c, ldc, 0, j);
    over_k(part, [](const Problem<S, T>& q, bool first) { packed_block(q, first); });
  }
}

template void gemm(int64_t, int64_t, int64_t, Strided<float>, Strided<float>, float*, int64_t, const Epilogue<float>&);
template void gemm(int64_t, int64_t, int64_t, Strided<double>, Strided<double>, double*, int64_t,
                   const Epilogue<double>&);
template void gemm(int64_t, int64_t, int64_t, Strided<half>, Strided<half>, float*, int64_t, const Epilogue<float>&);
template void gemm(int64_t, int64_t, int64_t, Strided<bfloat16>, Strided<bfloat16>, float*, int64_t,
                   const Epilogue<float>&);

}  // namespace mg::cpu
