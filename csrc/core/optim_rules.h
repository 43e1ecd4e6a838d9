// From an optimizer's options to the constants of one step (RuleStep), for the smaller optimizers. csrc/python/bind_optim.cpp calls the
// rules by name; their formulas are in optim_update.h. On both sides: a step whose counter is on the device (many_tensors.h) is prepared there.
#pragma once
#include <math.h>

#include <string_view>

#include "host_device.h"
#include "optim_steps.h"

namespace mg {

constexpr int kRuleOptions = 8;

struct RuleInfo {
  std::string_view name;
  int n_options, n_columns;
};
extern const RuleInfo rule_info[kRules];

namespace optim_detail {
MG_HD void decouple(const double* o, RuleStep& s) {
  if (o[6] == 0) return;
  s.shrink = 1 - o[0] * o[1];
  s.decay = 0;
}

MG_HD double nadam_mu(const double* o, double t) { return o[3] * (1 - 0.5 * pow(0.96, t * o[7])); }
}  // namespace optim_detail

// Constants of step `t` (1 at the first) from a group's options: lr, weight_decay, maximize, then the rule's own (optim_rules.cpp names them).
// `product` is NAdam's running product of momenta, advanced here. Returns a bit per state column that the step needs.
MG_HD unsigned prepare_rule(Rule rule, double t, const double* o, double* product, RuleStep& s) {
  const double lr = o[0];
  s = {o[2] != 0 ? -1.0 : 1.0, o[1], 1, {}};
  switch (rule) {
    case Rule::Rmsprop:
      s = {s.sign, s.decay, 1, {lr, o[3], 1 - o[3], o[4], o[5], o[6]}};
      return 1u | (o[5] > 0 ? 2u : 0) | (o[6] != 0 ? 4u : 0);
    case Rule::Adagrad:
      s = {s.sign, s.decay, 1, {lr / (1 + (t - 1) * o[3]), o[4]}};
      return 1u;
    case Rule::Adadelta:
      s = {s.sign, s.decay, 1, {lr, o[3], 1 - o[3], o[4]}};
      return 3u;
    case Rule::Adamax:
      s = {s.sign, s.decay, 1, {lr / (1 - pow(o[3], t)), 1 - o[3], o[4], o[5]}};
      return 3u;
    case Rule::NAdam: {
      const double mu = optim_detail::nadam_mu(o, t), next = optim_detail::nadam_mu(o, t + 1);
      *product *= mu;
      optim_detail::decouple(o, s);
      s = {s.sign, s.decay, s.shrink, {lr * (1 - mu) / (1 - *product), lr * next / (1 - *product * next), 1 - o[3], 1 - o[4], 1 / (1 - pow(o[4], t)), o[5]}};
      return 3u;
    }
    case Rule::RAdam: {
      const double power = pow(o[4], t), bias2 = 1 - power, rho_inf = 2 / (1 - o[4]) - 1, rho = rho_inf - 2 * t * power / bias2;
      const double rectified = rho > 5 ? sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho) * bias2) : 0;
      optim_detail::decouple(o, s);
      s = {s.sign, s.decay, s.shrink, {lr / (1 - pow(o[3], t)), 1 - o[3], 1 - o[4], rectified, o[5]}};
      return 3u;
    }
    case Rule::Rprop:
      s = {s.sign, 0, 1, {o[3], o[4], o[5], o[6]}};
      return 3u;
  }
  return 0;
}

MG_HD void prepare_adam(AdamStep& s, double t) {
  s.bias1 = 1 - pow(s.beta1, t);
  s.bias2_sqrt = sqrt(1 - pow(s.beta2, t));
}

}  // namespace mg
