// What each optimizer does to one element: the only place where these formulas stand in C++. The CPU's loops (csrc/cpu/optim_isa.cpp) and
// CUDA's kernel (csrc/cuda/kernels/optim.cu) run the same text; minigrad/optim/<name>.py holds the readable form, the oracle in the tests.
//
// update(p, gradient, s, has) changes the parameter p and its state s[0], s[1], s[2]; has(k) says whether column k of the state is there,
// which the CPU knows when it compiles. C is float or double. NaN in the gradient reaches the parameter.
#pragma once
#include <math.h>  // sqrt(float) and the like at global scope, as nvcc has them

#include "host_device.h"
#include "optim_steps.h"

namespace mg {

template <class C>
struct SgdUpdate {  // momentum_buffer?
  C lr, decay, sign, old, fresh, from_buffer, from_grad;
  bool first;
  MG_HD explicit SgdUpdate(const SgdStep& s)
      : lr(C(s.lr)), decay(C(s.weight_decay)), sign(s.maximize ? C(-1) : C(1)), old(s.first ? C(0) : C(s.momentum)),
        fresh(s.first ? C(1) : C(1 - s.dampening)), from_buffer(s.nesterov ? C(s.momentum) : C(1)), from_grad(s.nesterov ? C(1) : C(0)),
        first(s.first) {}
  template <class Has>
  MG_HD void operator()(C& p, C grad, C* s, Has has) const {
    const C g = sign * grad + decay * p;
    if (!has(0)) {
      p -= lr * g;
      return;
    }
    s[0] = old * (first ? C(0) : s[0]) + fresh * g;  // the first time the buffer is uninitialised memory
    p -= lr * (from_grad * g + from_buffer * s[0]);
  }
};

template <class C>
struct AdamUpdate {  // exp_avg, exp_avg_sq, max_exp_avg_sq?
  C b1, b2, c1, c2, eps, sign, coupled, shrink, step, inv_bias2;
  MG_HD explicit AdamUpdate(const AdamStep& s)
      : b1(C(s.beta1)), b2(C(s.beta2)), c1(C(1 - s.beta1)), c2(C(1 - s.beta2)), eps(C(s.eps)), sign(s.maximize ? C(-1) : C(1)),
        coupled(s.decoupled ? C(0) : C(s.weight_decay)), shrink(s.decoupled ? C(1 - s.lr * s.weight_decay) : C(1)), step(C(s.lr / s.bias1)),
        inv_bias2(C(1 / s.bias2_sqrt)) {}
  template <class Has>
  MG_HD void operator()(C& p, C grad, C* s, Has has) const {
    const C g = sign * grad + coupled * p;
    s[0] = b1 * s[0] + c1 * g;
    C top = s[1] = b2 * s[1] + c2 * g * g;
    if (has(2)) top = s[2] = top > s[2] ? top : s[2];
    p = p * shrink - step * s[0] / (sqrt(top) * inv_bias2 + eps);
  }
};

// The constants c[] of the rules are made in optim_rules.h and named here, in the same order.
template <class C>
struct RuleConstants {
  C sign, decay, shrink, c[6];
  MG_HD explicit RuleConstants(const RuleStep& s)
      : sign(C(s.sign)), decay(C(s.decay)), shrink(C(s.shrink)), c{C(s.c[0]), C(s.c[1]), C(s.c[2]), C(s.c[3]), C(s.c[4]), C(s.c[5])} {}
  MG_HD C gradient(C g, C p) const { return sign * g + decay * p; }
};
template <Rule rule, class C>
struct RuleUpdate;

template <class C>
struct RuleUpdate<Rule::Rmsprop, C> : RuleConstants<C> {  // square_avg, momentum_buffer?, grad_avg? (centered)
  using RuleConstants<C>::RuleConstants;
  template <class Has>
  MG_HD void operator()(C& p, C grad, C* s, Has has) const {
    const C lr = this->c[0], alpha = this->c[1], fresh = this->c[2], eps = this->c[3], keep = this->c[4];
    const C g = this->gradient(grad, p);
    C v = s[0] = alpha * s[0] + fresh * g * g;
    if (has(2)) {
      s[2] += fresh * (g - s[2]);
      v -= s[2] * s[2];
    }
    C direction = g / (sqrt(v) + eps);
    if (has(1)) s[1] = direction = keep * s[1] + direction;
    p -= lr * direction;
  }
};

template <class C>
struct RuleUpdate<Rule::Adagrad, C> : RuleConstants<C> {  // sum
  using RuleConstants<C>::RuleConstants;
  template <class Has>
  MG_HD void operator()(C& p, C grad, C* s, Has) const {
    const C rate = this->c[0], eps = this->c[1], g = this->gradient(grad, p);
    s[0] += g * g;
    p -= rate * (g / (sqrt(s[0]) + eps));
  }
};

template <class C>
struct RuleUpdate<Rule::Adadelta, C> : RuleConstants<C> {  // square_avg, acc_delta
  using RuleConstants<C>::RuleConstants;
  template <class Has>
  MG_HD void operator()(C& p, C grad, C* s, Has) const {
    const C lr = this->c[0], rho = this->c[1], fresh = this->c[2], eps = this->c[3], g = this->gradient(grad, p);
    s[0] = rho * s[0] + fresh * g * g;
    const C delta = sqrt(s[1] + eps) / sqrt(s[0] + eps) * g;
    s[1] = rho * s[1] + fresh * delta * delta;
    p -= lr * delta;
  }
};

template <class C>
struct RuleUpdate<Rule::Adamax, C> : RuleConstants<C> {  // exp_avg, exp_inf
  using RuleConstants<C>::RuleConstants;
  template <class Has>
  MG_HD void operator()(C& p, C grad, C* s, Has) const {
    const C rate = this->c[0], fresh = this->c[1], beta2 = this->c[2], eps = this->c[3], g = this->gradient(grad, p);
    const C now = C(fabs(g)) + eps, old = beta2 * s[1];
    s[0] += fresh * (g - s[0]);
    s[1] = old > now || old != old ? old : now;  // NaN stays NaN, as in PyTorch's maximum
    p -= rate * (s[0] / s[1]);
  }
};

template <class C>
struct RuleUpdate<Rule::NAdam, C> : RuleConstants<C> {  // exp_avg, exp_avg_sq
  using RuleConstants<C>::RuleConstants;
  template <class Has>
  MG_HD void operator()(C& p, C grad, C* s, Has) const {
    const C from_grad = this->c[0], from_mean = this->c[1], fresh1 = this->c[2], fresh2 = this->c[3], inv_bias2 = this->c[4], eps = this->c[5];
    const C g = this->gradient(grad, p);
    s[0] += fresh1 * (g - s[0]);
    s[1] = (1 - fresh2) * s[1] + fresh2 * g * g;
    p = p * this->shrink - (from_grad * g + from_mean * s[0]) / (sqrt(s[1] * inv_bias2) + eps);
  }
};

template <class C>
struct RuleUpdate<Rule::RAdam, C> : RuleConstants<C> {  // exp_avg, exp_avg_sq
  using RuleConstants<C>::RuleConstants;
  template <class Has>
  MG_HD void operator()(C& p, C grad, C* s, Has) const {
    const C rate = this->c[0], fresh1 = this->c[1], fresh2 = this->c[2], rectified = this->c[3], eps = this->c[4];  // rectified 0: not yet
    const C g = this->gradient(grad, p);
    s[0] += fresh1 * (g - s[0]);
    s[1] = (1 - fresh2) * s[1] + fresh2 * g * g;
    p = p * this->shrink - (rectified > 0 ? rate * s[0] * (rectified / (sqrt(s[1]) + eps)) : rate * s[0]);
  }
};

template <class C>
struct RuleUpdate<Rule::Rprop, C> : RuleConstants<C> {  // prev, step_size
  using RuleConstants<C>::RuleConstants;
  template <class Has>
  MG_HD void operator()(C& p, C grad, C* s, Has) const {
    const C shrink = this->c[0], grow = this->c[1], least = this->c[2], most = this->c[3], g = this->gradient(grad, p), same = g * s[0];
    C step = s[1] * (same > 0 ? grow : same < 0 ? shrink : C(1));
    step = step < least ? least : step > most ? most : step;
    const C used = same < 0 ? C(0) : g;
    s[1] = step;
    s[0] = used;
    p -= used > 0 ? step : used < 0 ? -step : used * step;  // the last: 0, and NaN stays NaN
  }
};

}  // namespace mg
