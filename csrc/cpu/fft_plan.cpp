#include "fft_plan.h"

#include <cmath>
#include <list>
#include <mutex>

#include "../core/parallel.h"
#include "../core/tensor.h"

namespace mg::cpu {

namespace avx512 {
extern const FftTable fft_table;
}
namespace avx2 {
extern const FftTable fft_table;
}
namespace portable {
extern const FftTable fft_table;
}

const FftTable& fft_table() {
  static const FftTable& table = MG_PICK(fft_table);
  return table;
}
template <>
const FftFns<float>& fft_fns<float>() {
  return fft_table().f32;
}
template <>
const FftFns<double>& fft_fns<double>() {
  return fft_table().f64;
}

namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr int64_t kSplitFrom = 128;                    // shorter single signals run the passes with one lane
constexpr int64_t kTile = 16;                          // columns or rows of a split transform handled together
constexpr int64_t kConvolvedRows = 8192;               // of Bluestein's blocks inside Split: a tile of them fits L2
constexpr int64_t kCachedElements = int64_t(1) << 23;  // of all plans together; older ones are dropped

struct Root {
  double re, im;
};
// exp(-2 pi i k / n), 0 <= k < n: the angle is folded into [0, pi/4], where sine and cosine lose nothing.
Root root_of_unity(int64_t k, int64_t n) {
  int64_t a = 8 * k;  // angle in units of 2 pi / (8 n)
  int octant = 0;
  bool upper = false;
  if (a > 4 * n) a = 8 * n - a, upper = true;  // the other half plane
  if (a > 2 * n) a = 4 * n - a, octant |= 1;   // cosine negative
  if (a > n) a = 2 * n - a, octant |= 2;       // exchange
  const double t = 2 * kPi * (double(a) / (8.0 * double(n)));
  double c = std::cos(t), s = std::sin(t);
  if (octant & 2) std::swap(c, s);
  if (octant & 1) c = -c;
  return {c, upper ? s : -s};
}

template <class T>
void put_root(T* to, int64_t k, int64_t n) {
  const Root r = root_of_unity(k, n);
  to[0] = T(r.re), to[1] = T(r.im);
}

std::vector<int64_t> factors_of(int64_t n) {
  std::vector<int64_t> f;
  for (; n % 4 == 0; n /= 4) f.push_back(4);
  for (int64_t p = 2; p * p <= n; p += p == 2 ? 1 : 2)
    for (; n % p == 0; n /= p) f.push_back(p);
  if (n > 1) f.push_back(n);
  return f;
}

template <class T>
void plan_direct(FftPlan<T>& plan, const std::vector<int64_t>& factors) {
  int64_t size = 0, left = plan.n;
  for (const int64_t p : factors) {
    left /= p;
    size += 2 * left * (p - 1) + 2 * p;
  }
  plan.table.resize(size_t(size));
  T* at = plan.table.data();
  left = plan.n;
  int64_t s = 1;
  for (const int64_t p : factors) {
    const int64_t whole = left;
    left /= p;
    FftStage<T> stage = {p, left, s, at, at + 2 * left * (p - 1)};
    for (int64_t q = 0; q < left; ++q)
      for (int64_t j = 1; j < p; ++j, at += 2) put_root(at, q * j, whole);
    for (int64_t j = 0; j < p; ++j, at += 2) put_root(at, j, p);
    plan.stages.push_back(stage);
    s *= p;
  }
}

template <class T>
void plan_split(FftPlan<T>& plan, int64_t n1) {
  plan.kind = FftPlan<T>::Kind::Split;
  plan.n1 = n1, plan.n2 = plan.n / n1;
  plan.first = fft_plan<T>(plan.n1, false);
  plan.second = fft_plan<T>(plan.n2, false);
  while ((int64_t(1) << (2 * plan.shift)) < plan.n) ++plan.shift;
  const int64_t step = int64_t(1) << plan.shift, rows = plan.n / step + 1;
  plan.low.resize(size_t(2 * step));
  plan.high.resize(size_t(2 * rows));
  for (int64_t k = 0; k < step && k < plan.n; ++k) put_root(&plan.low[size_t(2 * k)], k, plan.n);
  for (int64_t k = 0; k < rows; ++k) put_root(&plan.high[size_t(2 * k)], k * step % plan.n, plan.n);
  plan.table.resize(size_t(2 * plan.n1 * kTile));
  for (int64_t k = 0; k < plan.n1; ++k)
    for (int64_t l = 0; l < kTile; ++l) {
      const Root r = root_of_unity(k * l % plan.n, plan.n);
      plan.table[size_t(2 * k * kTile + l)] = T(r.re), plan.table[size_t((2 * k + 1) * kTile + l)] = T(r.im);
    }
}

int64_t smooth_at_least(int64_t n) {
  int64_t best = 1;
  while (best < n) best *= 2;
  for (int64_t five = 1; five < best; five *= 5)
    for (int64_t three = five; three < best; three *= 3) {
      int64_t two = three;
      while (two < n) two *= 2;
      best = std::min(best, two);
    }
  return best;
}

bool is_smooth(int64_t n) {
  const std::vector<int64_t> factors = factors_of(n);
  return factors.empty() || factors.back() <= kFftMaxRadix;
}

template <class T>
void plan_bluestein(FftPlan<T>& plan, bool single) {
  const int64_t n = plan.n, m = fft_rows(n);
  plan.kind = FftPlan<T>::Kind::Bluestein;
  plan.first = fft_plan<T>(m, single);
  plan.table.assign(size_t(2 * n + 2 * m), T(0));
  T *chirp = plan.table.data(), *kernel = chirp + 2 * n;
  std::vector<T> work(size_t(2 * m));
  int64_t square = 0;  // k^2 mod 2n
  for (int64_t k = 0; k < n; ++k) {
    const Root r = root_of_unity(square, 2 * n);
    chirp[k] = T(r.re), chirp[n + k] = T(r.im);
    const int64_t mirror = k == 0 ? 0 : m - k;
    kernel[k] = kernel[mirror] = T(r.re / double(m));
    kernel[m + k] = kernel[m + mirror] = T(-r.im / double(m));
    square = (square + 2 * k + 1) % (2 * n);
  }
  const FftBlock<T> k = fft_transform<T>(*plan.first, {kernel, kernel + m}, {work.data(), work.data() + m}, 1);
  if (k.re != kernel) std::copy(k.re, k.re + 2 * m, kernel);
}

template <class T>
std::shared_ptr<const FftPlan<T>> make_plan(int64_t n, bool single) {
  auto plan = std::make_shared<FftPlan<T>>();
  plan->n = n;
  const bool smooth = is_smooth(n);
  int64_t n1 = 1;
  if (single && n >= kSplitFrom)
    for (int64_t d = 2; d * d <= n; ++d)
      if (n % d == 0) n1 = d;
  const bool split = n1 >= 8 && (smooth || std::max(fft_rows(n1), fft_rows(n / n1)) <= kConvolvedRows);
  if (split)
    plan_split(*plan, n1);
  else if (smooth)
    plan_direct(*plan, factors_of(n));
  else
    plan_bluestein(*plan, single);
  return plan;
}

// Most recently used first.
template <class V>
class Cache {
 public:
  template <class Make>
  std::shared_ptr<const V> get(int64_t n, int64_t kind, int64_t size, Make make) {
    {
      const std::lock_guard lock(mutex_);
      for (auto it = entries_.begin(); it != entries_.end(); ++it)
        if (it->n == n && it->kind == kind) {
          entries_.splice(entries_.begin(), entries_, it);
          return it->value;
        }
    }
    std::shared_ptr<const V> made = make();  // outside the lock: a plan may ask for others
    const std::lock_guard lock(mutex_);
    entries_.push_front({n, kind, size, made});
    total_ += size;
    while (total_ > kCachedElements && entries_.size() > 1) {
      total_ -= entries_.back().size;
      entries_.pop_back();
    }
    return made;
  }

 private:
  struct Entry {
    int64_t n, kind, size;
    std::shared_ptr<const V> value;
  };
  std::mutex mutex_;
  std::list<Entry> entries_;
  int64_t total_ = 0;
};

// --- running

template <class T>
FftBlock<T> run_direct(const FftPlan<T>& plan, FftBlock<T> x, FftBlock<T> work, int64_t lanes) {
  const bool swapped =
      fft_fns<T>().stages(plan.stages.data(), int64_t(plan.stages.size()), lanes, x.re, x.im, work.re, work.im);
  return swapped ? work : x;
}

template <class T>
struct Scratch {  // two blocks of n elements
  Tensor memory;
  FftBlock<T> a, b;
  explicit Scratch(int64_t n) : memory(empty({4 * n}, dtype_of<T>())) {
    T* p = memory.ptr<T>();
    a = {p, p + n}, b = {p + 2 * n, p + 3 * n};
  }
};

// X_k = c_k sum_j (x_j c_j) conj(c_{k-j}), c_k = exp(-pi i k^2 / n): a cyclic convolution of length m >= 2n - 1.
template <class T>
FftBlock<T> run_bluestein(const FftPlan<T>& plan, FftBlock<T> x, int64_t lanes) {
  const int64_t n = plan.n, m = plan.first->n, used = n * lanes, all = m * lanes;
  const T *chirp = plan.table.data(), *kernel = chirp + 2 * n;
  const Scratch<T> s(all);
  const auto multiply = fft_fns<T>().multiply;
  multiply(x.re, x.im, chirp, chirp + n, n, lanes);
  std::copy_n(x.re, used, s.a.re);
  std::copy_n(x.im, used, s.a.im);
  std::fill(s.a.re + used, s.a.re + all, T(0));
  std::fill(s.a.im + used, s.a.im + all, T(0));
  FftBlock<T> r = fft_transform(*plan.first, s.a, s.b, lanes);
  multiply(r.re, r.im, kernel, kernel + m, m, lanes);
  const FftBlock<T> other = r.re == s.a.re ? s.b : s.a;
  // the inverse: exchange re and im before and after
  r = fft_transform<T>(*plan.first, {r.im, r.re}, {other.im, other.re}, lanes);
  std::copy_n(r.im, used, x.re);
  std::copy_n(r.re, used, x.im);
  multiply(x.re, x.im, chirp, chirp + n, n, lanes);
  return x;
}

// f(first column, number of columns, scratch) for all tiles, in parallel.
template <class T, class F>
void tiles(int64_t columns, int64_t length, F f) {
  const int64_t count = (columns - 1) / kTile + 1;
  parallel_for(0, count, std::max<int64_t>(1, 16384 / (length * kTile)), [&](int64_t begin, int64_t end) {
    const Scratch<T> scratch(length * kTile);
    for (int64_t t = begin; t < end; ++t) f(t * kTile, std::min(kTile, columns - t * kTile), scratch);
  });
}

template <class T>
void split_columns(const FftPlan<T>& plan, FftBlock<T> x, FftBlock<T> y) {
  const int64_t n1 = plan.n1, n2 = plan.n2, mask = (int64_t(1) << plan.shift) - 1;
  tiles<T>(n2, n1, [&](int64_t first, int64_t lanes, const Scratch<T>& s) {
    for (int64_t j = 0; j < n1; ++j) {
      std::copy_n(x.re + j * n2 + first, lanes, s.a.re + j * lanes);
      std::copy_n(x.im + j * n2 + first, lanes, s.a.im + j * lanes);
    }
    const FftBlock<T> r = fft_transform(*plan.first, s.a, s.b, lanes);
    for (int64_t k = 0; k < n1; ++k) {
      const int64_t e = k * first;  // w^(k (first + l)) = w^(k first) times the table's w^(k l)
      const T *lo = &plan.low[size_t(2 * (e & mask))], *hi = &plan.high[size_t(2 * (e >> plan.shift))];
      const T br = lo[0] * hi[0] - lo[1] * hi[1], bi = lo[0] * hi[1] + lo[1] * hi[0];
      const T *tr = &plan.table[size_t(2 * k * kTile)], *ti = tr + kTile, *a = r.re + k * lanes, *b = r.im + k * lanes;
      T* __restrict yr = y.re + k * n2 + first, * __restrict yi = y.im + k * n2 + first;
      for (int64_t l = 0; l < lanes; ++l) {
        const T wr = tr[l] * br - ti[l] * bi, wi = tr[l] * bi + ti[l] * br;
        yr[l] = a[l] * wr - b[l] * wi;
        yi[l] = a[l] * wi + b[l] * wr;
      }
    }
  });
}

template <class T>
void split_rows(const FftPlan<T>& plan, FftBlock<T> x, FftBlock<T> y) {
  const int64_t n1 = plan.n1, n2 = plan.n2;
  tiles<T>(n1, n2, [&](int64_t first, int64_t lanes, const Scratch<T>& s) {
    fft_fns<T>().transpose(s.a.re, x.re + first * n2, n2, n2, lanes);
    fft_fns<T>().transpose(s.a.im, x.im + first * n2, n2, n2, lanes);
    const FftBlock<T> r = fft_transform(*plan.second, s.a, s.b, lanes);
    for (int64_t k = 0; k < n2; ++k) {
      std::copy_n(r.re + k * lanes, lanes, y.re + k * n1 + first);
      std::copy_n(r.im + k * lanes, lanes, y.im + k * n1 + first);
    }
  });
}

}  // namespace

int64_t fft_rows(int64_t n) { return is_smooth(n) ? n : smooth_at_least(2 * n - 1); }

template <class T>
std::shared_ptr<const FftPlan<T>> fft_plan(int64_t n, bool single) {
  static Cache<FftPlan<T>> cache;
  return cache.get(n, single && n >= kSplitFrom, n, [&] { return make_plan<T>(n, single); });
}

template <class T>
std::shared_ptr<const std::vector<T>> fft_roots(int64_t n, int64_t count) {
  static Cache<std::vector<T>> cache;
  return cache.get(n, count, count, [&] {
    auto roots = std::make_shared<std::vector<T>>(size_t(2 * count));
    for (int64_t k = 0; k < count; ++k) put_root(roots->data() + 2 * k, k, n);
    return roots;
  });
}

template <class T>
FftBlock<T> fft_transform(const FftPlan<T>& plan, FftBlock<T> x, FftBlock<T> work, int64_t lanes) {
  switch (plan.kind) {
    case FftPlan<T>::Kind::Direct:
      return run_direct(plan, x, work, lanes);
    case FftPlan<T>::Kind::Bluestein:
      return run_bluestein(plan, x, lanes);
    default:
      split_columns(plan, x, work);
      split_rows(plan, work, x);
      return x;
  }
}

#define MG_INSTANTIATE(T)                                                        \
  template std::shared_ptr<const FftPlan<T>> fft_plan<T>(int64_t, bool);         \
  template std::shared_ptr<const std::vector<T>> fft_roots<T>(int64_t, int64_t); \
  template FftBlock<T> fft_transform<T>(const FftPlan<T>&, FftBlock<T>, FftBlock<T>, int64_t);
MG_INSTANTIATE(float)
MG_INSTANTIATE(double)

}  // namespace mg::cpu
