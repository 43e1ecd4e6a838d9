// Constants of each update rule. See optim_rules.h.
#include "optim_rules.h"

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

}  // namespace mg
