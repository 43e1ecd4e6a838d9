// NativeStep: an optimizer's step as a plan takes it. Parameters, state and options are found once; a run looks whether they are still the
// same objects (a dict that nobody wrote to is recognised by its version), reads the gradients from the parameters, advances the counters
// and makes one call of the kernel over many tensors. Whatever else it meets goes to the optimizer's own step(). Options that were written to
// (a scheduler's learning rate) are read anew. minigrad/compiler/_steps.py says which optimizers take part.
#include <cmath>

#include "../autograd/node.h"
#include "../core/many_tensors.h"
#include "../cpu/many.h"
#include "py.h"

namespace mg::python {

namespace {

// CPython counts the writes to each dict until 3.11; 0: unknown, and the step is the optimizer's own.
uint64_t version_of(const py::object& dict) {
#if PY_VERSION_HEX < 0x030C0000 && !defined(PYPY_VERSION)
  return reinterpret_cast<PyDictObject*>(dict.ptr())->ma_version_tag;
#else
  static_cast<void>(dict);
  return 0;
#endif
}

PyObject* entry(const py::object& dict, const char* key) { return PyDict_GetItemString(dict.ptr(), key); }

bool read_number(PyObject* o, double& out) {
  if (o == nullptr || !(PyFloat_CheckExact(o) || PyLong_CheckExact(o) || PyBool_Check(o))) return false;
  out = PyFloat_AsDouble(o);
  if (out == -1 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    return false;
  }
  return true;
}
bool is_false(PyObject* o) { return o == nullptr || o == Py_False || o == Py_None; }

bool is_dense(const TensorImpl& t, const TensorImpl& like) {
  return t.contiguous && !t.dataless && t.device == like.device && t.dtype == like.dtype && t.sizes == like.sizes;
}
bool is_counter(const TensorImpl& t) {
  return t.numel == 1 && !t.dataless && t.device.type == DeviceType::CPU && (t.dtype == DType::Float32 || t.dtype == DType::Float64);
}
double advance(TensorImpl& step) {
  const double t = (step.dtype == DType::Float32 ? double(*step.ptr<float>()) : *step.ptr<double>()) + 1;
  if (step.dtype == DType::Float32) *step.ptr<float>() = float(t);
  else *step.ptr<double>() = t;
  note_write(step);
  return t;
}
void written(TensorImpl* t) {
  if (t != nullptr) note_write(*t);
}

struct Group {
  py::object dict, params;
  uint64_t version = 0;
  bool adam = false;
  SgdStep sgd{};
  AdamStep step{};
  struct Member {
    Tensor param, first, second, counter;
    py::object own;  // its state
    uint64_t version;
    const void* data;
  };
  std::vector<Member> members;

  bool read_options() {
    version = version_of(dict);
    double lr, decay, maximize;
    PyObject* foreach = entry(dict, "foreach");
    if (entry(dict, "params") != params.ptr() || (foreach == Py_False && is_false(entry(dict, "fused")))) return false;
    if (!is_false(entry(dict, "differentiable")) || !is_false(entry(dict, "capturable")) || !is_false(entry(dict, "amsgrad"))) return false;
    if (!read_number(entry(dict, "lr"), lr) || !read_number(entry(dict, "weight_decay"), decay) || !read_number(entry(dict, "maximize"), maximize)) return false;
    return adam ? read_adam(lr, decay, maximize != 0) : read_sgd(lr, decay, maximize != 0);
  }

  bool read_adam(double lr, double decay, bool maximize) {
    double beta1, beta2, eps, decoupled;
    PyObject* betas = entry(dict, "betas");
    if (betas == nullptr || !PyTuple_Check(betas) || PyTuple_GET_SIZE(betas) != 2) return false;
    if (!read_number(PyTuple_GET_ITEM(betas, 0), beta1) || !read_number(PyTuple_GET_ITEM(betas, 1), beta2)) return false;
    if (!read_number(entry(dict, "eps"), eps) || !read_number(entry(dict, "decoupled_weight_decay"), decoupled)) return false;
    step = {lr, beta1, beta2, eps, decay, false, decoupled != 0, maximize, 0, 0};
    return true;
  }

  bool read_sgd(double lr, double decay, bool maximize) {
    double momentum, dampening, nesterov;
    if (!read_number(entry(dict, "momentum"), momentum) || !read_number(entry(dict, "dampening"), dampening) || !read_number(entry(dict, "nesterov"), nesterov)) return false;
    for (const Member& m : members)
      if ((momentum != 0) != m.first.defined()) return false;
    sgd = {lr, momentum, dampening, decay, nesterov != 0, maximize, false};
    return true;
  }

  bool stands() {
    if (PyList_GET_SIZE(params.ptr()) != Py_ssize_t(members.size())) return false;
    for (const Member& m : members)
      if ((m.own && version_of(m.own) != m.version) || m.param->data() != m.data) return false;
    return version == version_of(dict) || read_options();
  }
};

class NativeStep {
 public:
  NativeStep(py::object optimizer, py::object describe) : attributes_(optimizer.attr("__dict__")), optimizer_(std::move(optimizer)), describe_(std::move(describe)) {}

  void operator()() {
    if ((stands() || find()) && run()) return;
    optimizer_.attr("step")();
  }

 private:
  bool stands() {
    if (!found_ || entry(attributes_, "step") != own_step_.ptr() || entry(attributes_, "state") != state_.ptr() || entry(attributes_, "param_groups") != groups_list_.ptr()) return false;
    if (PyList_GET_SIZE(groups_list_.ptr()) != Py_ssize_t(groups_.size())) return false;
    for (Group& g : groups_)
      if (!g.stands()) return false;
    return true;
  }

  // describe(optimizer): None, or per group (is it Adam's, the group, [(parameter, its state or None, two tensors or None, counter or None)])
  bool find() {
    found_ = false;
    groups_.clear();
    if (tries_ > kMostTries) return false;  // what changes all the time is not for this
    ++tries_;
    const py::object described = describe_(optimizer_);
    if (described.is_none()) return false;
    own_step_ = py::reinterpret_borrow<py::object>(entry(attributes_, "step"));
    state_ = optimizer_.attr("state");
    groups_list_ = optimizer_.attr("param_groups");
    cpu::ManyTensors all;
    for (const py::handle item : described) {
      const auto [adam, dict, members] = item.cast<std::tuple<bool, py::object, py::list>>();
      Group& g = groups_.emplace_back();
      g.adam = adam;
      g.dict = dict;
      g.params = dict["params"];
      for (const py::handle member : members) {
        const auto parts = member.cast<py::tuple>();
        Group::Member m;
        m.param = parts[0].cast<Tensor>();
        if (!parts[1].is_none()) m.own = parts[1].cast<py::object>();
        m.version = m.own ? version_of(m.own) : 0;
        m.first = parts[2].cast<Tensor>();
        m.second = parts[3].cast<Tensor>();
        m.counter = parts[4].cast<Tensor>();
        const TensorImpl& p = *m.param;
        if (!is_dense(p, p) || p.device.type != DeviceType::CPU || (p.dtype != DType::Float32 && p.dtype != DType::Float64)) return false;
        if ((m.first.defined() && !is_dense(*m.first, p)) || (m.second.defined() && !is_dense(*m.second, p)) || (m.counter.defined() && !is_counter(*m.counter))) return false;
        m.data = p.data();
        all.add(m.param.get());
        g.members.push_back(std::move(m));
      }
      if (!PyList_Check(g.params.ptr()) || !g.read_options()) return false;
    }
    if (own_step_) optimizer_.attr("_opt_called") = true;  // a scheduler asks whether a step came before its own
    return found_ = all.disjoint() && version_of(attributes_) != 0;
  }

  bool run() {
    for (const Group& g : groups_)
      for (const Group::Member& m : g.members) {
        const TensorImpl& p = *m.param;
        if (p.autograd == nullptr || !p.autograd->grad.defined() || !is_dense(*p.autograd->grad, p) || !is_dense(p, p)) return false;
      }
    const ManyTensorKernels& kernels = *many_tensor_kernels(DeviceType::CPU);
    for (Group& g : groups_) {
      rows_.clear();
      adam_.clear();
      double last = -1;
      for (Group::Member& m : g.members) {
        rows_.push_back({m.param.get(), m.param->autograd->grad.get(), m.first.get(), m.second.get(), nullptr});
        for (TensorImpl* t : {m.param.get(), m.first.get(), m.second.get()}) written(t);
        if (!g.adam) continue;
        const double t = advance(*m.counter);
        if (t != last) {
          g.step.bias1 = 1 - std::pow(g.step.beta1, t);
          g.step.bias2_sqrt = std::sqrt(1 - std::pow(g.step.beta2, t));
        }
        last = t;
        adam_.push_back(g.step);
      }
      if (rows_.empty()) continue;
      if (g.adam) kernels.adam(rows_, adam_);
      else kernels.sgd(rows_, std::vector<SgdStep>(rows_.size(), g.sgd));
    }
    return true;
  }

  static constexpr int kMostTries = 20;
  py::object attributes_, optimizer_, describe_, state_, groups_list_, own_step_;
  std::vector<Group> groups_;
  std::vector<StepRow> rows_;
  std::vector<AdamStep> adam_;
  bool found_ = false;
  int tries_ = 0;
};

}  // namespace

void bind_step(py::module_& m) {
  py::class_<NativeStep>(m, "NativeStep", "An optimizer's step for a plan: NativeStep(optimizer, describe).")
      .def(py::init<py::object, py::object>())
      .def("__call__", &NativeStep::operator());
}

}  // namespace mg::python
