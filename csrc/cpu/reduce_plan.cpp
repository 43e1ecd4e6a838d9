// See reduce.h: the plan (which dims, in which order) and the walk over it.
#include "convert.h"
#include "isa.h"
#include "reduce.h"

namespace mg::cpu {

namespace avx512 {
extern const ReduceTable reduce_table;
}
namespace avx2 {
extern const ReduceTable reduce_table;
}
namespace portable {
extern const ReduceTable reduce_table;
}

const ReduceTable& reduce_table() {
  static const ReduceTable& table = MG_PICK(reduce_table);
  return table;
}
template <>
const FoldFns<float>& fold_fns<float>(Fold f) {
  return reduce_table().f32[int(f)];
}
template <>
const FoldFns<double>& fold_fns<double>(Fold f) {
  return reduce_table().f64[int(f)];
}
template <>
const FoldFns<int64_t>& fold_fns<int64_t>(Fold f) {
  return reduce_table().i64[int(f)];
}

ReducePlan::ReducePlan(const TensorImpl& x, uint64_t mask, const TensorImpl& out) {
  const int64_t item = itemsize(x.dtype), out_item = itemsize(out.dtype);
  const bool keepdim = out.dim() == x.dim();
  for (int d = 0, o = 0; d < x.dim(); ++d) {
    const int64_t size = x.sizes[d], stride = x.strides[d] * item;
    const bool reduced = mask >> d & 1;
    const int64_t out_stride = reduced ? 0 : out.strides[keepdim ? d : o] * out_item;
    o += !reduced;
    (reduced ? length : outputs) *= size;
    if (size == 1) continue;
    if (reduced) {  // insert so that strides fall; equal ones keep their order
      int at = nr++;
      for (; at > 0 && rin[at - 1] < stride; --at) rin[at] = rin[at - 1], rsize[at] = rsize[at - 1];
      rin[at] = stride, rsize[at] = size;
    } else {
      int at = nk++;
      for (; at > 0 && kin[at - 1] < stride; --at)
        kin[at] = kin[at - 1], ksize[at] = ksize[at - 1], kout[at] = kout[at - 1];
      kin[at] = stride, ksize[at] = size, kout[at] = out_stride;
    }
  }
  int n = 0;
  for (int d = 1; d < nr; ++d) {
    if (rin[n] == rin[d] * rsize[d])
      rsize[n] *= rsize[d], rin[n] = rin[d];
    else
      ++n, rsize[n] = rsize[d], rin[n] = rin[d];
  }
  nr = nr ? n + 1 : 0;
  n = 0;
  for (int d = 1; d < nk; ++d) {
    if (kin[n] == kin[d] * ksize[d] && kout[n] == kout[d] * ksize[d])
      ksize[n] *= ksize[d], kin[n] = kin[d], kout[n] = kout[d];
    else
      ++n, ksize[n] = ksize[d], kin[n] = kin[d], kout[n] = kout[d];
  }
  nk = nk ? n + 1 : 0;
  if (nr == 0) nr = 1, rsize[0] = length, rin[0] = item;
  if (nk == 0) nk = 1, ksize[0] = outputs, kin[0] = 0, kout[0] = 0;
}

static int64_t unravel(int64_t i, int n, const int64_t* sizes, const int64_t* strides) {
  int64_t offset = 0;
  for (int d = n - 1; d > 0; --d) {
    offset += i % sizes[d] * strides[d];
    i /= sizes[d];
  }
  return n > 0 ? offset + i * strides[0] : 0;
}
int64_t ReducePlan::input_offset(int64_t k) const { return unravel(k, nk, ksize, kin); }
int64_t ReducePlan::output_offset(int64_t k) const { return unravel(k, nk, ksize, kout); }
int64_t ReducePlan::reduced_offset(int64_t q) const { return unravel(q, nr - 1, rsize, rin); }

template <class A>
static A merge_as(Fold f, A a, A b) {
  switch (f) {
    case Fold::Prod:
      return a * b;
    case Fold::Max:
    case Fold::AbsMax:
    case Fold::AnyNonzero:
      return (a > b || a != a) ? a : b;
    case Fold::Min:
    case Fold::AbsMin:
    case Fold::AllNonzero:
      return (a < b || a != a) ? a : b;
    default:
      return a + b;
  }
}
double merge_partials(Fold f, double a, double b) { return merge_as(f, a, b); }
int64_t merge_partials(Fold f, int64_t a, int64_t b) {
  const bool ordered = f == Fold::Max || f == Fold::Min;
  return ordered ? merge_as(f, a, b) : int64_t(merge_as(f, uint64_t(a), uint64_t(b)));  // sums and products wrap
}

template <class T>
Folder<T>::Folder(const ReducePlan& p, const TensorImpl& x, double pw)
    : plan(p),
      power(pw),
      data(x.data()),
      stage(x.dtype == dtype_of<T>() ? nullptr : row_copier(dtype_of<T>(), x.dtype)) {
  const bool rows = p.by_rows();
  const int64_t inner = rows ? p.rin[p.nr - 1] : p.kin[p.nk - 1];
  const int64_t count = rows ? p.rsize[p.nr - 1] : p.ksize[p.nk - 1];
  if (stage == nullptr && count > 1 && inner != int64_t(sizeof(T))) stage = row_copier(dtype_of<T>(), x.dtype);
}

template <class T>
void Folder<T>::tile(Fold f, int64_t k0, int64_t k1, int64_t r0, int64_t r1, const T* m, Acc<T>* acc) const {
  if (plan.by_rows()) return rows(f, k0, k1, r0, r1, m, acc);
  const int64_t width = plan.ksize[plan.nk - 1];
  for (int64_t k = k0; k < k1;) {
    const int64_t n = std::min({k1 - k, width - k % width, kFoldColumns});
    columns(f, data + plan.input_offset(k), n, r0, r1, m ? m + (k - k0) : nullptr, acc + (k - k0));
    k += n;
  }
}

template <class T>
void Folder<T>::rows(Fold f, int64_t k0, int64_t k1, int64_t r0, int64_t r1, const T* m, Acc<T>* acc) const {
  const FoldFns<T>& fns = fold_fns<T>(f);
  const int64_t width = plan.ksize[plan.nk - 1], step = plan.kin[plan.nk - 1];
  for (int64_t k = k0; k < k1;) {
    const int64_t n = std::min(k1 - k, width - k % width);
    const char* base = data + plan.input_offset(k);
    const T* mk = m ? m + (k - k0) : nullptr;
    Acc<T>* out = acc + (k - k0);
    if (plan.nr == 1 && stage == nullptr) {
      fns.rows(out, reinterpret_cast<const T*>(base) + r0, n, step / int64_t(sizeof(T)), r1 - r0, mk, power);
    } else {
      for (int64_t i = 0; i < n; ++i) out[i] = one_row(f, base + i * step, r0, r1, mk ? mk + i : nullptr);
    }
    k += n;
  }
}

template <class T>
Acc<T> Folder<T>::one_row(Fold f, const char* base, int64_t r0, int64_t r1, const T* m) const {
  constexpr int64_t kStage = 2048, kBatch = 64;
  const FoldFns<T>& fns = fold_fns<T>(f);
  const int64_t width = plan.rsize[plan.nr - 1], step = plan.rin[plan.nr - 1];
  Acc<T> total, part[kBatch];
  fns.rows(&total, nullptr, 1, 0, 0, m, power);  // the identity
  for (int64_t r = r0; r < r1;) {
    const int64_t off = r % width, n = std::min(width - off, r1 - r);
    const char* p = base + plan.reduced_offset(r / width) + off * step;
    if (stage == nullptr) {
      int64_t batch = 1;  // whole rows a fixed step apart share one call
      if (n == width && plan.nr >= 2) {
        const int64_t above = plan.rsize[plan.nr - 2];
        batch = std::min({kBatch, (r1 - r) / width, above - r / width % above});
      }
      T means[kBatch];
      if (m != nullptr) std::fill(means, means + batch, *m);
      const int64_t ld = batch > 1 ? plan.rin[plan.nr - 2] / int64_t(sizeof(T)) : 0;
      fns.rows(part, reinterpret_cast<const T*>(p), batch, ld, n, m ? means : nullptr, power);
      for (int64_t i = 0; i < batch; ++i) total = merge_partials(f, total, part[i]);
      r += batch * n;
      continue;
    }
    T buffer[kStage];
    for (int64_t i = 0; i < n; i += kStage) {
      const int64_t c = std::min(kStage, n - i);
      stage(reinterpret_cast<char*>(buffer), sizeof(T), p + i * step, step, c);
      fns.rows(part, buffer, 1, 0, c, m, power);
      total = merge_partials(f, total, part[0]);
    }
    r += n;
  }
  return total;
}

template <class T>
void Folder<T>::columns(Fold f, const char* base, int64_t n, int64_t r0, int64_t r1, const T* m, Acc<T>* acc) const {
  const int64_t height = plan.rsize[plan.nr - 1], step = plan.rin[plan.nr - 1];
  Acc<T> part[kFoldColumns];
  bool first = true;
  if (r0 >= r1) fold_fns<T>(f).columns(acc, nullptr, 0, 0, n, nullptr, power);
  for (int64_t r = r0; r < r1;) {
    const int64_t off = r % height, rows = std::min(height - off, r1 - r);
    column_block(f, base + plan.reduced_offset(r / height) + off * step, rows, n, m, first ? acc : part);
    if (!first)
      for (int64_t c = 0; c < n; ++c) acc[c] = merge_partials(f, acc[c], part[c]);
    first = false;
    r += rows;
  }
}

// `nrows` rows of n columns, one reduced step apart.
template <class T>
void Folder<T>::column_block(Fold f, const char* p, int64_t nrows, int64_t n, const T* m, Acc<T>* acc) const {
  constexpr int64_t kStage = 4096;
  const FoldFns<T>& fns = fold_fns<T>(f);
  const int64_t step = plan.rin[plan.nr - 1];
  if (stage == nullptr) {
    const int64_t group = kFoldColumns / n;
    if (group < 8 || step != n * int64_t(sizeof(T)) || nrows < 4 * group)
      return fns.columns(acc, reinterpret_cast<const T*>(p), nrows, step / int64_t(sizeof(T)), n, m, power);
    // Narrow and dense: several rows side by side make one wide row.
    const int64_t wide = group * n, whole = nrows / group, rest = nrows - whole * group;
    Acc<T> sums[kFoldColumns];
    T means[kFoldColumns] = {};
    for (int64_t c = 0; m != nullptr && c < wide; ++c) means[c] = m[c % n];
    const T* x = reinterpret_cast<const T*>(p);
    fns.columns(sums, x, whole, wide, wide, m ? means : nullptr, power);
    fns.columns(acc, x + whole * wide, rest, n, n, m, power);
    for (int64_t c = 0; c < wide; ++c) acc[c % n] = merge_partials(f, acc[c % n], sums[c]);
    return;
  }
  const int64_t batch = std::max<int64_t>(kStage / n, 1);
  T buffer[kStage];
  Acc<T> part[kFoldColumns];
  for (int64_t r = 0; r < nrows; r += batch) {
    const int64_t rows = std::min(batch, nrows - r);
    for (int64_t i = 0; i < rows; ++i)
      stage(reinterpret_cast<char*>(buffer + i * n), sizeof(T), p + (r + i) * step, plan.kin[plan.nk - 1], n);
    fns.columns(r == 0 ? acc : part, buffer, rows, n, n, m, power);
    for (int64_t c = 0; r != 0 && c < n; ++c) acc[c] = merge_partials(f, acc[c], part[c]);
  }
}

template <class A>
static void store_as(const ReducePlan& plan, const TensorImpl& out, int64_t k0, int64_t k1, const A* v) {
  const int64_t width = plan.ksize[plan.nk - 1], step = plan.kout[plan.nk - 1];
  dispatch(out.dtype, [&](auto tag) {
    using D = decltype(tag);
    for (int64_t k = k0; k < k1;) {
      const int64_t n = std::min(k1 - k, width - k % width);
      char* p = out.data() + plan.output_offset(k);
      for (int64_t i = 0; i < n; ++i) *reinterpret_cast<D*>(p + i * step) = convert<D>(v[k - k0 + i]);
      k += n;
    }
  });
}
void store_results(const ReducePlan& plan, const TensorImpl& out, int64_t k0, int64_t k1, const double* v) {
  store_as(plan, out, k0, k1, v);
}
void store_results(const ReducePlan& plan, const TensorImpl& out, int64_t k0, int64_t k1, const int64_t* v) {
  store_as(plan, out, k0, k1, v);
}

template class Folder<float>;
template class Folder<double>;
template class Folder<int64_t>;

}  // namespace mg::cpu
