// Fourier transforms along one or several dims: _fft_c2c, _fft_r2c, _fft_c2r (arguments: core/meta_fft.cpp).
//
// One pass per dim. A pass walks the lines along that dim in tiles of a few lines: load a tile from any strides into
// split arrays [n][lanes], transform (fft_plan.h), store with the scale. Lines of a pass are disjoint and read whole
// before they are written, so later dims run in place on the output. When there are fewer lines than lanes, each line
// is transformed alone and shares its work over threads. Real transforms of even length n run a complex one of n/2 on
// pairs of neighbours (x_2k + i x_2k+1) and untangle: half the work.
#include <cmath>
#include <cstring>

#include "../core/layout.h"
#include "../core/op.h"
#include "../core/parallel.h"
#include "fft_plan.h"

namespace mg::cpu {

namespace {

constexpr int64_t kMaxLanes = 16, kSingleFrom = 128;
constexpr int64_t kBlockBytes =
    1 << 18;  // of a tile, with re and im; it is there twice, and should stay in the L2 cache
enum class Kind { C2C, R2C, C2R };

template <class T>
struct Pass {
  Kind kind;
  bool forward, full;  // full: R2C stores all n coefficients
  int64_t n;           // points of the transform
  T scale;
  std::shared_ptr<const FftPlan<T>> plan;
  std::shared_ptr<const std::vector<T>> roots;  // exp(-2 pi i k / n), for the real transforms of even n
  bool packed() const { return roots != nullptr; }
};

// A tile of lines of one tensor: element j of line l is data[offset[l] + j * stride]; all counted in T.
template <class T>
struct Lines {
  T* data;
  int64_t stride;
  const int64_t* offset;
};

// Inverse transforms exchange the parts on the way in and out.

template <class T>
FftBlock<T> load_complex(const Pass<T>& p, Lines<const T> in, int64_t lanes, FftBlock<T> a) {
  T *re = p.forward ? a.re : a.im, *im = p.forward ? a.im : a.re;
  fft_fns<T>().gather(re, im, in.data, in.offset, in.stride, 1, p.n, lanes);
  return a;
}

template <class T>
FftBlock<T> load_real(const Pass<T>& p, Lines<const T> in, int64_t lanes, FftBlock<T> a) {
  if (p.packed()) {
    fft_fns<T>().gather(a.re, a.im, in.data, in.offset, 2 * in.stride, in.stride, p.n / 2, lanes);
    return a;
  }
  fft_fns<T>().gather(a.re, a.im, in.data, in.offset, in.stride, 0, p.n, lanes);
  std::fill_n(a.im, p.n * lanes, T(0));
  return a;
}

template <class T>
FftBlock<T> load_half(const Pass<T>& p, Lines<const T> in, int64_t lanes, FftBlock<T> a, FftBlock<T> b) {
  fft_fns<T>().gather(a.re, a.im, in.data, in.offset, in.stride, 1, p.n / 2 + 1, lanes);
  if (p.packed()) {
    fft_fns<T>().tangle(a.re, a.im, b.im, b.re, p.roots->data(), p.n / 2, lanes);
    return b;
  }
  std::copy_n(a.re, lanes, b.im);
  std::fill_n(b.re, lanes, T(0));  // the imaginary part of X_0 does not count
  for (int64_t k = 1; 2 * k < p.n; ++k)
    for (int64_t l = 0, i = k * lanes, j = (p.n - k) * lanes; l < lanes; ++l) {
      b.im[i + l] = b.im[j + l] = a.re[i + l];
      b.re[i + l] = a.im[i + l], b.re[j + l] = -a.im[i + l];
    }
  return b;
}

template <class T>
void store_complex(const Pass<T>& p, Lines<T> out, int64_t lanes, FftBlock<T> r) {
  const T *re = p.forward ? r.re : r.im, *im = p.forward ? r.im : r.re;
  fft_fns<T>().scatter(re, im, out.data, out.offset, out.stride, 1, p.n, lanes, p.scale, p.scale);
}

template <class T>
void store_spectrum(const Pass<T>& p, Lines<T> out, int64_t lanes, FftBlock<T> r, FftBlock<T> other) {
  const int64_t h = p.n / 2;
  const T scale = p.packed() ? p.scale / 2 : p.scale;
  if (p.packed()) {
    fft_fns<T>().untangle(r.re, r.im, other.re, other.im, p.roots->data(), h, lanes);
    r = other;
  }
  fft_fns<T>().scatter(r.re, r.im, out.data, out.offset, out.stride, 1, h + 1, lanes, scale, scale);
  if (!p.full || p.n < 3) return;
  // X_{n-k} = conj X_k: the same rows backwards from the end
  const Lines<T> end = {out.data + (p.n - 1) * out.stride, -out.stride, out.offset};
  fft_fns<T>().scatter(r.re + lanes, r.im + lanes, end.data, end.offset, end.stride, 1, (p.n - 1) / 2, lanes, scale,
                       -scale);
}

template <class T>
void store_real(const Pass<T>& p, Lines<T> out, int64_t lanes, FftBlock<T> r) {
  if (p.packed()) {
    fft_fns<T>().scatter(r.im, r.re, out.data, out.offset, 2 * out.stride, out.stride, p.n / 2, lanes, p.scale,
                         p.scale);
    return;
  }
  for (int64_t l = 0; l < lanes; ++l)
    for (int64_t j = 0; j < p.n; ++j) out.data[out.offset[l] + j * out.stride] = p.scale * r.im[j * lanes + l];
}

// Offsets of the lines [first, first + count) along `dim`, counted over the other dims in row-major order.
void line_offsets(const Dims& sizes, const Dims& strides, int dim, int64_t first, int64_t count, int64_t unit,
                  int64_t* to) {
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = first + i, offset = 0;
    for (int d = sizes.size() - 1; d >= 0; --d) {
      if (d == dim) continue;
      offset += rest % sizes[d] * strides[d];
      rest /= sizes[d];
    }
    to[i] = offset * unit;
  }
}

template <class T>
void run_tile(const Pass<T>& p, Lines<const T> in, Lines<T> out, int64_t lanes, FftBlock<T> a, FftBlock<T> b) {
  FftBlock<T> x = a;
  if (p.kind == Kind::C2C)
    load_complex(p, in, lanes, a);
  else if (p.kind == Kind::R2C)
    load_real(p, in, lanes, a);
  else
    x = load_half(p, in, lanes, a, b);
  const auto other = [&](FftBlock<T> y) { return y.re == a.re ? b : a; };
  const FftBlock<T> r = fft_transform(*p.plan, x, other(x), lanes);
  if (p.kind == Kind::C2C)
    store_complex(p, out, lanes, r);
  else if (p.kind == Kind::R2C)
    store_spectrum(p, out, lanes, r, other(r));
  else
    store_real(p, out, lanes, r);
}

// One dim: src and dst agree in all sizes but that of `dim`.
template <class T>
void run_pass(Pass<T> p, const TensorImpl& src, const TensorImpl& dst, int dim) {
  int64_t lines = 1;
  for (int d = 0; d < src.dim(); ++d)
    if (d != dim) lines *= src.sizes[d];
  if (lines == 0) return;
  if (p.kind != Kind::C2C && p.n % 2 == 0) p.roots = fft_roots<T>(p.n, p.n / 2 + 1);
  const int64_t length = p.packed() ? p.n / 2 : p.n, block = kBlockBytes / int64_t(2 * sizeof(T));
  // One line at a time (a plan that splits it) when there are few lines, or when lines are long: then a tile would
  // leave the cache. Lines across memory are worse one by one, each touching every cache line of its neighbours: eight
  // at a time until 16 times the length.
  const bool across = src.strides[dim] != 1 || dst.strides[dim] != 1;
  const int64_t rows = fft_rows(length);
  const bool single = length >= kSingleFrom && (lines < kMaxLanes / 2 || rows * 4 > (across ? 16 * block : block));
  p.plan = fft_plan<T>(length, single);
  const int64_t lanes =
      single ? 1 : std::clamp<int64_t>(block / rows, across ? kMaxLanes / 2 : 1, kMaxLanes);
  const int64_t tiles = (lines - 1) / lanes + 1;
  // Complex tensors are counted in pairs; blocks have room for the n/2 + 1 rows of a half spectrum.
  const int64_t in_unit = is_complex(src.dtype) ? 2 : 1, out_unit = is_complex(dst.dtype) ? 2 : 1,
                room = (length + 1) * lanes;
  const Lines<const T> in = {src.ptr<T>(), src.strides[dim] * in_unit, nullptr};
  const Lines<T> out = {dst.ptr<T>(), dst.strides[dim] * out_unit, nullptr};
  parallel_for(0, tiles, std::max<int64_t>(1, 16384 / (rows * lanes)), [&](int64_t begin, int64_t end) {
    int64_t from[kMaxLanes], to[kMaxLanes];
    const Tensor memory = empty({4 * room}, dtype_of<T>());
    T* m = memory.ptr<T>();
    const FftBlock<T> a = {m, m + room}, b = {m + 2 * room, m + 3 * room};
    for (int64_t t = begin; t < end; ++t) {
      const int64_t first = t * lanes, count = std::min(lanes, lines - first);
      line_offsets(src.sizes, src.strides, dim, first, count, in_unit, from);
      line_offsets(dst.sizes, dst.strides, dim, first, count, out_unit, to);
      run_tile<T>(p, {in.data, in.stride, from}, {out.data, out.stride, to}, count, a, b);
    }
  });
}

template <class T>
void run_c2c(const Dims& dims, int count, double scale, bool forward, const TensorImpl& src, const TensorImpl& dst) {
  const TensorImpl* from = &src;
  for (int i = count - 1; i >= 0; --i) {
    const int dim = int(dims[i]);
    run_pass<T>({Kind::C2C, forward, false, src.sizes[dim], T(i == 0 ? scale : 1), nullptr, nullptr}, *from, dst, dim);
    from = &dst;
  }
}

template <class F>
void dispatch_parts(DType d, F f) {
  if (to_real(d) == DType::Float64)
    f(double{});
  else
    f(float{});
}

// out= and in-place targets may be strided or overlap the input: those get a copy.
template <class F>
void into_fresh(Invocation& inv, F f) {
  TensorImpl& out = inv.out();
  if (out.numel == 0) return;
  const bool direct = out.contiguous && out.storage.get() != inv.in(0).storage.get();
  const Tensor work = direct ? Tensor(&out) : empty(out.sizes, out.dtype);
  f(*work);
  if (!direct) copy_into(Tensor(&out), work);
}

void c2c_cpu(Invocation& inv) {
  into_fresh(inv, [&](const TensorImpl& out) {
    const Dims dims = inv.ints(1);
    dispatch_parts(out.dtype,
                   [&](auto t) { run_c2c<decltype(t)>(dims, dims.size(), inv.f(2), inv.b(3), inv.in(0), out); });
  });
}

void r2c_cpu(Invocation& inv) {
  into_fresh(inv, [&](const TensorImpl& out) {
    const Dims dims = inv.ints(1);
    const TensorImpl& x = inv.in(0);
    const int last = int(dims.back()), others = dims.size() - 1;
    dispatch_parts(out.dtype, [&](auto t) {
      using T = decltype(t);
      const T scale = T(others == 0 ? inv.f(2) : 1);
      run_pass<T>({Kind::R2C, true, !inv.b(3), x.sizes[last], scale, nullptr, nullptr}, x, out, last);
      run_c2c<T>(dims, others, inv.f(2), true, out, out);
    });
  });
}

void c2r_cpu(Invocation& inv) {
  into_fresh(inv, [&](const TensorImpl& out) {
    const Dims dims = inv.ints(1);
    const TensorImpl& x = inv.in(0);
    const int last = int(dims.back()), others = dims.size() - 1;
    dispatch_parts(out.dtype, [&](auto t) {
      using T = decltype(t);
      const Tensor half = others == 0 ? Tensor(const_cast<TensorImpl*>(&x)) : empty(x.sizes, x.dtype);
      if (others != 0) run_c2c<T>(dims, others, 1, false, x, *half);
      run_pass<T>({Kind::C2R, false, false, inv.i(3), T(inv.f(2)), nullptr, nullptr}, *half, out, last);
    });
  });
}

}  // namespace

MG_KERNEL("_fft_c2c", CPU, c2c_cpu);  // never reached with real dtypes: meta refuses them
MG_KERNEL_COMPLEX("_fft_c2c", CPU, c2c_cpu);
MG_KERNEL("_fft_r2c", CPU, r2c_cpu);
MG_KERNEL_COMPLEX("_fft_r2c", CPU, r2c_cpu);
MG_KERNEL("_fft_c2r", CPU, c2r_cpu);
MG_KERNEL_COMPLEX("_fft_c2r", CPU, c2r_cpu);

}  // namespace mg::cpu
