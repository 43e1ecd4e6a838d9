// Choice of path and threading of gemm(). The loops that touch numbers are in gemm_isa.cpp.
//
// Paths, in this order: nothing to sum; vectors and short sides (dots, stream: memory-bound, no packing); few rows and B
// contiguous along k (gemm_turned.h); small (one thread, A unpacked); skinny (few rows: B is read in place; few columns:
// A is read in place); blocked (gemm_blocked.h). gemm_tuning.h has the numbers that decide.
#include "gemm.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <new>
#include <type_traits>

#include "gemm_turned.h"
#include "isa.h"

namespace mg::cpu {

const GemmTables& gemm_tables() {
  static const GemmTables& table = MG_PICK(gemm_table);
  return table;
}

GemmTuning& gemm_tuning() {
  static GemmTuning tuning = kGemmTuning[int(isa())];
  return tuning;
}

const PackedTable<int8_t, int32_t>& int8_table() {
#if MG_HAVE_avx512
  if (isa() == Isa::Avx512) return has_vnni() ? avx512::int8_quads : avx512::int8_pairs;
#endif
#if MG_HAVE_avx2
  if (isa() == Isa::Avx2) return avx2::int8_pairs;
#endif
  return portable::int8_pairs;
}

const PackedTable<bfloat16, float>& bfloat16_table() {
#if MG_HAVE_avx512
  if (isa() == Isa::Avx512 && has_bf16()) return avx512::bfloat16_pairs;
#endif
  return gemm_tables().bf16;
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

template <class S, class T>
const PackedTable<S, T>& packed_table() {
  if constexpr (std::is_same_v<S, int8_t>)
    return int8_table();
  else if constexpr (std::is_same_v<S, half>)
    return gemm_tables().f16;
  else if constexpr (std::is_same_v<S, bfloat16>)
    return bfloat16_table();
  else
    return gemm_table<T>().blocked;
}

template <class T>
void no_product(const Problem<T, T>& p) {
  for (int64_t i = 0; i < p.m; ++i)
    for (int64_t j = 0; j < p.n; ++j)
      p.c[i * p.ldc + j] = p.e.add == nullptr ? T(0) : p.e.beta * p.e.add[i * p.e.add_rs + j * p.e.add_cs];
  finish(p);
}

template <class S, class T>
const S* gathered(const S* x, int64_t stride, int64_t k) {
  if (stride == 1 || k == 1) return x;
  S* dst = scratch<S>(ScratchSlot::Vector, k);
  for (int64_t i = 0; i < k; ++i) dst[i] = x[i * stride];
  return dst;
}

// Units per task when `count` units of `work` each are dealt out: few tasks, so that each streams long runs.
int64_t share(int64_t count, int64_t work) {
  const int64_t tasks = get_num_threads() == 1 ? 1 : 4 * get_num_threads();
  return std::max(ceil_div(count, tasks), ceil_div(kStreamElements, work));
}

// Few rows of A times a matrix that is contiguous along the result: streams the matrix row by row.
template <class S, class T>
void gemm_rows(const PackedTable<S, T>& g, const Problem<S, T>& p) {
  constexpr int64_t kColumns = 512;
  parallel_for(0, p.n, kColumns * share(ceil_div(p.n, kColumns), kColumns * p.k), [&](int64_t j0, int64_t j1) {
    const Problem<S, T> part = p.at(0, j0, p.m, j1 - j0);
    g.stream(part.m, part.n, p.k, p.a, part.b.data, p.b.rs, part.c, p.ldc, part.e);
    finish(part);
  });
}

// A matrix with contiguous columns times a vector, as the product of the vector with the transposed matrix.
template <class S, class T>
bool gemm_columns(const PackedTable<S, T>& g, const Problem<S, T>& p) {
  if (p.n != 1 || p.a.rs != 1 || p.a_rows() || p.m == 1 || p.ldc != 1 || p.e.has_finish()) return false;
  Problem<S, T> turned{1, p.m, p.k, p.b.mT(), p.a.mT(), p.c, 1, p.e};
  std::swap(turned.e.add_rs, turned.e.add_cs);
  gemm_rows(g, turned);
  return true;
}

// Products with a short side that read the long matrix once, in place. False when the layout asks for another path.
template <class S, class T>
bool gemm_stream(const PackedTable<S, T>& g, Problem<S, T> p) {
  if (g.stream != nullptr) {
    // packing narrow types widens them, which takes longer: twice as many rows are worth streaming
    const int64_t rows = gemm_tuning().stream_rows * (g.unit == 1 && !std::is_same_v<S, T> ? 2 : 1);
    if (p.b_rows() && !p.b_columns() && p.m <= rows) return gemm_rows(g, p), true;
    if (gemm_columns(g, p)) return true;
  }
  if (p.n == 1 && p.a_rows())
    p.b = {gathered<S, T>(p.b.data, p.b.rs, p.k), 1, 1};
  else if (p.m == 1 && p.b_columns())
    p.a = {gathered<S, T>(p.a.data, p.a.cs, p.k), 1, 1};
  if (!p.a_rows() || !p.b_columns() || (p.m > gemm_tuning().dot_rows && p.n > 4)) return false;
  if (p.m > 1 && p.n > 1 && p.k < g.lanes) return false;
  const auto dots = [&](const Problem<S, T>& q) {
    g.dots(q.m, q.n, q.k, q.a.data, q.a.rs, q.b.data, q.b.cs, q.c, q.ldc, q.e);
    finish(q);
  };
  if (p.m <= p.n)
    parallel_for(0, p.n, 4 * share(ceil_div(p.n, 4), 4 * p.k),
                 [&](int64_t j0, int64_t j1) { dots(p.at(0, j0, p.m, j1 - j0)); });
  else
    parallel_for(0, p.m, 4 * share(ceil_div(p.m, 4), 4 * p.k),
                 [&](int64_t i0, int64_t i1) { dots(p.at(i0, 0, i1 - i0, p.n)); });
  return true;
}

// Runs one(part) for every block of k.
template <class T, class F>
void over_k(const Problem<T, T>& p, F&& one) {
  const KBlocks blocks(p.k, 1, gemm_tuning().direct_k);
  for (int64_t q = 0; q < blocks.count; ++q) one(p.block(blocks.start(q), blocks.start(q + 1)));
}

// One block of k, A read in place: B in place too when its rows are contiguous, else packed panel by panel.
template <class T>
void unpacked_block(const Problem<T, T>& p, bool parallel) {
  const GemmTable<T>& g = gemm_table<T>();
  const Panels panels(p.n, g.lanes, g.nr);
  const bool in_place = p.b_rows();
  const auto pack = [&](int64_t q, T* packed) {
    const int64_t j = panels.column(q), width = panels.column(q + 1) - j;
    g.pack.pack_b(p.k, std::min(width, p.n - j), p.b.at(0, j), packed);
  };
  Ref<Storage> kept_b;  // panel after panel
  if (!in_place && keeps_b(p, 1) && may_prepare(p.b.data))
    kept_b = kept<T>(key_of_b("gemm panels", p), panels.padded() * p.k, [&](T* packed) {
      for (int64_t q = 0; q < panels.count; ++q) pack(q, packed + panels.column(q) * p.k);
    });
  const auto columns = [&](int64_t q0, int64_t q1) {
    const int64_t j0 = panels.column(q0), j1 = std::min(p.n, panels.column(q1));
    const Problem<T, T> mine = p.at(0, j0, p.m, j1 - j0);
    if (in_place) (p.far ? g.direct_far : g.direct)(p.m, mine.n, p.k, p.a, mine.b.data, p.b.rs, mine.c, p.ldc, mine.e);
    for (int64_t q = q0; q < q1 && !in_place; ++q) {
      const int64_t j = panels.column(q), width = panels.column(q + 1) - j;
      const Problem<T, T> one = p.at(0, j, p.m, std::min(width, p.n - j));
      T* packed = kept_b ? static_cast<T*>(kept_b->data) + j * p.k : scratch<T>(ScratchSlot::PackA, width * p.k);
      if (!kept_b) pack(q, packed);
      g.direct(p.m, one.n, p.k, p.a, packed, width, one.c, p.ldc, one.e);
    }
    finish(mine);
  };
  if (parallel)
    parallel_for(0, panels.count, ceil_div(kTaskFma, p.m * p.k * g.nr), columns);
  else
    columns(0, panels.count);
}

// Few columns: all of B packed side by side, shared by tasks over the rows of A, which are read in place. For few rows
// too, packing would cost more than it saves, if the rows of B lie close together.
template <class T>
void narrow_block(const Problem<T, T>& p) {
  const GemmTable<T>& g = gemm_table<T>();
  const int64_t width = ceil_div(p.n, g.lanes) * g.lanes;
  const bool in_place = p.b_rows() && p.m <= 128 && p.b.rs <= 2 * width;
  Prepared<T> packed{};
  if (!in_place)
    packed = prepared<T>(key_of_b("gemm narrow", p), width * p.k, ScratchSlot::PackB, keeps_b(p, 1),
                         [&](T* to) { g.pack.pack_b(p.k, p.n, p.b, to); });
  const T* b = in_place ? p.b.data : packed.data;
  const int64_t ldb = in_place ? p.b.rs : width;
  // Tasks that are worth a thread, and as many for every thread: of three tasks for two threads one would wait.
  const int64_t units = ceil_div(p.m, g.mr), threads = get_num_threads(), worth = std::max<int64_t>(1, p.fma() / kTaskFma);
  const int64_t tasks = std::min(units, worth > threads ? worth / threads * threads : worth);
  parallel_chunks(tasks, [&](int64_t task) {
    const int64_t i0 = panel_start(task, units, tasks) * g.mr, i1 = std::min(p.m, panel_start(task + 1, units, tasks) * g.mr);
    const Problem<T, T> part = p.at(i0, 0, i1 - i0, p.n);
    g.direct(part.m, p.n, p.k, part.a, b, ldb, part.c, p.ldc, part.e);
    finish(part);
  });
}

// True when a path that packs nothing of A took it.
template <class T>
bool gemm_unpacked(const Problem<T, T>& p) {
  const GemmTuning& t = gemm_tuning();
  const bool small = p.fma() <= t.small_fma;
  if (small || (p.m <= (p.far ? t.direct_rows_far : t.direct_rows) && p.b_rows())) {
    over_k(p, [&](const Problem<T, T>& part) { unpacked_block(part, !small); });
    return true;
  }
  if (p.n > t.narrow_columns) return false;
  over_k(p, [](const Problem<T, T>& part) { narrow_block(part); });
  return true;
}

}  // namespace

template <class S, class T>
void gemm(int64_t m, int64_t n, int64_t k, Strided<S> a, Strided<S> b, T* c, int64_t ldc, const Epilogue<T>& e) {
  if (m == 0 || n == 0) return;
  if (k == 0 || e.alpha == T(0)) return no_product(Problem<T, T>{m, n, k, {}, {}, c, ldc, e});
  const Problem<S, T> p{m, n, k, a, b, c, ldc, e};
  const PackedTable<S, T>& g = packed_table<S, T>();
  if (gemm_stream(g, p)) return;
  if constexpr (!std::is_same_v<T, int32_t>)
    if (turns(g, p)) return turned(g, p);
  if constexpr (std::is_same_v<S, T>)
    if (gemm_unpacked(p)) return;
  Blocked<S, T>(g).run(p);
}

template <class T>
static double rate() {
  const int64_t chunks = 4 * get_num_threads();
  std::atomic<int64_t> count;
  double best = 0;
  for (int trial = 0; trial < 7; ++trial) {
    count = 0;
    const auto start = std::chrono::steady_clock::now();
    parallel_chunks(chunks, [&](int64_t) {
      alignas(64) T sink[64 / sizeof(T)] = {};
      count += gemm_table<T>().multiply_adds(40000, sink);
    });
    best = std::max(best, 2 * double(count) / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}
double fma_rate(bool float64) { return float64 ? rate<double>() : rate<float>(); }

template void gemm(int64_t, int64_t, int64_t, Strided<float>, Strided<float>, float*, int64_t, const Epilogue<float>&);
template void gemm(int64_t, int64_t, int64_t, Strided<double>, Strided<double>, double*, int64_t,
                   const Epilogue<double>&);
template void gemm(int64_t, int64_t, int64_t, Strided<half>, Strided<half>, float*, int64_t, const Epilogue<float>&);
template void gemm(int64_t, int64_t, int64_t, Strided<bfloat16>, Strided<bfloat16>, float*, int64_t,
                   const Epilogue<float>&);
template void gemm(int64_t, int64_t, int64_t, Strided<int8_t>, Strided<int8_t>, int32_t*, int64_t,
                   const Epilogue<int32_t>&);

}  // namespace mg::cpu
