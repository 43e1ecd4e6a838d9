// Form: one compiled form of a function. It asks whether a call is one that it was compiled for, and runs its plan.
//
// A call fits when the arguments have the recorded structure (containers of the same types and keys, tensors of the same spec, equal numbers
// and strings, the same objects), the modes are the recorded ones, and nothing that the function reached has been replaced or switched.
// This is what every call of a compiled function pays, so it is written in C++ and stops at the first difference. form.h has the parts.
#include <pybind11/stl.h>

#include <unordered_map>

#include "../autograd/handler.h"
#include "../autograd/node.h"
#include "../autograd/saved_hooks.h"
#include "../core/autocast.h"
#include "../core/meta.h"
#include "../core/prepared.h"
#include "../graph/plan.h"
#include "form.h"

namespace mg::python {

namespace {

struct Modes {
  bool grad = thread_state.grad_mode, inference = thread_state.inference_mode, autocast = autocast_is_on();
  DType dtype = default_dtype, lower[2] = {autocast_dtype(DeviceType::CPU), autocast_dtype(DeviceType::CUDA)};
  Device device = thread_state.default_device;
  bool operator==(const Modes& o) const {
    return grad == o.grad && inference == o.inference && autocast == o.autocast && dtype == o.dtype && device == o.device &&
           (!autocast || (lower[0] == o.lower[0] && lower[1] == o.lower[1]));
  }
  std::string difference(const Modes& now) const {
    const auto change = [](const char* what, bool on) { return std::string(what) + (on ? " is now on" : " is now off"); };
    if (grad != now.grad) return change("grad mode", now.grad);
    if (inference != now.inference) return change("inference mode", now.inference);
    if (autocast != now.autocast) return change("autocast", now.autocast);
    return *this == now ? "" : "the default dtype, the default device or autocast's dtype is another one";
  }
};

// Nobody can write to it without a counter of its storage moving.
bool writes_are_seen(const TensorImpl& t) { return t.storage->release == nullptr && t.storage->lent.load(std::memory_order_relaxed) == 0; }

class Form {
 public:
  Form(const py::tuple& args, const py::dict& kwargs) {
    std::vector<TensorImpl*> tensors;
    args_ = shape_of(args.ptr(), tensors);
    kwargs_ = shape_of(kwargs.ptr(), tensors);
  }

  Guards guards;
  void keep_gradient(Tensor leaf, bool has) { gradients_.emplace_back(std::move(leaf), has); }

  // Where the plan's inputs come from, in order.
  void from_argument(int position) { sources_.push_back({position, Tensor(), false, false, ""}); }
  void from_tensor(Tensor t, std::string label) {
    const bool requires_grad = needs_grad(*t);
    sources_.push_back({-1, t, false, requires_grad, std::move(label), hooks_on(*t)});
    specs_.push_back({t->dtype, t->device, t->sizes, t->strides, true, 0});
  }
  void from_gradient(Tensor leaf) { sources_.push_back({-1, std::move(leaf), true, false, ""}); }
  void from_gradient_of_argument(int position) { sources_.push_back({position, Tensor(), true, false, ""}); }
  void keep_gradient_of_argument(int position, bool has) { given_gradients_.emplace_back(position, has); }
  // Storage numbers of the plan's inputs, where it writes to some: arguments have to share memory with each other and with what is kept as
  // they did, or a write would be seen where none was traced.
  void keep_memory(std::vector<int> storages) { storages_ = std::move(storages); }
  // Where in their storages the plan's inputs begin: the function asked for it.
  void keep_offsets(std::vector<int64_t> offsets) { offsets_ = std::move(offsets); }
  // What that tensor holds is part of the compiled form.
  void keep_values(const Tensor& t) { held_.push_back({t, PreparedWeight::stamp_of(*t->storage)}); }
  bool values_changed() const {
    return std::any_of(held_.begin(), held_.end(), [](const Held& h) { return !h.holds(); });
  }
  void watch_attributes(const py::set& names) {
    mg::python::watch_attributes(args_, names);
    mg::python::watch_attributes(kwargs_, names);
  }
  void set_plan(std::shared_ptr<Plan> plan) { plan_ = std::move(plan); }

  // The plan's inputs for this call, or None when it is another kind of call.
  py::object inputs(const py::tuple& args, const py::dict& kwargs) const {
    std::vector<Tensor> found;
    if (!gather(args.ptr(), kwargs.ptr(), found)) return py::none();
    return py::cast(found);
  }

  bool fits(const py::tuple& args, const py::dict& kwargs) const {
    std::vector<Tensor> found;
    return gather(args.ptr(), kwargs.ptr(), found);
  }

  // The plan's results, or None when it is another kind of call.
  py::object run(const py::tuple& args, const py::dict& kwargs) const {
    std::vector<Tensor> found;
    if (!gather(args.ptr(), kwargs.ptr(), found)) return py::none();
    std::vector<Tensor> results = plan_->run(found);
    return py::cast(results);
  }

  // Why a call is another kind of call, in words; empty when it is not.
  std::string difference(const py::tuple& args, const py::dict& kwargs, const std::vector<std::string>& names) const {
    if (std::string found = modes_.difference(Modes()); !found.empty()) return found;
    std::vector<TensorImpl*> tensors;
    const size_t n = args_.parts.size();
    if (size_t(args.size()) != n) return std::to_string(n) + " positional arguments are now " + std::to_string(args.size());
    for (size_t k = 0; k < n; ++k) {
      const std::string name = k < names.size() ? names[k] : "argument " + std::to_string(k);
      if (std::string found = mg::python::difference(args_.parts[k], PyTuple_GET_ITEM(args.ptr(), Py_ssize_t(k)), name, tensors); !found.empty())
        return found;
    }
    if (size_t(PyDict_GET_SIZE(kwargs.ptr())) != kwargs_.parts.size()) return "the keyword arguments are others";
    for (size_t k = 0; k < kwargs_.parts.size(); ++k) {
      const std::string name = py::cast<std::string>(kwargs_.keys[k]);
      PyObject* item = PyDict_GetItemWithError(kwargs.ptr(), kwargs_.keys[k].ptr());
      if (item == nullptr) return name + " is gone";
      if (std::string found = mg::python::difference(kwargs_.parts[k], item, name, tensors); !found.empty()) return found;
    }
    for (const auto& [leaf, has] : gradients_)
      if (has_gradient(*leaf) != has) return has ? "a parameter's .grad is now None" : "a parameter's .grad was None and is a tensor now";
    for (const auto& [k, has] : given_gradients_)
      if (has_gradient(*tensors[size_t(k)]) != has) return has ? "an argument's .grad is now None" : "an argument's .grad was None and is a tensor now";
    if (std::string found = guards.difference(); !found.empty()) return found;
    size_t kept = 0;
    for (const Source& s : sources_) {
      if (s.argument >= 0 && s.gradient && !has_gradient(*tensors[size_t(s.argument)])) return "an argument's .grad is now None";
      if (s.argument >= 0) continue;
      if (s.gradient && !has_gradient(*s.tensor)) return "a parameter's .grad is now None";
      if (s.gradient) continue;
      if (hooks_on(*s.tensor) != s.hooks) return s.label + ": its gradient hooks are others";
      if (std::string found = tensor_difference(*s.tensor, specs_[kept++], s.requires_grad); !found.empty()) return s.label + ": " + found;
    }
    if (values_changed()) return "a tensor that seldom changes (a mask) was written to";
    std::vector<Tensor> found;
    if (!(storages_.empty() && offsets_.empty()) && !gather(args.ptr(), kwargs.ptr(), found))
      return "where arguments lie in memory, or which of them share it, is not the same";
    return "";
  }

 private:
  struct Source {
    int argument;
    Tensor tensor;
    bool gradient, requires_grad;
    std::string label;
    int hooks = 0;
  };

  struct Held {
    Tensor tensor;
    PreparedWeight::Stamp stamp;
    bool holds() const { return writes_are_seen(*tensor) && PreparedWeight::stamp_of(*tensor->storage) == stamp; }
  };

  static bool has_gradient(const TensorImpl& leaf) { return leaf.autograd != nullptr && leaf.autograd->grad.defined(); }

  bool gather(PyObject* args, PyObject* kwargs, std::vector<Tensor>& out) const {
    if (!(modes_ == Modes())) return false;
    std::vector<TensorImpl*> tensors;
    tensors.reserve(8);
    if (!matches(args_, args, tensors) || !matches(kwargs_, kwargs, tensors)) return false;
    for (const auto& [leaf, has] : gradients_)
      if (has_gradient(*leaf) != has) return false;
    for (const auto& [k, has] : given_gradients_)
      if (has_gradient(*tensors[size_t(k)]) != has) return false;
    if (!guards.hold() || values_changed()) return false;
    out.reserve(sources_.size());
    size_t kept = 0;
    for (const Source& s : sources_) {
      if (s.argument >= 0 && s.gradient) {
        if (!has_gradient(*tensors[size_t(s.argument)])) return false;
        out.push_back(tensors[size_t(s.argument)]->autograd->grad);
      } else if (s.argument >= 0) {
        out.emplace_back(tensors[size_t(s.argument)]);
      } else if (s.gradient) {
        if (!has_gradient(*s.tensor)) return false;
        out.push_back(s.tensor->autograd->grad);
      } else {
        if (hooks_on(*s.tensor) != s.hooks || !fits_tensor(*s.tensor, specs_[kept++], s.requires_grad)) return false;
        out.push_back(s.tensor);
      }
    }
    for (size_t k = 0; k < offsets_.size(); ++k)
      if (out[k]->offset != offsets_[k]) return false;
    return storages_.empty() || shares_alike(out);
  }

  // What is kept shares memory as it did: compared by pairs only when some storage is another one (`.data = `).
  bool kept_alike(const std::vector<Tensor>& inputs) const {
    bool same = last_.size() == inputs.size();
    for (size_t k = 0; same && k < inputs.size(); ++k) same = sources_[k].argument >= 0 || last_[k] == inputs[k]->storage.get();
    if (same) return true;
    std::unordered_map<int, const Storage*> by_number;
    std::unordered_map<const Storage*, int> by_storage;
    for (size_t k = 0; k < inputs.size(); ++k) {
      if (sources_[k].argument >= 0) continue;
      const Storage* storage = inputs[k]->storage.get();
      if (by_number.try_emplace(storages_[k], storage).first->second != storage) return false;
      if (by_storage.try_emplace(storage, storages_[k]).first->second != storages_[k]) return false;
    }
    last_.clear();
    for (const Tensor& t : inputs) last_.push_back(t->storage.get());
    return true;
  }

  bool shares_alike(const std::vector<Tensor>& inputs) const {
    if (!kept_alike(inputs)) return false;
    for (size_t k = 0; k < inputs.size(); ++k) {
      if (sources_[k].argument < 0) continue;
      for (size_t j = 0; j < inputs.size(); ++j)
        if ((inputs[k]->storage == inputs[j]->storage) != (storages_[k] == storages_[j])) return false;
    }
    return true;
  }

  ArgShape args_, kwargs_;
  Modes modes_;
  std::vector<std::pair<Tensor, bool>> gradients_;
  std::vector<std::pair<int, bool>> given_gradients_;  // of arguments
  std::vector<Source> sources_;
  std::vector<int> storages_;
  mutable std::vector<const Storage*> last_;  // of the inputs, when they were last found to share memory as they did
  std::vector<int64_t> offsets_;
  std::vector<Held> held_;
  std::vector<OutSpec> specs_;  // of the kept tensors among the sources
  std::shared_ptr<Plan> plan_;
};

}  // namespace

bool function_mode_is_active();  // overrides.cpp

void bind_form(py::module_& m) {
  // Somebody wants to see each op: a transform, anomaly mode, hooks on saved tensors, a TorchFunctionMode.
  m.def("ops_are_watched", [] {
    return active_handler != nullptr || thread_state.anomaly || active_saved_hooks != nullptr || function_mode_is_active();
  });
  m.def("writes_are_seen", [](const Tensor& t) { return !t->dataless && writes_are_seen(*t); });
  m.def("hooks_on", [](const Tensor& leaf) { return hooks_on(*leaf); });
  m.def("attributes_of", [](const py::object& tensor) {  // its __dict__, which is not made for that
    PyObject* own = is_tensor(tensor.ptr()) ? reinterpret_cast<PyTensor*>(tensor.ptr())->dict : nullptr;
    return own != nullptr ? py::reinterpret_borrow<py::object>(own) : py::none();
  });
  m.def("compare_by_value", [](const std::vector<py::type>& types) {
    for (const py::type& t : types) add_value_type(t);
  });
  m.def("same_value", [](const py::object& a, const py::object& b) { return same_value(a.ptr(), b.ptr()); });
  m.def("in_words", [](const py::object& o) { return in_words(o.ptr()); });
  py::class_<Form>(m, "Form", "One compiled form of a function.")
      .def(py::init<py::tuple, py::dict>())
      .def("keep_name", [](Form& f, py::dict table, py::object key, py::object value, std::string label) {
        f.guards.keep_name(std::move(table), std::move(key), std::move(value), std::move(label));
      })
      .def("keep_absent", [](Form& f, py::dict table, py::object key, std::string label) {
        f.guards.keep_name(std::move(table), std::move(key), py::object(), std::move(label));
      })
      .def("keep_contents", [](Form& f, py::object o, std::string label) { f.guards.keep_contents(std::move(o), std::move(label)); })
      .def("keep_item", [](Form& f, py::object o, Py_ssize_t at, py::object value, std::string label) {
        f.guards.keep_item(std::move(o), at, std::move(value), std::move(label));
      })
      .def("keep_cell", [](Form& f, py::object cell, py::object value, std::string label) {
        f.guards.keep_cell(std::move(cell), std::move(value), std::move(label));
      })
      .def("keep_attribute", [](Form& f, py::object owner, py::object name, py::object value, std::string label) {
        f.guards.keep_attribute(std::move(owner), std::move(name), std::move(value), std::move(label));
      })
      .def("keep_unset", [](Form& f, py::object owner, py::object name, std::string label) {
        f.guards.keep_attribute(std::move(owner), std::move(name), py::object(), std::move(label));
      })
      .def("keep_of_class", [](Form& f, py::type kind, py::object name, std::string label) {
        f.guards.keep_of_class(kind, std::move(name), std::move(label));
      })
      .def("keep_function", [](Form& f, py::object function, std::string label) { f.guards.keep_function(std::move(function), std::move(label)); })
      .def("keep_variable", [](Form& f, py::object variable) { f.guards.keep_variable(std::move(variable)); })
      .def("keep_offsets", &Form::keep_offsets)
      .def("keep_values", &Form::keep_values)
      .def_property_readonly("values_changed", &Form::values_changed)
      .def("watch_attributes", &Form::watch_attributes)
      .def_property_readonly("guards", [](const Form& f) { return f.guards.size(); })
      .def("keep_gradient", &Form::keep_gradient)
      .def("from_argument", &Form::from_argument)
      .def("from_tensor", &Form::from_tensor)
      .def("from_gradient", &Form::from_gradient)
      .def("from_gradient_of_argument", &Form::from_gradient_of_argument)
      .def("keep_gradient_of_argument", &Form::keep_gradient_of_argument)
      .def("keep_memory", &Form::keep_memory)
      .def("set_plan", &Form::set_plan)
      .def("inputs", &Form::inputs)
      .def("fits", &Form::fits)
      .def("run", &Form::run)
      .def("difference", &Form::difference);
}

}  // namespace mg::python
