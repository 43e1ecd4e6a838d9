// Loops of the optimizer steps (core/optim_update.h), which the compiler vectorises for this file's instruction set.
#include "../core/optim_update.h"
#include "optim.h"

namespace mg::cpu::MG_ISA_NS {

// Which columns of the state there are, a bit each.
template <unsigned columns>
struct Columns {
  MG_HD constexpr bool operator()(int k) const { return columns >> k & 1; }
};

template <unsigned columns, class T, class Update>
static void each(T* __restrict p, const T* __restrict grad, T* __restrict s0, T* __restrict s1, T* __restrict s2, int64_t n, const Update update) {
  constexpr Columns<columns> has;
  for (int64_t i = 0; i < n; ++i) {
    T value = p[i], s[kRuleColumns] = {};
    if constexpr (has(0)) s[0] = s0[i];
    if constexpr (has(1)) s[1] = s1[i];
    if constexpr (has(2)) s[2] = s2[i];
    update(value, grad[i], s, has);
    p[i] = value;
    if constexpr (has(0)) s0[i] = s[0];
    if constexpr (has(1)) s1[i] = s[1];
    if constexpr (has(2)) s2[i] = s[2];
  }
}
template <unsigned columns, class T, class Update>
static void each(T* const* at, int64_t n, const Update& update) {
  each<columns>(at[0], at[1], at[2], at[3], at[4], n, update);
}

template <class T>
static void sgd(T* const* at, int64_t n, const SgdStep& s) {
  const SgdUpdate<T> update(s);
  if (at[2] != nullptr) each<1>(at, n, update);
  else each<0>(at, n, update);
}

template <class T>
static void adam(T* const* at, int64_t n, const AdamStep& s) {
  const AdamUpdate<T> update(s);
  if (at[4] != nullptr) each<7>(at, n, update);
  else each<3>(at, n, update);
}

template <Rule which, class T>
static void rule(T* const* at, int64_t n, const RuleStep& s) {
  const RuleUpdate<which, T> update(s);
  if constexpr (which == Rule::Adagrad) return each<1>(at, n, update);
  else if constexpr (which != Rule::Rmsprop) return each<3>(at, n, update);
  else if (at[3] != nullptr && at[4] != nullptr) each<7>(at, n, update);
  else if (at[4] != nullptr) each<5>(at, n, update);
  else if (at[3] != nullptr) each<3>(at, n, update);
  else each<1>(at, n, update);
}

template <class T>
static constexpr OptimLoops<T> loops() {
  return {sgd<T>, adam<T>,
          {rule<Rule::Rmsprop, T>, rule<Rule::Adagrad, T>, rule<Rule::Adadelta, T>, rule<Rule::Adamax, T>, rule<Rule::NAdam, T>,
           rule<Rule::RAdam, T>, rule<Rule::Rprop, T>}};
}

extern const OptimTable optim_table;
constinit const OptimTable optim_table = {loops<float>(), loops<double>()};

}  // namespace mg::cpu::MG_ISA_NS
