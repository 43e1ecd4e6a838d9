// Fused optimizer steps: one call updates all parameters of a group, on any device that has them (core/many_tensors.h). minigrad/optim
// holds the readable single-tensor definitions, which are also the oracle in the tests. Returns False, with nothing changed, when the
// tensors are not dense floating ones of one device: Python then takes its path.
#include <cmath>

#include "../autograd/handler.h"
#include "../core/many_tensors.h"
#include "../core/optim_rules.h"
#include "../cpu/many.h"
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
  return t.contiguous && !t.dataless && t.device == p->device && t.dtype == p->dtype && t.sizes == p->sizes;
}

bool stepped_there(const TensorImpl& p, Device device) {
  const ManyTensorKernels* kernels = many_tensor_kernels(device.type);
  if (kernels == nullptr || !(p.device == device)) return false;
  return p.dtype == DType::Float32 || p.dtype == DType::Float64 || (kernels->half_types && is_floating(p.dtype));
}

bool suitable(PyObject* params, std::initializer_list<std::pair<PyObject*, bool>> others) {
  settle_pending("the step of an optimizer");  // it writes to what deferred calls may have to read
  if (!PyList_Check(params) && !PyTuple_Check(params)) return false;
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(params);
  for (auto& [list, optional] : others)
    if (!is_list(list, n)) return false;
  for (Py_ssize_t k = 0; k < n; ++k) {
    PyObject* o = PySequence_Fast_GET_ITEM(params, k);
    if (!is_tensor(o)) return false;
    const TensorImpl* p = impl_of(o);
    if (!fits(params, p, k, false) || !stepped_there(*p, impl_of(PySequence_Fast_GET_ITEM(params, 0))->device)) return false;
    for (auto& [list, optional] : others)
      if (!fits(list, p, k, optional)) return false;
  }
  cpu::ManyTensors all;
  for (Py_ssize_t k = 0; k < n; ++k) all.add(impl_of(PySequence_Fast_GET_ITEM(params, k)));
  return all.disjoint();  // a parameter listed twice is stepped twice, one after the other
}

void written(TensorImpl* t) {
  if (t != nullptr) note_write(*t);
}

const ManyTensorKernels& kernels_of(const Column& params) { return *many_tensor_kernels(params[0]->device.type); }

bool sgd_step(py::object params, py::object grads, py::object buffers, double lr, double momentum, double dampening,
              double weight_decay, bool nesterov, bool maximize) {
  if (!suitable(params.ptr(), {{grads.ptr(), false}, {buffers.ptr(), true}})) return false;
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(params.ptr());
  if (n == 0) return true;
  Column P{params.ptr()}, G{grads.ptr()}, B{buffers.ptr()};
  std::vector<StepRow> rows;
  std::vector<SgdStep> steps;
  for (Py_ssize_t k = 0; k < n; ++k) {
    SgdStep s{lr, momentum, dampening, weight_decay, nesterov, maximize, false};
    TensorImpl *p = P[k], *g = G[k];
    if (momentum != 0 && B[k] == nullptr) {
      MG_CHECK(PyList_Check(buffers.ptr()), Type, "sgd_step: momentum_buffers must be a list to receive new buffers");
      PyList_SetItem(buffers.ptr(), k, wrap(empty(p->sizes, p->dtype, p->device)));
      s.first = true;
    }
    TensorImpl* b = momentum != 0 ? B[k] : nullptr;
    rows.push_back({p, g, b});
    steps.push_back(s);
    written(p);
    written(b);
  }
  kernels_of(P).sgd(rows, steps);
  return true;
}

bool is_counter(PyObject* o) {  // PyTorch's state["step"]: one number, float32 or float64 by the default dtype
  if (!is_tensor(o)) return false;
  const TensorImpl& t = *impl_of(o);
  return t.numel == 1 && !t.dataless && t.device.type == DeviceType::CPU && (t.dtype == DType::Float32 || t.dtype == DType::Float64);
}
// Such tensors on the device of the parameters, all of one dtype: a step that a graph may hold.
bool are_device_counters(PyObject* list, Py_ssize_t n, const TensorImpl& p) {
  if (n == 0 || !is_list(list, n) || p.device.type == DeviceType::CPU || many_tensor_kernels(p.device.type)->counted_adam == nullptr) return false;
  for (Py_ssize_t k = 0; k < n; ++k) {
    PyObject* o = PySequence_Fast_GET_ITEM(list, k);
    if (!is_tensor(o)) return false;
    const TensorImpl &t = *impl_of(o), &first = *impl_of(PySequence_Fast_GET_ITEM(list, 0));
    if (t.numel != 1 || t.dataless || !(t.device == p.device) || t.dtype != first.dtype) return false;
    if (t.dtype != DType::Float32 && t.dtype != DType::Float64) return false;
  }
  return true;
}
std::vector<TensorImpl*> all_of(const Column& column, Py_ssize_t n) {
  std::vector<TensorImpl*> all;
  for (Py_ssize_t k = 0; k < n; ++k) all.push_back(column[k]);
  return all;
}
// A learning rate that is a tensor on the parameters' device, else null.
const TensorImpl* device_rate(const py::object& lr, const TensorImpl& p) {
  return is_tensor(lr.ptr()) && impl_of(lr.ptr())->device == p.device ? impl_of(lr.ptr()) : nullptr;
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

// `steps`: list of one-element tensors, advanced here; on the parameters' device (capturable), `device_lr` may be a tensor there too.
bool adam_step(py::object params, py::object grads, py::object exp_avgs, py::object exp_avg_sqs, py::object max_exp_avg_sqs,
               py::object steps, double lr, double beta1, double beta2, double eps, double weight_decay, bool amsgrad,
               bool decoupled, bool maximize, py::object device_lr) {
  const bool with_max = amsgrad && PySequence_Check(max_exp_avg_sqs.ptr());
  if (!suitable(params.ptr(), {{grads.ptr(), false}, {exp_avgs.ptr(), false}, {exp_avg_sqs.ptr(), false}})) return false;
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(params.ptr());
  if (amsgrad && !(with_max && is_list(max_exp_avg_sqs.ptr(), n))) return false;
  const bool counted = n > 0 && are_device_counters(steps.ptr(), n, *Column{params.ptr()}[0]);
  if (!counted && !are_counters(steps.ptr(), n)) return false;
  Column P{params.ptr()}, G{grads.ptr()}, M{exp_avgs.ptr()}, V{exp_avg_sqs.ptr()}, X{max_exp_avg_sqs.ptr()}, S{steps.ptr()};
  for (Py_ssize_t k = 0; amsgrad && k < n; ++k)
    if (!fits(max_exp_avg_sqs.ptr(), P[k], k, false)) return false;
  if (n == 0) return true;
  std::vector<StepRow> rows;
  std::vector<AdamStep> constants;
  double last = -1;
  for (Py_ssize_t k = 0; k < n; ++k) {
    rows.push_back({P[k], G[k], M[k], V[k], amsgrad ? X[k] : nullptr});
    for (size_t c : {0, 2, 3, 4}) written(rows.back()[c]);
    if (counted) {
      written(S[k]);
      continue;
    }
    const double t = advance(S[k]);
    if (t != last) constants.push_back({lr, beta1, beta2, eps, weight_decay, amsgrad, decoupled, maximize, 1 - std::pow(beta1, t), std::sqrt(1 - std::pow(beta2, t))});
    else constants.push_back(constants.back());
    last = t;
  }
  if (!counted) {
    kernels_of(P).adam(rows, constants);
    return true;
  }
  const std::vector<TensorImpl*> counters = all_of(S, n);
  kernels_of(P).counted_adam(rows, {lr, beta1, beta2, eps, weight_decay, amsgrad, decoupled, maximize, 0, 0},
                             {counters, {}, device_rate(device_lr, *P[0])});
  return true;
}

// One of optim_rules.h for all parameters of a group. `columns`: lists of state tensors, None where an optional one is absent.
// `products`: NAdam's running products, else empty.
bool rule_step(std::string_view name, py::object params, py::object grads, py::list columns, py::object steps,
               py::list option_list, py::object products, py::object device_lr) {
  int r = 0;
  while (r < kRules && rule_info[r].name != name) ++r;
  MG_CHECK(r < kRules, Value, "rule_step: no rule named ", name);
  const RuleInfo& info = rule_info[r];
  std::vector<double> options;
  for (py::handle o : option_list) options.push_back(o.cast<double>());
  MG_CHECK(int(options.size()) == info.n_options && int(columns.size()) == info.n_columns, Value, "rule_step: ", name, " takes ",
           info.n_options, " options and ", info.n_columns, " columns: got ", options.size(), " and ", columns.size());
  if (!suitable(params.ptr(), {{grads.ptr(), false}})) return false;
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(params.ptr());
  const bool with_products = Rule(r) == Rule::NAdam;
  auto counters_are = [&](auto&& fit) { return fit(steps.ptr()) && (!with_products || fit(products.ptr())); };
  const bool counted = counters_are([&](PyObject* list) { return n > 0 && are_device_counters(list, n, *Column{params.ptr()}[0]); });
  if (!counted && !counters_are([&](PyObject* list) { return are_counters(list, n); })) return false;
  Column P{params.ptr()}, G{grads.ptr()}, S{steps.ptr()}, products_at{products.ptr()};
  RuleStep s;
  double product = 1;
  const unsigned needed = prepare_rule(Rule(r), 1, options.data(), &product, s);
  for (int c = 0; c < info.n_columns; ++c) {
    if (!(needed >> c & 1)) continue;
    if (!is_list(columns[size_t(c)].ptr(), n)) return false;
    for (Py_ssize_t k = 0; k < n; ++k)
      if (!fits(columns[size_t(c)].ptr(), P[k], k, false)) return false;
  }
  if (n == 0) return true;
  std::vector<StepRow> rows;
  std::vector<RuleStep> constants;
  for (Py_ssize_t k = 0; k < n; ++k) {
    if (counted) {
      written(S[k]);
      if (with_products) written(products_at[k]);
    } else {
      product = with_products ? number(products_at[k]) : 1;
      prepare_rule(Rule(r), advance(S[k]), options.data(), &product, s);
      if (with_products) set_number(products_at[k], product);
      constants.push_back(s);
    }
    rows.push_back({P[k], G[k]});
    for (int c = 0; c < info.n_columns; ++c)
      if (needed >> c & 1) rows.back()[size_t(c) + 2] = Column{columns[size_t(c)].ptr()}[k];
    for (size_t c : {0, 2, 3, 4}) written(rows.back()[c]);
  }
  if (!counted) {
    kernels_of(P).rule(Rule(r), rows, constants);
    return true;
  }
  const std::vector<TensorImpl*> counters = all_of(S, n), running = with_products ? all_of(products_at, n) : std::vector<TensorImpl*>();
  kernels_of(P).counted_rule(Rule(r), rows, options, {counters, running, device_rate(device_lr, *P[0])});
  return true;
}

}  // namespace

void bind_optim(py::module_& m) {
  m.def("sgd_step", &sgd_step);
  m.def("adam_step", &adam_step);
  m.def("rule_step", &rule_step);
}

}  // namespace mg::python
