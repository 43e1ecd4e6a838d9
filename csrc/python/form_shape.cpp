// Shapes of arguments: see form.h.
#include <algorithm>

#include "../autograd/node.h"
#include "form.h"

namespace mg::python {

namespace {

bool is_constant(PyObject* o) {
  return o == Py_None || PyBool_Check(o) || PyLong_CheckExact(o) || PyFloat_CheckExact(o) || PyComplex_CheckExact(o) || PyUnicode_CheckExact(o) ||
         PyBytes_CheckExact(o);
}

bool is_sequence(PyObject* o) {
  return PyList_CheckExact(o) || PyTuple_CheckExact(o) || (PyTuple_Check(o) && PyObject_HasAttrString(reinterpret_cast<PyObject*>(Py_TYPE(o)), "_fields"));
}

bool is_dict(PyObject* o) {
  if (PyDict_CheckExact(o)) return true;
  if (!PyDict_Check(o)) return false;
  static const py::module_ collections = py::module_::import("collections");
  static PyObject* const ordered = py::object(collections.attr("OrderedDict")).release().ptr();
  static PyObject* const with_default = py::object(collections.attr("defaultdict")).release().ptr();
  PyObject* type = reinterpret_cast<PyObject*>(Py_TYPE(o));
  return type == ordered || type == with_default;
}

// The names of a dataclass instance's fields; none: it is something else.
std::vector<py::object> fields_of(PyObject* o) {
  std::vector<py::object> names;
  PyObject* type = reinterpret_cast<PyObject*>(Py_TYPE(o));
  if (PyType_Check(o) || !PyObject_HasAttrString(type, "__dataclass_fields__") || PyObject_HasAttrString(type, "forward")) return names;
  const py::object fields = py::module_::import("dataclasses").attr("fields")(py::reinterpret_borrow<py::object>(type));
  for (auto field : fields) names.push_back(field.attr("name"));
  return names;
}

// What the program itself set on a tensor is as it was, as far as it is watched.
bool same_attributes(const ArgShape& s, PyObject* o) {
  PyObject* now = reinterpret_cast<PyTensor*>(o)->dict;
  if (now == nullptr && !s.attributes) return true;
  for (auto item : py::reinterpret_borrow<py::dict>(s.attributes ? s.attributes.ptr() : py::dict().ptr())) {
    PyObject* value = now != nullptr ? PyDict_GetItemWithError(now, item.first.ptr()) : nullptr;
    if (!same_value(item.second.ptr(), value)) return false;
  }
  PyObject *key, *item;
  for (Py_ssize_t at = 0; now != nullptr && PyDict_Next(now, &at, &key, &item);) {
    const bool known = s.attributes && PyDict_Contains(s.attributes.ptr(), key) == 1;
    if (!known && PySet_Contains(s.watched.ptr(), key) == 1) return false;
  }
  return true;
}

py::object type_of(PyObject* o) { return py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(Py_TYPE(o))); }

py::object attribute(PyObject* o, const py::object& name) {
  py::object found = py::reinterpret_steal<py::object>(PyObject_GetAttr(o, name.ptr()));
  if (!found) PyErr_Clear();
  return found;
}

template <class Sizes>
std::string numbers(const Sizes& sizes) {
  std::string out = "[";
  for (int k = 0; k < int(sizes.size()); ++k) out += (k ? ", " : "") + std::to_string(sizes[k]);
  return out + "]";
}

}  // namespace

ArgShape shape_of(PyObject* o, std::vector<TensorImpl*>& tensors) {
  ArgShape s;
  if (is_tensor(o) && !class_overrides(o)) {
    const TensorImpl& t = *impl_of(o);
    s.kind = ArgShape::TensorKind;
    s.spec = {t.dtype, t.device, t.sizes, t.strides, true, t.offset};
    s.requires_grad = needs_grad(t);
    s.is_leaf = t.grad_fn == nullptr;
    s.hooks = hooks_on(t);
    s.first = int(std::find(tensors.begin(), tensors.end(), &t) - tensors.begin());
    if (PyObject* own = reinterpret_cast<PyTensor*>(o)->dict; own != nullptr) s.attributes = py::reinterpret_steal<py::object>(PyDict_Copy(own));
    tensors.push_back(impl_of(o));
  } else if (is_sequence(o)) {
    s.kind = ArgShape::Sequence;
    s.value = type_of(o);
    for (Py_ssize_t k = 0; k < PySequence_Fast_GET_SIZE(o); ++k) s.parts.push_back(shape_of(PySequence_Fast_GET_ITEM(o, k), tensors));
  } else if (is_dict(o)) {
    s.kind = ArgShape::Dict;
    s.value = type_of(o);
    PyObject *key, *item;
    for (Py_ssize_t at = 0; PyDict_Next(o, &at, &key, &item);) {
      s.keys.push_back(py::reinterpret_borrow<py::object>(key));
      s.parts.push_back(shape_of(item, tensors));
    }
  } else if (is_constant(o)) {
    s.value = py::reinterpret_borrow<py::object>(o);
  } else if (s.keys = fields_of(o); !s.keys.empty()) {
    s.kind = ArgShape::Record;
    s.value = type_of(o);
    for (const py::object& name : s.keys) s.parts.push_back(shape_of(py::object(py::getattr(o, name.ptr(), py::none())).ptr(), tensors));
  } else {
    s.kind = ArgShape::Object;
    s.value = py::reinterpret_borrow<py::object>(o);
  }
  return s;
}

int hooks_on(const TensorImpl& leaf) {
  if (leaf.autograd == nullptr || leaf.grad_fn != nullptr) return 0;
  const AutogradMeta& m = *leaf.autograd;
  return (m.hooks ? int(m.hooks->hooks.size()) : 0) + (m.post_accumulate ? int(m.post_accumulate->hooks.size()) : 0);
}

bool fits_tensor(const TensorImpl& t, const OutSpec& spec, bool requires_grad) {
  return !t.dataless && t.dtype == spec.dtype && t.device == spec.device && t.sizes == spec.sizes && t.strides == spec.strides && needs_grad(t) == requires_grad;
}

bool matches(const ArgShape& s, PyObject* o, std::vector<TensorImpl*>& tensors) {
  switch (s.kind) {
    case ArgShape::TensorKind: {
      if (!is_tensor(o) || class_overrides(o)) return false;
      TensorImpl* t = impl_of(o);
      if (hooks_on(*t) != s.hooks || !fits_tensor(*t, s.spec, s.requires_grad) || (t->grad_fn == nullptr) != s.is_leaf) return false;
      tensors.push_back(t);
      if (s.watched && !same_attributes(s, o)) return false;
      return size_t(std::find(tensors.begin(), tensors.end(), t) - tensors.begin()) == size_t(s.first);
    }
    case ArgShape::Constant:
    case ArgShape::Object: return same_value(s.value.ptr(), o);
    case ArgShape::Sequence:
      if (reinterpret_cast<PyObject*>(Py_TYPE(o)) != s.value.ptr() || size_t(PySequence_Fast_GET_SIZE(o)) != s.parts.size()) return false;
      for (size_t k = 0; k < s.parts.size(); ++k)
        if (!matches(s.parts[k], PySequence_Fast_GET_ITEM(o, Py_ssize_t(k)), tensors)) return false;
      return true;
    case ArgShape::Dict: {
      if (reinterpret_cast<PyObject*>(Py_TYPE(o)) != s.value.ptr() || size_t(PyDict_GET_SIZE(o)) != s.parts.size()) return false;
      PyObject *key, *item;
      size_t k = 0;
      for (Py_ssize_t at = 0; PyDict_Next(o, &at, &key, &item); ++k)
        if (!same_value(s.keys[k].ptr(), key) || !matches(s.parts[k], item, tensors)) return false;
      return true;
    }
    case ArgShape::Record:
      if (reinterpret_cast<PyObject*>(Py_TYPE(o)) != s.value.ptr()) return false;
      for (size_t k = 0; k < s.parts.size(); ++k)
        if (const py::object part = attribute(o, s.keys[k]); !part || !matches(s.parts[k], part.ptr(), tensors)) return false;
      return true;
  }
  return false;
}

void watch_attributes(ArgShape& s, const py::set& names) {
  for (ArgShape& part : s.parts) watch_attributes(part, names);
  if (s.kind != ArgShape::TensorKind) return;
  s.watched = names;
  if (!s.attributes) return;
  py::dict kept;
  for (auto item : py::reinterpret_borrow<py::dict>(s.attributes))
    if (names.contains(item.first)) kept[item.first] = item.second;
  s.attributes = kept.empty() ? py::object() : py::object(kept);
}

std::string tensor_difference(const TensorImpl& t, const OutSpec& spec, bool requires_grad) {
  const auto change = [](const char* what, const std::string& a, const std::string& b) { return std::string(what) + " " + a + " is now " + b; };
  if (t.dtype != spec.dtype) return change("dtype", dtype_name(spec.dtype), dtype_name(t.dtype));
  if (!(t.device == spec.device)) return "device is another";
  if (!(t.sizes == spec.sizes)) return change("shape", numbers(spec.sizes), numbers(t.sizes));
  if (!(t.strides == spec.strides)) return change("strides", numbers(spec.strides), numbers(t.strides));
  if (needs_grad(t) != requires_grad) return change("requires_grad", requires_grad ? "True" : "False", requires_grad ? "False" : "True");
  return "";
}

static std::string parts_difference(const ArgShape& s, PyObject* o, const std::string& name, std::vector<TensorImpl*>& tensors) {
  for (size_t k = 0; k < s.parts.size(); ++k) {
    std::string at, found;
    py::object part;
    if (s.kind == ArgShape::Sequence) {
      at = name + "[" + std::to_string(k) + "]";
      part = py::reinterpret_borrow<py::object>(PySequence_Fast_GET_ITEM(o, Py_ssize_t(k)));
    } else if (s.kind == ArgShape::Dict) {
      at = name + "[" + in_words(s.keys[k].ptr()) + "]";
      part = py::reinterpret_borrow<py::object>(PyDict_GetItemWithError(o, s.keys[k].ptr()));
      if (!part) return at + " is gone";
    } else {
      at = name + "." + py::cast<std::string>(s.keys[k]);
      part = attribute(o, s.keys[k]);
      if (!part) return at + " is gone";
    }
    if (found = difference(s.parts[k], part.ptr(), at, tensors); !found.empty()) return found;
  }
  return "";
}

std::string difference(const ArgShape& s, PyObject* o, const std::string& name, std::vector<TensorImpl*>& tensors) {
  if (s.kind == ArgShape::TensorKind) {
    if (!is_tensor(o) || class_overrides(o)) return name + ": a tensor is now " + in_words(o);
    TensorImpl* t = impl_of(o);
    tensors.push_back(t);
    if (const std::string what = tensor_difference(*t, s.spec, s.requires_grad); !what.empty()) return name + ": " + what;
    if (hooks_on(*t) != s.hooks) return name + ": its gradient hooks are others";
    if (s.watched && !same_attributes(s, o)) return name + ": its own attributes are others";
    if ((t->grad_fn == nullptr) != s.is_leaf) return name + (s.is_leaf ? ": a leaf is now a tensor with a history" : ": a tensor with a history is now a leaf");
    const bool same = size_t(std::find(tensors.begin(), tensors.end(), t) - tensors.begin()) == size_t(s.first);
    return same ? "" : name + ": which arguments are one and the same tensor has changed";
  }
  if (s.kind == ArgShape::Constant || s.kind == ArgShape::Object) {
    if (same_value(s.value.ptr(), o)) return "";
    const std::string before = in_words(s.value.ptr()), now = in_words(o);
    return name + ": " + before + (before == now ? " is now another one" : " is now " + now);
  }
  if (reinterpret_cast<PyObject*>(Py_TYPE(o)) != s.value.ptr())
    return name + ": a " + reinterpret_cast<PyTypeObject*>(s.value.ptr())->tp_name + " is now a " + Py_TYPE(o)->tp_name;
  const size_t size = s.kind == ArgShape::Sequence ? size_t(PySequence_Fast_GET_SIZE(o)) : s.kind == ArgShape::Dict ? size_t(PyDict_GET_SIZE(o)) : s.parts.size();
  if (size != s.parts.size()) return name + ": " + std::to_string(s.parts.size()) + " entries are now " + std::to_string(size);
  std::string found = parts_difference(s, o, name, tensors);
  if (!found.empty() || s.kind != ArgShape::Dict) return found;
  std::vector<TensorImpl*> again;
  return matches(s, o, again) || !again.empty() ? "" : name + ": its keys come in another order";
}

}  // namespace mg::python
