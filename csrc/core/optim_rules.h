// From an optimizer's options to the constants of one step (RuleStep), for the smaller optimizers. csrc/python/bind_optim.cpp calls the
// rules by name; their formulas are in optim_update.h.
#pragma once
#include <string_view>

#include "optim_steps.h"

namespace mg {

constexpr int kRuleOptions = 8;

struct RuleInfo {
  std::string_view name;
  int n_options, n_columns;
};
extern const RuleInfo rule_info[kRules];

// Constants of step `t` (1 at the first) from a group's options: lr, weight_decay, maximize, then the rule's own (optim_rules.cpp).
// `product` is NAdam's running product of momenta, advanced here. Returns a bit per state column that the step needs.
unsigned prepare_rule(Rule rule, double t, const double* options, double* product, RuleStep& s);

}  // namespace mg
