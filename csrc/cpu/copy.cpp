// strided_copy: contiguous -> memcpy or a converting loop; two layouts whose fast dims differ -> tiles, so that both
// sides are read and written in whole cache lines; anything else -> row by row over the merged plan.
#include "copy.h"

#include "convert.h"
#include "isa.h"
#include "rows.h"
#include "stage.h"
#include "stream.h"
#include "transpose_table.h"

namespace mg::cpu::avx512 {
extern const TransposeTable transpose_functions;
}
namespace mg::cpu::avx2 {
extern const TransposeTable transpose_functions;
}
namespace mg::cpu::portable {
extern const TransposeTable transpose_functions;
}

namespace mg::cpu {

const TransposeTable& transpose_table() {
  static const TransposeTable& table = MG_PICK(transpose_functions);
  return table;
}

namespace {

template <class T>
void copy_row(char* dst, int64_t dst_stride, const char* src, int64_t src_stride, int64_t n) {
  if (dst_stride == int64_t(sizeof(T))) {
    if (src_stride == int64_t(sizeof(T))) {
      std::memcpy(dst, src, size_t(n) * sizeof(T));
      return;
    }
    if (src_stride == 0) {
      T* __restrict d = reinterpret_cast<T*>(dst);
      const T value = *reinterpret_cast<const T*>(src);
      for (int64_t i = 0; i < n; ++i) d[i] = value;
      return;
    }
  }
  if (dst_stride == int64_t(sizeof(T)) && src_stride == -int64_t(sizeof(T))) {  // flip
    T* __restrict d = reinterpret_cast<T*>(dst);
    const T* __restrict s = reinterpret_cast<const T*>(src);
    for (int64_t i = 0; i < n; ++i) d[i] = s[-i];
    return;
  }
  for (int64_t i = 0; i < n; ++i)
    *reinterpret_cast<T*>(dst + i * dst_stride) = *reinterpret_cast<const T*>(src + i * src_stride);
}

// Same dtype: only the width matters.
RowFn same_copier(DType d) {
  switch (itemsize(d)) {
    case 1:
      return copy_row<uint8_t>;
    case 2:
      return copy_row<uint16_t>;
    case 4:
      return copy_row<uint32_t>;
    case 16:
      return copy_row<complex128>;
    default:
      return copy_row<uint64_t>;
  }
}

// A plan whose dst runs along dim J = last and whose src runs along another dim I, taken in strips of rows of dst.
struct Tiles {
  static constexpr int64_t kTileI = 16, kTileJ = 64;  // 16 floats = one source cache line
  const LoopPlan& plan;
  int dim_i;
  RowFn copy;
  int64_t item;
  TransposeFn transpose = nullptr;  // elements of one dtype, dense on both sides
  bool stream = false;
  int64_t strip = kTileI;

  Tiles(const LoopPlan& p, int i, RowFn row, DType dst, DType src) : plan(p), dim_i(i), copy(row), item(itemsize(dst)) {
    const TransposeTable& table = transpose_table();
    if (dst != src || plan.inner_stride(0) != item) return;
    transpose = item == 2 ? table.bytes2 : item == 4 ? table.bytes4 : item == 8 ? table.bytes8 : nullptr;
    if (transpose == nullptr) return;
    stream = plan.numel * item >= kStreamBytes && reinterpret_cast<uintptr_t>(plan.base[0]) % 64 == 0;
    for (int d = 0; d + 1 < plan.ndim; ++d) stream &= plan.strides[0][d] % 64 == 0;
    strip = stream ? kTransposeStrip : 64 / item;
  }

  // Rows [i0, i1) of I, all of J, from these base pointers.
  void run(char* dst, const char* src, int64_t i0, int64_t i1) const {
    const int j = plan.ndim - 1;
    const int64_t di = plan.strides[0][dim_i], dj = plan.strides[0][j], si = plan.strides[1][dim_i],
                  sj = plan.strides[1][j];
    const int64_t nj = plan.sizes[j];
    if (transpose != nullptr) return transpose(dst + i0 * di, di, src + i0 * si, sj, i1 - i0, nj, stream);
    for (int64_t col = 0; col < nj; col += kTileJ)
      for (int64_t i = i0; i < i1; ++i)
        copy(dst + i * di + col * dj, dj, src + i * si + col * sj, sj, std::min(kTileJ, nj - col));
  }

  void run_all() const {
    LoopPlan outer = plan;  // the dims besides I and J; its inner dim is a dummy so that rows() counts all of them
    int kept = 0;
    for (int d = 0; d + 1 < plan.ndim; ++d) {
      if (d == dim_i) continue;
      outer.sizes[kept] = plan.sizes[d];
      for (int k = 0; k < plan.operands; ++k) outer.strides[k][kept] = plan.strides[k][d];
      ++kept;
    }
    outer.ndim = kept + 1;
    outer.sizes[kept] = 1;
    const int64_t ni = plan.sizes[dim_i], strips = (ni - 1) / strip + 1;
    const int64_t cost = std::min(ni, strip) * plan.inner();
    parallel_for(0, outer.rows() * strips, std::max<int64_t>(kRowGrain / cost, 1), [&](int64_t begin, int64_t end) {
      const Stream fence(stream);
      for (int64_t at = begin; at < end; ++at) {
        char* p[LoopPlan::kMaxOperands];
        outer.row_pointers(at / strips, p);
        const int64_t i0 = at % strips * strip;
        run(p[0], p[1], i0, std::min(i0 + strip, ni));
      }
    });
  }
};

// The dim along which the source is contiguous, when that is not the inner one and tiles pay; else -1.
int source_fast_dim(const LoopPlan& plan, int64_t src_item) {
  const int j = plan.ndim - 1;
  if (plan.ndim < 2 || plan.sizes[j] < 4 || plan.strides[1][j] == src_item || plan.strides[1][j] == 0) return -1;
  for (int d = 0; d < j; ++d)
    if (plan.strides[1][d] == src_item && plan.sizes[d] >= 4) return d;
  return -1;
}

// Dense to dense, around the caches.
void copy_around(char* dst, const char* src, int64_t n, DType to, DType from) {
  constexpr int64_t kBlock = 4096;
  const RowFn convert_row = to == from ? nullptr : row_copier(to, from);
  const int64_t ds = itemsize(to), ss = itemsize(from), step = kBlock / ds;
  parallel_for(0, n, kRowGrain, [&](int64_t begin, int64_t end) {
    alignas(64) char block[kBlock];
    Stream stream;
    if (convert_row == nullptr) return stream.copy(dst + begin * ds, src + begin * ss, (end - begin) * ds);
    for (int64_t at = begin; at < end; at += step) {
      const int64_t count = std::min(step, end - at);
      convert_row(block, ds, src + at * ss, ss, count);
      stream.copy(dst + at * ds, block, count * ds);
    }
  });
}

}  // namespace

RowFn row_copier(DType dst, DType src) { return dst == src ? same_copier(dst) : stage_fn(dst, src); }

void plan_copy(LoopPlan& plan, DType dst, DType src) {
  if (plan.numel == 0) return;
  const RowFn copy = row_copier(dst, src);
  const int64_t dst_item = itemsize(dst), src_item = itemsize(src);
  if (plan.ndim == 0) return copy(plan.base[0], dst_item, plan.base[1], src_item, 1);
  const int fast = source_fast_dim(plan, src_item);
  if (fast >= 0) return Tiles(plan, fast, copy, dst, src).run_all();
  if (plan.ndim >= 2 && plan.inner() < 8 && plan.sizes[plan.ndim - 2] > plan.inner()) {
    // A short inner dim (repeat_interleave, 3 colours, stacked pairs) costs a call per few elements: walk the longer
    // one inside it.
    const int j = plan.ndim - 1;
    std::swap(plan.sizes[j - 1], plan.sizes[j]);
    for (int k = 0; k < plan.operands; ++k) std::swap(plan.strides[k][j - 1], plan.strides[k][j]);
  }
  const int64_t ds = plan.inner_stride(0), ss = plan.inner_stride(1);
  for_rows(plan, [&](char** p, int64_t n) { copy(p[0], ds, p[1], ss, n); });
}

void strided_copy(const TensorImpl& dst, const TensorImpl& src) {
  MG_INTERNAL(dst.sizes == src.sizes, "strided_copy of ", src.sizes, " into ", dst.sizes);
  if (dst.numel == 0) return;
  if (dst.contiguous && src.contiguous) {
    const RowFn copy = row_copier(dst.dtype, src.dtype);
    const int64_t ds = itemsize(dst.dtype), ss = itemsize(src.dtype);
    char* d = dst.data();
    const char* s = src.data();
    if (dst.numel * ds >= kStreamBytes && d != s) return copy_around(d, s, dst.numel, dst.dtype, src.dtype);
    parallel_for(0, dst.numel, kRowGrain,
                 [&](int64_t begin, int64_t end) { copy(d + begin * ds, ds, s + begin * ss, ss, end - begin); });
    return;
  }
  LoopPlan plan(dst.sizes);
  plan.add(dst);
  plan.add(src);
  plan.finish();
  plan_copy(plan, dst.dtype, src.dtype);
}

// `item`, already in dst's dtype, into every element.
static void fill_item(const TensorImpl& dst, const void* item) {
  const int64_t size = itemsize(dst.dtype);
  const auto rows = [&]<class Word>(Word) {
    Word word;
    std::memcpy(&word, item, sizeof word);
    Word* out = reinterpret_cast<Word*>(dst.data());
    parallel_for(0, dst.numel, kRowGrain, [&](int64_t begin, int64_t end) { std::fill(out + begin, out + end, word); });
  };
  if (dst.contiguous && size <= 8)
    return size == 1 ? rows(uint8_t()) : size == 2 ? rows(uint16_t()) : size == 4 ? rows(uint32_t()) : rows(uint64_t());
  LoopPlan plan(dst.sizes);
  plan.add(dst);
  plan.add_scalar(item);
  plan.finish();
  plan_copy(plan, dst.dtype, dst.dtype);
}

void fill(const TensorImpl& dst, double real, int64_t integer) {
  if (dst.numel == 0) return;
  alignas(16) char item[16];
  const DType from = is_floating(dst.dtype) ? DType::Float64 : DType::Int64;
  const char* number =
      from == DType::Float64 ? reinterpret_cast<const char*>(&real) : reinterpret_cast<const char*>(&integer);
  row_copier(dst.dtype, from)(item, itemsize(dst.dtype), number, 8, 1);
  fill_item(dst, item);
}

void fill(const TensorImpl& dst, const Value& number) {
  if (is_complex(dst.dtype) || number.kind == Kind::Complex) {
    if (dst.numel == 0) return;
    MG_CHECK(is_complex(dst.dtype) || number.z->im == 0, Runtime, "value cannot be converted to ", dst.dtype,
             " without overflow: it has the imaginary part ", number.z->im);
    const complex128 z = number.as_complex();
    LoopPlan plan(dst.sizes);
    plan.add(dst);
    plan.add_scalar(&z);
    plan.finish();
    return plan_copy(plan, dst.dtype, DType::Complex128);
  }
  if (number.kind == Kind::Float)
    return fill(dst, number.f, dst.dtype == DType::Bool ? int64_t(number.f != 0) : convert<int64_t>(number.f));
  fill(dst, number.as_double(), number.as_int());
}

}  // namespace mg::cpu
