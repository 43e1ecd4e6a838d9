// The update rules of the smaller optimizers, one pass over parameter, gradient and state each. csrc/python/bind_optim.cpp calls them by
// name; minigrad/optim/<name>.py holds the readable form, which is the oracle in the tests.
#pragma once
#include <cstdint>
#include <string_view>

#include "../core/optim_steps.h"

namespace mg::cpu {

constexpr int kRuleOptions = 8;

template <class T>
using RuleFn = void (*)(T* p, const T* grad, T* const* state, int64_t n, const RuleStep& s);
struct RuleTable {
  RuleFn<float> f32[kRules];
  RuleFn<double> f64[kRules];
};
const RuleTable& rule_table();

struct RuleInfo {
  std::string_view name;
  int n_options, n_columns;
};
extern const RuleInfo rule_info[kRules];

// Constants of step `t` (1 at the first) from a group's options: lr, weight_decay, maximize, then the rule's own (optim_rules.cpp).
// `product` is NAdam's running product of momenta, advanced here. Returns a bit per state column that the loop needs.
unsigned prepare_rule(Rule rule, double t, const double* options, double* product, RuleStep& s);

}  // namespace mg::cpu
