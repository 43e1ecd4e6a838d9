// Inner loops of optim_rules.h; plain loops that the compiler vectorises for this file's instruction set. The constants c[] are named in
// optim_rules.cpp, in the same order.
#include "optim_rules.h"

#include <cmath>

namespace mg::cpu::MG_ISA_NS {

template <class T>
struct Constants {
  T sign, decay, shrink, c0, c1, c2, c3, c4, c5;
  explicit Constants(const RuleStep& s)
      : sign(T(s.sign)), decay(T(s.decay)), shrink(T(s.shrink)), c0(T(s.c[0])), c1(T(s.c[1])), c2(T(s.c[2])), c3(T(s.c[3])),
        c4(T(s.c[4])), c5(T(s.c[5])) {}
  T gradient(T g, T p) const { return sign * g + decay * p; }
};

template <class T, bool centered, bool momentum>
static void rmsprop_loop(T* __restrict p, const T* __restrict grad, T* __restrict square, T* __restrict buffer, T* __restrict mean, int64_t n,
                         const Constants<T>& k) {
  const T lr = k.c0, alpha = k.c1, fresh = k.c2, eps = k.c3, keep = k.c4;
  for (int64_t i = 0; i < n; ++i) {
    const T g = k.gradient(grad[i], p[i]);
    T v = alpha * square[i] + fresh * g * g;
    square[i] = v;
    if constexpr (centered) {
      const T m = mean[i] + fresh * (g - mean[i]);
      mean[i] = m;
      v -= m * m;
    }
    T direction = g / (std::sqrt(v) + eps);
    if constexpr (momentum) buffer[i] = direction = keep * buffer[i] + direction;
    p[i] -= lr * direction;
  }
}

template <class T>
static void rmsprop(T* p, const T* grad, T* const* state, int64_t n, const RuleStep& s) {
  const Constants<T> k(s);
  const bool momentum = s.c[4] > 0, centered = s.c[5] != 0;
  if (centered && momentum) rmsprop_loop<T, true, true>(p, grad, state[0], state[1], state[2], n, k);
  else if (centered) rmsprop_loop<T, true, false>(p, grad, state[0], nullptr, state[2], n, k);
  else if (momentum) rmsprop_loop<T, false, true>(p, grad, state[0], state[1], nullptr, n, k);
  else rmsprop_loop<T, false, false>(p, grad, state[0], nullptr, nullptr, n, k);
}

template <class T>
static void adagrad(T* __restrict p, const T* __restrict grad, T* const* state, int64_t n, const RuleStep& s) {
  const Constants<T> k(s);
  const T rate = k.c0, eps = k.c1;
  T* __restrict sum = state[0];
  for (int64_t i = 0; i < n; ++i) {
    const T g = k.gradient(grad[i], p[i]), v = sum[i] + g * g;
    sum[i] = v;
    p[i] -= rate * (g / (std::sqrt(v) + eps));
  }
}

template <class T>
static void adadelta(T* __restrict p, const T* __restrict grad, T* const* state, int64_t n, const RuleStep& s) {
  const Constants<T> k(s);
  const T lr = k.c0, rho = k.c1, fresh = k.c2, eps = k.c3;
  T *__restrict square = state[0], *__restrict moved = state[1];
  for (int64_t i = 0; i < n; ++i) {
    const T g = k.gradient(grad[i], p[i]), v = rho * square[i] + fresh * g * g;
    square[i] = v;
    const T delta = std::sqrt(moved[i] + eps) / std::sqrt(v + eps) * g;
    moved[i] = rho * moved[i] + fresh * delta * delta;
    p[i] -= lr * delta;
  }
}

template <class T>
static void adamax(T* __restrict p, const T* __restrict grad, T* const* state, int64_t n, const RuleStep& s) {
  const Constants<T> k(s);
  const T rate = k.c0, fresh = k.c1, beta2 = k.c2, eps = k.c3;
  T *__restrict mean = state[0], *__restrict top = state[1];
  for (int64_t i = 0; i < n; ++i) {
    const T g = k.gradient(grad[i], p[i]), m = mean[i] + fresh * (g - mean[i]), now = std::abs(g) + eps, old = beta2 * top[i];
    const T u = old > now || old != old ? old : now;  // NaN stays NaN, as in PyTorch's maximum
    mean[i] = m;
    top[i] = u;
    p[i] -= rate * (m / u);
  }
}

template <class T>
static void nadam(T* __restrict p, const T* __restrict grad, T* const* state, int64_t n, const RuleStep& s) {
  const Constants<T> k(s);
  const T from_grad = k.c0, from_mean = k.c1, fresh1 = k.c2, fresh2 = k.c3, inv_bias2 = k.c4, eps = k.c5;
  T *__restrict mean = state[0], *__restrict square = state[1];
  for (int64_t i = 0; i < n; ++i) {
    const T w = p[i] * k.shrink, g = k.gradient(grad[i], p[i]);
    const T m = mean[i] + fresh1 * (g - mean[i]), v = (1 - fresh2) * square[i] + fresh2 * g * g;
    mean[i] = m;
    square[i] = v;
    p[i] = w - (from_grad * g + from_mean * m) / (std::sqrt(v * inv_bias2) + eps);
  }
}

template <class T, bool adaptive>
static void radam_loop(T* __restrict p, const T* __restrict grad, T* __restrict mean, T* __restrict square, int64_t n, const Constants<T>& k) {
  const T rate = k.c0, fresh1 = k.c1, fresh2 = k.c2, rectified = k.c3, eps = k.c4;
  for (int64_t i = 0; i < n; ++i) {
    const T w = p[i] * k.shrink, g = k.gradient(grad[i], p[i]);
    const T m = mean[i] + fresh1 * (g - mean[i]), v = (1 - fresh2) * square[i] + fresh2 * g * g;
    mean[i] = m;
    square[i] = v;
    p[i] = w - (adaptive ? rate * m * (rectified / (std::sqrt(v) + eps)) : rate * m);
  }
}

template <class T>
static void radam(T* p, const T* grad, T* const* state, int64_t n, const RuleStep& s) {
  if (s.c[3] > 0) radam_loop<T, true>(p, grad, state[0], state[1], n, Constants<T>(s));
  else radam_loop<T, false>(p, grad, state[0], state[1], n, Constants<T>(s));
}

template <class T>
static void rprop(T* __restrict p, const T* __restrict grad, T* const* state, int64_t n, const RuleStep& s) {
  const Constants<T> k(s);
  const T shrink = k.c0, grow = k.c1, least = k.c2, most = k.c3;
  T *__restrict prev = state[0], *__restrict size = state[1];
  for (int64_t i = 0; i < n; ++i) {
    const T g = k.gradient(grad[i], p[i]), same = g * prev[i];
    T step = size[i] * (same > 0 ? grow : same < 0 ? shrink : T(1));
    step = step < least ? least : step > most ? most : step;
    const T used = same < 0 ? T(0) : g;
    size[i] = step;
    prev[i] = used;
    p[i] -= used > 0 ? step : used < 0 ? -step : used * step;  // the last: 0, and NaN stays NaN
  }
}

extern const RuleTable rule_table;
constinit const RuleTable rule_table = {
    {rmsprop<float>, adagrad<float>, adadelta<float>, adamax<float>, nadam<float>, radam<float>, rprop<float>},
    {rmsprop<double>, adagrad<double>, adadelta<double>, adamax<double>, nadam<double>, radam<double>, rprop<double>}};

}  // namespace mg::cpu::MG_ISA_NS
