// Form: one compiled form of a function. It asks whether a call is one that it was compiled for, and runs its plan.
//
// A call fits when the arguments have the recorded structure (containers of the same types and keys, tensors of the same spec, equal numbers
// and strings, the same objects), the modes are the recorded ones, and nothing that the function reached has been replaced or switched.
// This is what every call of a compiled function pays, so it is written in C++ and stops at the first difference.
#include <pybind11/stl.h>

#include "../autograd/node.h"
#include "../core/autocast.h"
#include "../core/meta.h"
#include "../graph/plan.h"
#include "py.h"

namespace mg::python {

namespace {

// One argument, or a container of them.
struct Shape {
  enum Kind : uint8_t { TensorKind, Constant, Object, Sequence, Dict } kind = Constant;
  py::object value;  // the constant, the object, or the type of the container
  std::vector<py::object> keys;
  std::vector<Shape> parts;
  OutSpec spec;  // tensors
  bool requires_grad = false, is_leaf = true;
  int first = 0;  // position of the first tensor argument that is the same tensor
};

bool is_constant(PyObject* o) {
  return o == Py_None || PyBool_Check(o) || PyLong_CheckExact(o) || PyFloat_CheckExact(o) || PyComplex_CheckExact(o) || PyUnicode_CheckExact(o) ||
         PyBytes_CheckExact(o);
}

bool same_constant(PyObject* a, PyObject* b) {
  if (a == b) return true;
  if (Py_TYPE(a) != Py_TYPE(b)) return false;
  if (PyFloat_CheckExact(a)) {  // 0.0 and -0.0 are two numbers here
    const double x = PyFloat_AS_DOUBLE(a), y = PyFloat_AS_DOUBLE(b);
    return std::memcmp(&x, &y, sizeof x) == 0;
  }
  if (PyComplex_CheckExact(a)) return false;
  const int equal = PyObject_RichCompareBool(a, b, Py_EQ);
  if (equal < 0) PyErr_Clear();
  return equal > 0;
}

bool is_sequence(PyObject* o) { return PyList_CheckExact(o) || PyTuple_CheckExact(o) || (PyTuple_Check(o) && PyObject_HasAttrString(o, "_fields")); }

Shape shape_of(PyObject* o, std::vector<TensorImpl*>& tensors) {
  Shape s;
  if (is_tensor(o)) {
    const TensorImpl& t = *impl_of(o);
    s.kind = Shape::TensorKind;
    s.spec = {t.dtype, t.device, t.sizes, t.strides, true, t.offset};
    s.requires_grad = needs_grad(t);
    s.is_leaf = t.grad_fn == nullptr;
    s.first = int(std::find(tensors.begin(), tensors.end(), &t) - tensors.begin());
    tensors.push_back(impl_of(o));
  } else if (is_sequence(o)) {
    s.kind = Shape::Sequence;
    s.value = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(Py_TYPE(o)));
    for (Py_ssize_t k = 0; k < PySequence_Fast_GET_SIZE(o); ++k) s.parts.push_back(shape_of(PySequence_Fast_GET_ITEM(o, k), tensors));
  } else if (PyDict_Check(o)) {
    s.kind = Shape::Dict;
    s.value = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(Py_TYPE(o)));
    PyObject *key, *item;
    for (Py_ssize_t at = 0; PyDict_Next(o, &at, &key, &item);) {
      s.keys.push_back(py::reinterpret_borrow<py::object>(key));
      s.parts.push_back(shape_of(item, tensors));
    }
  } else {
    s.kind = is_constant(o) ? Shape::Constant : Shape::Object;
    s.value = py::reinterpret_borrow<py::object>(o);
  }
  return s;
}

bool fits_tensor(const TensorImpl& t, const OutSpec& spec, bool requires_grad) {
  return t.dtype == spec.dtype && t.device == spec.device && t.sizes == spec.sizes && t.strides == spec.strides && needs_grad(t) == requires_grad;
}

bool matches(const Shape& s, PyObject* o, std::vector<TensorImpl*>& tensors) {
  switch (s.kind) {
    case Shape::TensorKind: {
      if (!is_tensor(o)) return false;
      TensorImpl* t = impl_of(o);
      if (t->dataless || !fits_tensor(*t, s.spec, s.requires_grad) || (t->grad_fn == nullptr) != s.is_leaf) return false;
      const size_t here = tensors.size();
      tensors.push_back(t);
      return size_t(std::find(tensors.begin(), tensors.end(), t) - tensors.begin()) == size_t(s.first) && size_t(s.first) <= here;
    }
    case Shape::Constant: return is_constant(o) && same_constant(s.value.ptr(), o);
    case Shape::Object: return s.value.ptr() == o;
    case Shape::Sequence:
      if (reinterpret_cast<PyObject*>(Py_TYPE(o)) != s.value.ptr() || size_t(PySequence_Fast_GET_SIZE(o)) != s.parts.size()) return false;
      for (size_t k = 0; k < s.parts.size(); ++k)
        if (!matches(s.parts[k], PySequence_Fast_GET_ITEM(o, Py_ssize_t(k)), tensors)) return false;
      return true;
    case Shape::Dict: {
      if (reinterpret_cast<PyObject*>(Py_TYPE(o)) != s.value.ptr() || size_t(PyDict_GET_SIZE(o)) != s.parts.size()) return false;
      PyObject *key, *item;
      size_t k = 0;
      for (Py_ssize_t at = 0; PyDict_Next(o, &at, &key, &item); ++k)
        if (!same_constant(s.keys[k].ptr(), key) || !matches(s.parts[k], item, tensors)) return false;
      return true;
    }
  }
  return false;
}

struct Modes {
  bool grad = thread_state.grad_mode, inference = thread_state.inference_mode, autocast = autocast_is_on();
  DType dtype = default_dtype, lower[2] = {autocast_dtype(DeviceType::CPU), autocast_dtype(DeviceType::CUDA)};
  Device device = thread_state.default_device;
  bool operator==(const Modes& o) const {
    return grad == o.grad && inference == o.inference && autocast == o.autocast && dtype == o.dtype && device == o.device &&
           (!autocast || (lower[0] == o.lower[0] && lower[1] == o.lower[1]));
  }
};

class Form {
 public:
  Form(const py::tuple& args, const py::dict& kwargs) {
    std::vector<TensorImpl*> tensors;
    args_ = shape_of(args.ptr(), tensors);
    kwargs_ = shape_of(kwargs.ptr(), tensors);
  }

  // What has to stay: the place where a tensor was found, an attribute's value, the entries of a dict, whether a leaf has a gradient.
  void keep_place(py::object holder, py::object key, py::object tensor) { places_.push_back({holder, key, tensor}); }
  void keep_attribute(py::object owner, py::str name, py::object value) { attributes_.push_back({owner, name, value}); }
  void keep_entries(py::dict table) {
    std::vector<py::object> values;
    for (auto item : table) values.push_back(py::reinterpret_borrow<py::object>(item.second));
    tables_.emplace_back(table, std::move(values));
  }
  void keep_gradient(Tensor leaf, bool has) { gradients_.emplace_back(std::move(leaf), has); }

  // Where the plan's inputs come from, in order.
  void from_argument(int position) { sources_.push_back({position, Tensor(), false, false}); }
  void from_tensor(Tensor t) {
    const bool requires_grad = needs_grad(*t);
    sources_.push_back({-1, t, false, requires_grad});
    specs_.push_back({t->dtype, t->device, t->sizes, t->strides, true, 0});
  }
  void from_gradient(Tensor leaf) { sources_.push_back({-1, std::move(leaf), true, false}); }
  void set_plan(std::shared_ptr<Plan> plan) { plan_ = std::move(plan); }

  // The plan's inputs for this call, or None when it is another kind of call.
  py::object inputs(const py::tuple& args, const py::dict& kwargs) const {
    std::vector<Tensor> found;
    if (!gather(args.ptr(), kwargs.ptr(), found)) return py::none();
    return py::cast(found);
  }

  // The plan's results, or None when it is another kind of call.
  py::object run(const py::tuple& args, const py::dict& kwargs) const {
    std::vector<Tensor> found;
    if (!gather(args.ptr(), kwargs.ptr(), found)) return py::none();
    std::vector<Tensor> results = plan_->run(found);
    return py::cast(results);
  }

 private:
  struct Kept {
    py::object owner, key, value;
  };
  struct Source {
    int argument;
    Tensor tensor;
    bool gradient, requires_grad;
  };

  bool gather(PyObject* args, PyObject* kwargs, std::vector<Tensor>& out) const {
    if (!(modes_ == Modes())) return false;
    std::vector<TensorImpl*> tensors;
    tensors.reserve(8);
    if (!matches(args_, args, tensors) || !matches(kwargs_, kwargs, tensors) || !holds()) return false;
    out.reserve(sources_.size());
    size_t kept = 0;
    for (const Source& s : sources_) {
      if (s.argument >= 0) {
        out.emplace_back(tensors[size_t(s.argument)]);
      } else if (s.gradient) {
        if (s.tensor->autograd == nullptr || !s.tensor->autograd->grad.defined()) return false;
        out.push_back(s.tensor->autograd->grad);
      } else {
        if (!fits_tensor(*s.tensor, specs_[kept++], s.requires_grad)) return false;
        out.push_back(s.tensor);
      }
    }
    return true;
  }

  bool holds() const {
    for (const auto& [leaf, has] : gradients_)
      if ((leaf->autograd != nullptr && leaf->autograd->grad.defined()) != has) return false;
    for (const Kept& p : places_) {
      py::object item;
      if (PyDict_Check(p.owner.ptr())) {
        if (PyDict_GetItemWithError(p.owner.ptr(), p.key.ptr()) == p.value.ptr()) continue;
        PyErr_Clear();
        return false;
      }
      item = py::reinterpret_steal<py::object>(PyObject_GetItem(p.owner.ptr(), p.key.ptr()));
      if (!item) PyErr_Clear();
      if (item.ptr() != p.value.ptr()) return false;
    }
    for (const Kept& a : attributes_) {
      const py::object now = py::reinterpret_steal<py::object>(PyObject_GetAttr(a.owner.ptr(), a.key.ptr()));
      if (!now) PyErr_Clear();
      if (now.ptr() != a.value.ptr()) return false;
    }
    for (const auto& [table, values] : tables_) {
      if (size_t(PyDict_GET_SIZE(table.ptr())) != values.size()) return false;
      PyObject *key, *item;
      size_t k = 0;
      for (Py_ssize_t at = 0; PyDict_Next(table.ptr(), &at, &key, &item); ++k)
        if (values[k].ptr() != item) return false;
    }
    return true;
  }

  Shape args_, kwargs_;
  Modes modes_;
  std::vector<Kept> places_, attributes_;
  std::vector<std::pair<py::object, std::vector<py::object>>> tables_;
  std::vector<std::pair<Tensor, bool>> gradients_;
  std::vector<Source> sources_;
  std::vector<OutSpec> specs_;  // of the kept tensors among the sources
  std::shared_ptr<Plan> plan_;
};

}  // namespace

void bind_form(py::module_& m) {
  py::class_<Form>(m, "Form", "One compiled form of a function.")
      .def(py::init<py::tuple, py::dict>())
      .def("keep_place", &Form::keep_place)
      .def("keep_attribute", &Form::keep_attribute)
      .def("keep_entries", &Form::keep_entries)
      .def("keep_gradient", &Form::keep_gradient)
      .def("from_argument", &Form::from_argument)
      .def("from_tensor", &Form::from_tensor)
      .def("from_gradient", &Form::from_gradient)
      .def("set_plan", &Form::set_plan)
      .def("inputs", &Form::inputs)
      .def("run", &Form::run);
}

}  // namespace mg::python
