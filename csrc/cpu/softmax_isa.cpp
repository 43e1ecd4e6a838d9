// Leaf kernels of softmax_table.h. A row is read three times (maximum, exponentials, scale), the last two from cache.
// A maximum of -inf (a row of -inf only) gives NaN, as in PyTorch.
#include "../simd/row_math.h"
#include "../simd/vecmath_more.h"
#include "softmax_table.h"

namespace mg::cpu::MG_ISA_NS {

namespace sv = simd::MG_ISA_NS;
using namespace simd::MG_ISA_NS;

template <class T>
void softmax_rows(T* y, const T* x, int64_t nrows, int64_t n, bool log) {
  for (int64_t r = 0; r < nrows; ++r, x += n, y += n) {
    const Vec<T> top = row_max(x, n);
    if (log) {
      const double sum = sum_of<T>(n, [&](int64_t i, int k) MG_LAMBDA { return sv::exp(get(x + i, k) - top); });
      const Vec<T> shift = T(__builtin_log(sum));
      each<T>(n, [&](int64_t i, int k) MG_LAMBDA { put(y + i, (get(x + i, k) - top) - shift, k); });
    } else {
      const double sum = sum_of<T>(n, [&](int64_t i, int k) MG_LAMBDA {
        const Vec<T> e = sv::exp(get(x + i, k) - top);
        put(y + i, e, k);
        return e;
      });
      const Vec<T> scale = T(1 / sum);
      each<T>(n, [&](int64_t i, int k) MG_LAMBDA { put(y + i, get(y + i, k) * scale, k); });
    }
  }
}

template <class T>
void softmax_backward_rows(T* dx, const T* g, const T* y, int64_t nrows, int64_t n, bool log) {
  for (int64_t r = 0; r < nrows; ++r, dx += n, g += n, y += n) {
    if (log) {
      const Vec<T> sum = T(sum_of<T>(n, [&](int64_t i, int k) MG_LAMBDA { return get(g + i, k); }));
      each<T>(n, [&](int64_t i, int k) MG_LAMBDA { put(dx + i, get(g + i, k) - sv::exp(get(y + i, k)) * sum, k); });
    } else {
      const Vec<T> sum = T(sum_of<T>(n, [&](int64_t i, int k) MG_LAMBDA { return get(g + i, k) * get(y + i, k); }));
      each<T>(n, [&](int64_t i, int k) MG_LAMBDA { put(dx + i, (get(g + i, k) - sum) * get(y + i, k), k); });
    }
  }
}

// Columns: whole row segments at a time, with one maximum and one sum per column in L1.
template <class T>
void softmax_columns(T* y, const T* x, int64_t n, int64_t ld, int64_t ncols, bool log) {
  alignas(64) T top[kSoftmaxColumns], sum[kSoftmaxColumns];
  for (int64_t c = 0; c < ncols; ++c) top[c] = -T(__builtin_inf()), sum[c] = T(0);
  for (int64_t r = 0; r < n; ++r)
    each<T>(ncols,
            [&](int64_t c, int k) MG_LAMBDA { put(top + c, maximum(get(top + c, k), get(x + r * ld + c, k)), k); });
  for (int64_t r = 0; r < n; ++r)
    each<T>(ncols, [&](int64_t c, int k) MG_LAMBDA {
      const Vec<T> e = exp(get(x + r * ld + c, k) - get(top + c, k));
      if (!log) put(y + r * ld + c, e, k);
      put(sum + c, get(sum + c, k) + e, k);
    });
  each<T>(ncols, [&](int64_t c, int k) MG_LAMBDA {
    const Vec<T> s = get(sum + c, k);
    put(sum + c, log ? sv::log(s) : Vec<T>(T(1)) / s, k);
  });
  for (int64_t r = 0; r < n; ++r)
    each<T>(ncols, [&](int64_t c, int k) MG_LAMBDA {
      const int64_t i = r * ld + c;
      const Vec<T> s = get(sum + c, k);
      put(y + i, log ? (get(x + i, k) - get(top + c, k)) - s : get(y + i, k) * s, k);
    });
}

template <class T>
void softmax_backward_columns(T* dx, const T* g, const T* y, int64_t n, int64_t ld, int64_t ncols, bool log) {
  alignas(64) T sum[kSoftmaxColumns];
  for (int64_t c = 0; c < ncols; ++c) sum[c] = T(0);
  for (int64_t r = 0; r < n; ++r)
    each<T>(ncols, [&](int64_t c, int k) MG_LAMBDA {
      const Vec<T> gv = get(g + r * ld + c, k);
      put(sum + c, get(sum + c, k) + (log ? gv : gv * get(y + r * ld + c, k)), k);
    });
  for (int64_t r = 0; r < n; ++r)
    each<T>(ncols, [&](int64_t c, int k) MG_LAMBDA {
      const int64_t i = r * ld + c;
      const Vec<T> gv = get(g + i, k), yv = get(y + i, k), s = get(sum + c, k);
      put(dx + i, log ? gv - exp(yv) * s : (gv - s) * yv, k);
    });
}

template <class T>
double row_logsumexp(const T* x, int64_t n) {
  const T top = row_max(x, n);
  if (top - top != T(0)) return double(top - top);  // inf, -inf and NaN: NaN, as log_softmax has it
  const Vec<T> shift = top;
  return double(top) +
         __builtin_log(sum_of<T>(n, [&](int64_t i, int k) MG_LAMBDA { return sv::exp(get(x + i, k) - shift); }));
}

template <class T>
double row_sum(const T* x, int64_t n) {
  return sum_of<T>(n, [&](int64_t i, int k) MG_LAMBDA { return get(x + i, k); });
}

template <class T>
void cross_entropy_row(T* dx, const T* x, const T* w, int64_t n, double lse, double a, double b) {
  const Vec<T> shift = T(lse), av = T(a), bv = T(b);
  each<T>(n, [&](int64_t i, int k) MG_LAMBDA {
    const Vec<T> p = sv::exp(get(x + i, k) - shift) * av;
    put(dx + i, w ? p - bv * get(w + i, k) : p - bv, k);
  });
}

extern const SoftmaxTable softmax_table;
#define MG_ROW(T)                                                                                                \
  {softmax_rows<T>, softmax_backward_rows<T>, softmax_columns<T>, softmax_backward_columns<T>, row_logsumexp<T>, \
   row_sum<T>,      cross_entropy_row<T>}
constinit const SoftmaxTable softmax_table = {MG_ROW(float), MG_ROW(double)};

}  // namespace mg::cpu::MG_ISA_NS
