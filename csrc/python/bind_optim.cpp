// Fused optimizer steps: one call updates all parameters of a group. minigrad/optim holds the readable single-tensor definitions, which
// are also the oracle in the tests. Returns False, with nothing changed, when a tensor is not dense CPU float: Python then takes its path.
#include <cmath>

#include "../core/parallel.h"
#include "../cpu/optim.h"
#include "py.h"

namespace mg::python {

namespace {

constexpr int64_t kGrain = 16384;

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
  return true;
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
  for (Py_ssize_t k = 0; k < PySequence_Fast_GET_SIZE(params.ptr()); ++k) {
    cpu::SgdStep s{lr, momentum, dampening, weight_decay, nesterov, maximize, false};
    TensorImpl *p = P[k], *g = G[k];
    if (momentum != 0 && B[k] == nullptr) {
      MG_CHECK(PyList_Check(buffers.ptr()), Type, "sgd_step: momentum_buffers must be a list to receive new buffers");
      PyList_SetItem(buffers.ptr(), k, wrap(empty(p->sizes, p->dtype)));
      s.first = true;
    }
    TensorImpl* b = momentum != 0 ? B[k] : nullptr;
    parallel_for(0, p->numel, kGrain, [&](int64_t begin, int64_t end) {
      if (p->dtype == DType::Float32) table.sgd32(at<float>(p, begin), at<float>(g, begin), at<float>(b, begin), end - begin, s);
      else table.sgd64(at<double>(p, begin), at<double>(g, begin), at<double>(b, begin), end - begin, s);
    });
    written(p);
    written(b);
  }
  return true;
}

// `steps`: list of 0-d float32 tensors (PyTorch's state["step"]), advanced here.
bool adam_step(py::object params, py::object grads, py::object exp_avgs, py::object exp_avg_sqs, py::object max_exp_avg_sqs,
               py::object steps, double lr, double beta1, double beta2, double eps, double weight_decay, bool amsgrad,
               bool decoupled, bool maximize) {
  const bool with_max = amsgrad && PySequence_Check(max_exp_avg_sqs.ptr());
  if (!suitable(params.ptr(), {{grads.ptr(), false}, {exp_avgs.ptr(), false}, {exp_avg_sqs.ptr(), false}})) return false;
  const Py_ssize_t n = PySequence_Fast_GET_SIZE(params.ptr());
  if (amsgrad && !(with_max && is_list(max_exp_avg_sqs.ptr(), n))) return false;
  if (!is_list(steps.ptr(), n)) return false;
  Column P{params.ptr()}, G{grads.ptr()}, M{exp_avgs.ptr()}, V{exp_avg_sqs.ptr()}, X{max_exp_avg_sqs.ptr()}, S{steps.ptr()};
  for (Py_ssize_t k = 0; k < n; ++k) {
    PyObject* step = PySequence_Fast_GET_ITEM(steps.ptr(), k);
    if (!is_tensor(step) || impl_of(step)->dtype != DType::Float32 || impl_of(step)->numel != 1) return false;
    if (amsgrad && !fits(max_exp_avg_sqs.ptr(), P[k], k, false)) return false;
  }
  const cpu::OptimTable& table = cpu::optim_table();
  for (Py_ssize_t k = 0; k < n; ++k) {
    const double t = double(*S[k]->ptr<float>() += 1.0f);
    written(S[k]);
    cpu::AdamStep s{lr, beta1, beta2, eps, weight_decay, amsgrad, decoupled, maximize, 1 - std::pow(beta1, t), std::sqrt(1 - std::pow(beta2, t))};
    TensorImpl *p = P[k], *g = G[k], *m = M[k], *v = V[k], *x = amsgrad ? X[k] : nullptr;
    parallel_for(0, p->numel, kGrain, [&](int64_t b, int64_t e) {
      if (p->dtype == DType::Float32)
        table.adam32(at<float>(p, b), at<float>(g, b), at<float>(m, b), at<float>(v, b), at<float>(x, b), e - b, s);
      else
        table.adam64(at<double>(p, b), at<double>(g, b), at<double>(m, b), at<double>(v, b), at<double>(x, b), e - b, s);
    });
    written(p);
    written(m);
    written(v);
    written(x);
  }
  return true;
}

}  // namespace

void bind_optim(py::module_& m) {
  m.def("sgd_step", &sgd_step);
  m.def("adam_step", &adam_step);
}

}  // namespace mg::python
