// See clip.h.
#include "clip.h"

#include <atomic>
#include <cmath>

#include "clip_table.h"
#include "isa.h"

namespace mg::cpu {

namespace portable {
extern const ClipTable clip_table;
}
namespace avx2 {
extern const ClipTable clip_table;
}
namespace avx512 {
extern const ClipTable clip_table;
}

const ClipTable& clip_table() {
  return MG_PICK(clip_table);
}

namespace {

// f(loops, pointer, elements, piece's number) for every piece, in the dtype of the tensors.
template <class F>
void each_piece(const ManyTensors& all, F&& f) {
  const ClipTable& table = clip_table();
  all.each([&](size_t k, int64_t begin, int64_t end, int64_t piece) {
    TensorImpl& t = *all.tensors[k];
    if (t.dtype == DType::Float32) f(table.f32, t.ptr<float>() + begin, end - begin, piece);
    else f(table.f64, t.ptr<double>() + begin, end - begin, piece);
  });
}

}  // namespace

double norm_of_all(const ManyTensors& all, bool maximum) {
  std::vector<double> parts(size_t(all.pieces()));
  each_piece(all, [&](const auto& fns, auto* x, int64_t n, int64_t piece) {
    parts[size_t(piece)] = maximum ? fns.abs_max(x, n) : fns.square_sum(x, n);
  });
  double total = 0;
  for (double part : parts) total = maximum ? (part > total || part != part ? part : total) : total + part;
  return maximum ? total : std::sqrt(total);
}

void scale_all(const ManyTensors& all, double factor) {
  each_piece(all, [&]<class T>(const ClipFns<T>& fns, T* x, int64_t n, int64_t) { fns.scale(x, n, T(factor)); });
}

bool unscale_all(const ManyTensors& all, double factor) {
  std::atomic<bool> finite{true};
  each_piece(all, [&]<class T>(const ClipFns<T>& fns, T* x, int64_t n, int64_t) {
    if (!std::isfinite(fns.abs_max(x, n))) finite = false;
    fns.scale(x, n, T(factor));  // of a piece that is still in the cache
  });
  return finite;
}

void clamp_all(const ManyTensors& all, double low, double high) {
  each_piece(all, [&]<class T>(const ClipFns<T>& fns, T* x, int64_t n, int64_t) { fns.clamp(x, n, T(low), T(high)); });
}

}  // namespace mg::cpu
