// Constants of one optimizer step, as the updates of optim_update.h read them. Plain numbers only: files compiled for one instruction set
// include this.
#pragma once

namespace mg {

struct SgdStep {
  double lr, momentum, dampening, weight_decay;
  bool nesterov, maximize, first;  // first: the momentum buffer is empty and takes the gradient as it is
  bool operator==(const SgdStep&) const = default;
};
struct AdamStep {
  double lr, beta1, beta2, eps, weight_decay;
  bool amsgrad, decoupled, maximize;  // decoupled: AdamW
  double bias1, bias2_sqrt;           // 1 - beta1^t and sqrt(1 - beta2^t)
  bool operator==(const AdamStep&) const = default;
};

enum class Rule { Rmsprop, Adagrad, Adadelta, Adamax, NAdam, RAdam, Rprop };
constexpr int kRules = 7, kRuleColumns = 3;
// What the inner loop reads. `sign` and `decay` make the gradient sign * grad + decay * p; `shrink` multiplies the parameter first. The
// constants c[] are named in optim_update.h.
struct RuleStep {
  double sign, decay, shrink, c[6];
  bool operator==(const RuleStep&) const = default;
};

}  // namespace mg
