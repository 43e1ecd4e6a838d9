// Fused optimizer steps: one call updates all parameters of a group. minigrad/optim holds the readable single-tensor definitions, which
// are also the oracle in the tests. Returns False, with nothing changed, when a tensor is not dense CPU float: Python then takes its path.
#include <array>
#include <cmath>

#include "../cpu/many.h"
#include "../cpu/optim.h"
#include "../cpu/optim_rules.h"
#include "py.h"

namespace mg::python {

namespace {

struct Column {  // one list of tensors, checked against the parameters
  PyObject* list;
  TensorImpl* operator[](Py_ssize_t k) const {
    PyObject* o = PySequence_Fast_GET_ITEM(list, k);
    return o == Py_None ? nullptr : impl_of(o);
  }
};

bool is_list(PyObject* o, Py_ssize_t n) { return (PyList_Check(o) || PyTuple_Check(o)) && PySequence_Fast_GET_SIZE(o) == n; }

bool fits(PyObject* list, const TensorImpl* p, Py_ssize_t k, bool may_be_none) {
  PyObject* o = PySequence_Fast_GET_ITEM(list, k);
  if (o == Py_None) return may_be_none;
  if (!is_tensor(o)) return false;
  const TensorImpl& t = *impl_of(o);
  return t.contiguous && !t.dataless && t.device.type == DeviceType::CPU && t.dtype == p->dtype && t.sizes == p->sizes;
}

bool suitable(PyObject* params, std::initializer_list<std::pair<PyObject*, bool>> others) {
  if (!PyList_Check(params) && !PyTuple_Check(params)) return false;
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(params);
  for (auto& [list, optional] : others)
    if (!is_list(list, n)) return false;
  for (Py_ssize_t k = 0; k < n; ++k) {
    PyObject* o = PySequence_Fast_GET_ITEM(params, k);
    if (!is_tensor(o)) return false;
    const TensorImpl* p = impl_of(o);
    if (!fits(params, p, k, false) || (p->dtype != DType::Float32 && p->dtype != DType::Float64)) return false;
    for (auto& [list, optional] : others)
      if (!fits(list, p, k, optional)) return false;
  }
  cpu::ManyTensors all;
  for (Py_ssize_t k = 0; k < n; ++k) all.add(impl_of(PySequence_Fast_GET_ITEM(params, k)));
  return all.disjoint();  // a parameter listed twice is stepped twice, one after the other
}

void written(TensorImpl* t) {
  if (t != nullptr && !t->untracked_version) ++t->storage->version;
}

template <class T> T* at(TensorImpl* t, int64_t offset) { return t ? t->ptr<T>() + offset : nullptr; }

bool sgd_step(py::object params, py::object grads, py::object buffers, double lr, double momentum, double dampening,
              double weight_decay, bool nesterov, bool maximize) {
  if (!suitable(params.ptr(), {{grads.ptr(), false}, {buffers.ptr(), true}})) return false;
  const cpu::OptimTable& table = cpu::optim_table();
  Column P{params.ptr()}, G{grads.ptr()}, B{buffers.ptr()};
  cpu::ManyTensors all;
  std::vector<TensorImpl*> rows;
  std::vector<cpu::SgdStep> steps;
  for (Py_ssize_t k = 0; k < PySequence_Fast_GET_SIZE(params.ptr()); ++k) {
    cpu::SgdStep s{lr, momentum, dampening, weight_decay, nesterov, maximize, false};
    TensorImpl *p = P[k], *g = G[k];
    if (momentum != 0 && B[k] == nullptr) {
      MG_CHECK(PyList_Check(buffers.ptr()), Type, "sgd_step: momentum_buffers must be a list to receive new buffers");
      PyList_SetItem(buffers.ptr(), k, wrap(empty(p->sizes, p->dtype)));
      s.first = true;
    }
    TensorImpl* b = momentum != 0 ? B[k] : nullptr;
    all.add(p);
    rows.insert(rows.end(), {g, b});
    steps.push_back(s);
    written(p);
    written(b);
  }
  all.each([&](size_t k, int64_t begin, int64_t end, int64_t) {
    TensorImpl *p = all.tensors[k], *g = rows[2 * k], *b = rows[2 * k + 1];
    if (p->dtype == DType::Float32) table.sgd32(at<float>(p, begin), at<float>(g, begin), at<float>(b, begin), end - begin, steps[k]);
    else table.sgd64(at<double>(p, begin), at<double>(g, begin), at<double>(b, begin), end - begin, steps[k]);
  });
  return true;
}

bool is_counter(PyObject* o) {  // PyTorch's state["step"]: one number, float32 or float64 by the default dtype
  if (!is_tensor(o)) return false;
  const TensorImpl& t = *impl_of(o);
  return t.numel == 1 && !t.dataless && t.device.type == DeviceType::CPU && (t.dtype == DType::Float32 || t.dtype == DType::Float64);
}
bool are_counters(PyObject* list, Py_ssize_t n) {
  if (!is_list(list, n)) return false;
  for (Py_ssize_t k = 0; k < n; ++k)
    if (!is_counter(PySequence_Fast_GET_ITEM(list, k))) return false;
  return true;
}
double number(TensorImpl* t) { return t->dtype == DType::Float32 ? double(*t->ptr<float>()) : *t->ptr<double>(); }
void set_number(TensorImpl* t, double value) {
  if (t->dtype == DType::Float32) *t->ptr<float>() = float(value);
  else *t->ptr<double>() = value;
  written(t);
}
double advance(TensorImpl* step) {
  const double t = number(step) + 1;
  set_number(step, t);
  return t;
}

// `steps`: list of one-element tensors, advanced here.
bool adam_step(py::object params, py::object grads, py::object exp_avgs, py::object exp_avg_sqs, py::object max_exp_avg_sqs,
               py::object steps, double lr, double beta1, double beta2, double eps, double weight_decay, bool amsgrad,
               bool decoupled, bool maximize) {
  const bool with_max = amsgrad && PySequence_Check(max_exp_avg_sqs.ptr());
  if (!suitable(params.ptr(), {{grads.ptr(), false}, {exp_avgs.ptr(), false}, {exp_avg_sqs.ptr(), false}})) return false;
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(params.ptr());
  if (amsgrad && !(with_max && is_list(max_exp_avg_sqs.ptr(), n))) return false;
  if (!are_counters(steps.ptr(), n)) return false;
  Column P{params.ptr()}, G{grads.ptr()}, M{exp_avgs.ptr()}, V{exp_avg_sqs.ptr()}, X{max_exp_avg_sqs.ptr()}, S{steps.ptr()};
  for (Py_ssize_t k = 0; amsgrad && k < n; ++k)
    if (!fits(max_exp_avg_sqs.ptr(), P[k], k, false)) return false;
  const cpu::OptimTable& table = cpu::optim_table();
  cpu::ManyTensors all;
  std::vector<std::array<TensorImpl*, 4>> rows;
  std::vector<cpu::AdamStep> constants;
  double last = -1;
  for (Py_ssize_t k = 0; k < n; ++k) {
    const double t = advance(S[k]);
    if (t != last) constants.push_back({lr, beta1, beta2, eps, weight_decay, amsgrad, decoupled, maximize, 1 - std::pow(beta1, t), std::sqrt(1 - std::pow(beta2, t))});
    else constants.push_back(constants.back());
    last = t;
    all.add(P[k]);
    rows.push_back({G[k], M[k], V[k], amsgrad ? X[k] : nullptr});
    written(P[k]);
    for (int c = 1; c < 4; ++c) written(rows.back()[size_t(c)]);
  }
  all.each([&](size_t k, int64_t b, int64_t e, int64_t) {
    TensorImpl* p = all.tensors[k];
    const auto [g, m, v, x] = rows[k];
    if (p->dtype == DType::Float32)
      table.adam32(at<float>(p, b), at<float>(g, b), at<float>(m, b), at<float>(v, b), at<float>(x, b), e - b, constants[k]);
    else
      table.adam64(at<double>(p, b), at<double>(g, b), at<double>(m, b), at<double>(v, b), at<double>(x, b), e - b, constants[k]);
  });
  return true;
}

// One of optim_rules.h for all parameters of a group. `columns`: lists of state tensors, None where an optional one is absent.
// `products`: NAdam's running products, else empty.
bool rule_step(std::string_view name, py::object params, py::object grads, py::list columns, py::object steps,
               py::list option_list, py::object products) {
  int r = 0;
  while (r < cpu::kRules && cpu::rule_info[r].name != name) ++r;
  MG_CHECK(r < cpu::kRules, Value, "rule_step: no rule named ", name);
  const cpu::RuleInfo& info = cpu::rule_info[r];
  std::vector<double> options;
  for (py::handle o : option_list) options.push_back(o.cast<double>());
  MG_CHECK(int(options.size()) == info.n_options && int(columns.size()) == info.n_columns, Value, "rule_step: ", name, " takes ",
           info.n_options, " options and ", info.n_columns, " columns: got ", options.size(), " and ", columns.size());
  if (!suitable(params.ptr(), {{grads.ptr(), false}})) return false;
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(params.ptr());
  const bool with_products = cpu::Rule(r) == cpu::Rule::NAdam;
  if (!are_counters(steps.ptr(), n) || (with_products && !are_counters(products.ptr(), n))) return false;
  Column P{params.ptr()}, G{grads.ptr()}, S{steps.ptr()}, products_at{products.ptr()};
  cpu::RuleStep s;
  double product = 1;
  const unsigned needed = cpu::prepare_rule(cpu::Rule(r), 1, options.data(), &product, s);
  for (int c = 0; c < info.n_columns; ++c) {
    if (!(needed >> c & 1)) continue;
    if (!is_list(columns[size_t(c)].ptr(), n)) return false;
    for (Py_ssize_t k = 0; k < n; ++k)
      if (!fits(columns[size_t(c)].ptr(), P[k], k, false)) return false;
  }
  const cpu::RuleTable& table = cpu::rule_table();
  cpu::ManyTensors all;
  std::vector<std::array<TensorImpl*, cpu::kRuleColumns>> states;
  std::vector<cpu::RuleStep> constants;
  for (Py_ssize_t k = 0; k < n; ++k) {
    product = with_products ? number(products_at[k]) : 1;
    cpu::prepare_rule(cpu::Rule(r), advance(S[k]), options.data(), &product, s);
    if (with_products) set_number(products_at[k], product);
    all.add(P[k]);
    constants.push_back(s);
    states.emplace_back();
    for (int c = 0; c < info.n_columns; ++c)
      if (needed >> c & 1) states.back()[size_t(c)] = Column{columns[size_t(c)].ptr()}[k];
    written(P[k]);
    for (TensorImpl* t : states.back()) written(t);
  }
  all.each([&](size_t k, int64_t b, int64_t e, int64_t) {
    TensorImpl *p = all.tensors[k], *g = G[Py_ssize_t(k)];
    const auto& state = states[k];
    if (p->dtype == DType::Float32) {
      float* const at_b[] = {at<float>(state[0], b), at<float>(state[1], b), at<float>(state[2], b)};
      table.f32[r](at<float>(p, b), at<float>(g, b), at_b, e - b, constants[k]);
    } else {
      double* const at_b[] = {at<double>(state[0], b), at<double>(state[1], b), at<double>(state[2], b)};
      table.f64[r](at<double>(p, b), at<double>(g, b), at_b, e - b, constants[k]);
    }
  });
  return true;
}

}  // namespace

void bind_optim(py::module_& m) {
  m.def("sgd_step", &sgd_step);
  m.def("adam_step", &adam_step);
  m.def("rule_step", &rule_step);
}

}  // namespace mg::python
