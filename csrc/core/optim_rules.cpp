// Constants of each update rule. See optim_rules.h.
#include "optim_rules.h"

#include <cmath>

namespace mg {

// In the order of Rule. Options after lr, weight_decay, maximize (the states are named in optim_update.h):
const RuleInfo rule_info[kRules] = {
    {"rmsprop", 7, 3},   // alpha, eps, momentum, centered
    {"adagrad", 5, 1},   // lr_decay, eps
    {"adadelta", 5, 2},  // rho, eps
    {"adamax", 6, 2},    // beta1, beta2, eps
    {"nadam", 8, 2},     // beta1, beta2, eps, decoupled, momentum_decay
    {"radam", 7, 2},     // beta1, beta2, eps, decoupled
    {"rprop", 7, 2},     // eta-, eta+, smallest, largest
};

static void decouple(const double* o, RuleStep& s) {
  if (o[6] == 0) return;
  s.shrink = 1 - o[0] * o[1];
  s.decay = 0;
}

static double nadam_mu(const double* o, double t) { return o[3] * (1 - 0.5 * std::pow(0.96, t * o[7])); }

unsigned prepare_rule(Rule rule, double t, const double* o, double* product, RuleStep& s) {
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
      s = {s.sign, s.decay, 1, {lr / (1 - std::pow(o[3], t)), 1 - o[3], o[4], o[5]}};
      return 3u;
    case Rule::NAdam: {
      const double mu = nadam_mu(o, t), next = nadam_mu(o, t + 1);
      *product *= mu;
      decouple(o, s);
      s = {s.sign, s.decay, s.shrink, {lr * (1 - mu) / (1 - *product), lr * next / (1 - *product * next), 1 - o[3], 1 - o[4], 1 / (1 - std::pow(o[4], t)), o[5]}};
      return 3u;
    }
    case Rule::RAdam: {
      const double power = std::pow(o[4], t), bias2 = 1 - power, rho_inf = 2 / (1 - o[4]) - 1, rho = rho_inf - 2 * t * power / bias2;
      const double rectified = rho > 5 ? std::sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho) * bias2) : 0;
      decouple(o, s);
      s = {s.sign, s.decay, s.shrink, {lr / (1 - std::pow(o[3], t)), 1 - o[3], 1 - o[4], rectified, o[5]}};
      return 3u;
    }
    case Rule::Rprop:
      s = {s.sign, 0, 1, {o[3], o[4], o[5], o[6]}};
      return 3u;
  }
  return 0;
}

}  // namespace mg
