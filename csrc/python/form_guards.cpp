// Guards of a compiled form: see form.h. A dict that has not been written since it was last found unchanged costs one comparison.
#include <cstring>
#include <unordered_set>

#include "form.h"

namespace mg::python {

namespace {

std::unordered_set<PyTypeObject*>& value_types() {
  static std::unordered_set<PyTypeObject*> types;
  return types;
}

// CPython counts the writes to each dict until 3.11; 0: unknown, look at the names.
uint64_t version_of(PyObject* dict) {
#if PY_VERSION_HEX < 0x030C0000 && !defined(PYPY_VERSION)
  return reinterpret_cast<PyDictObject*>(dict)->ma_version_tag;
#else
  static_cast<void>(dict);
  return 0;
#endif
}

bool unchanged(PyObject* dict, uint64_t version) { return version != 0 && version_of(dict) == version; }

bool differs(std::string* words, const std::string& label, PyObject* before, PyObject* now) {
  if (words != nullptr)
    *words = label + ": " + (before != nullptr ? in_words(before) : "nothing") + " is now " + (now != nullptr ? in_words(now) : "gone");
  return false;
}

py::object owned(PyObject* o) { return py::reinterpret_steal<py::object>(o); }
py::object shared(PyObject* o) { return py::reinterpret_borrow<py::object>(o); }

py::object value_of(const py::object& variable) {
  PyObject* value = nullptr;
  if (PyContextVar_Get(variable.ptr(), nullptr, &value) < 0) PyErr_Clear();
  return owned(value);
}

}  // namespace

void add_value_type(py::type type) { value_types().insert(reinterpret_cast<PyTypeObject*>(type.release().ptr())); }

bool same_value(PyObject* a, PyObject* b) {
  if (a == b) return true;
  if (a == nullptr || b == nullptr || Py_TYPE(a) != Py_TYPE(b)) return false;
  if (PyFloat_CheckExact(a)) {  // 0.0 and -0.0 are two numbers here, and nan is nan
    const double x = PyFloat_AS_DOUBLE(a), y = PyFloat_AS_DOUBLE(b);
    return std::memcmp(&x, &y, sizeof x) == 0;
  }
  if (PyComplex_CheckExact(a)) {
    const Py_complex x = PyComplex_AsCComplex(a), y = PyComplex_AsCComplex(b);
    return std::memcmp(&x, &y, sizeof x) == 0;
  }
  if (PyTuple_CheckExact(a)) {
    if (PyTuple_GET_SIZE(a) != PyTuple_GET_SIZE(b)) return false;
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(a); ++k)
      if (!same_value(PyTuple_GET_ITEM(a, k), PyTuple_GET_ITEM(b, k))) return false;
    return true;
  }
  if (!PyLong_CheckExact(a) && !PyUnicode_CheckExact(a) && !PyBytes_CheckExact(a) && !value_types().contains(Py_TYPE(a))) return false;
  const int equal = PyObject_RichCompareBool(a, b, Py_EQ);
  if (equal < 0) PyErr_Clear();
  return equal > 0;
}

std::string in_words(PyObject* o) {
  if (is_tensor(o)) return "a tensor";
  if (!same_value(o, o) || PyObject_HasAttrString(o, "forward") || PyFunction_Check(o) || PyDict_Check(o) || PyList_Check(o))
    return std::string("a ") + Py_TYPE(o)->tp_name;
  const py::object text = owned(PyObject_Repr(o));
  if (!text) PyErr_Clear();
  const char* utf8 = text ? PyUnicode_AsUTF8(text.ptr()) : nullptr;
  if (utf8 == nullptr) return Py_TYPE(o)->tp_name;
  std::string out(utf8);
  return out.size() > 60 ? out.substr(0, 57) + "..." : out;
}

void Guards::keep_name(py::dict table, py::object key, py::object value, std::string label) {
  for (Table& t : tables_)
    if (t.dict.is(table)) return t.names.push_back({key, value, std::move(label)});
  tables_.push_back({table, {{key, value, std::move(label)}}, 0});
}

void Guards::keep_contents(py::object container, std::string label) {
  for (const Contents& c : contents_)
    if (c.container.is(container)) return;
  Contents c{container, {}, {}, std::move(label), 0};
  if (PyDict_Check(container.ptr())) {
    for (auto item : py::reinterpret_borrow<py::dict>(container)) {
      c.keys.push_back(py::reinterpret_borrow<py::object>(item.first));
      c.values.push_back(py::reinterpret_borrow<py::object>(item.second));
    }
  } else {
    for (auto item : container) c.values.push_back(py::reinterpret_borrow<py::object>(item));
  }
  contents_.push_back(std::move(c));
}

void Guards::keep_item(py::object sequence, Py_ssize_t index, py::object value, std::string label) {
  items_.push_back({sequence, value, index, std::move(label)});
}
void Guards::keep_cell(py::object cell, py::object value, std::string label) { attributes_.push_back({cell, py::object(), value, std::move(label)}); }
void Guards::keep_attribute(py::object owner, py::object name, py::object value, std::string label) {
  attributes_.push_back({owner, name, value, std::move(label)});
}

void Guards::keep_of_class(const py::type& kind, py::object name, std::string label) {
  py::dict table = py::reinterpret_borrow<py::dict>(reinterpret_cast<PyTypeObject*>(kind.ptr())->tp_dict);
  py::object value = shared(PyDict_GetItemWithError(table.ptr(), name.ptr()));
  keep_name(std::move(table), std::move(name), std::move(value), std::move(label));
}
void Guards::keep_function(py::object o, std::string label) {
  if (!PyFunction_Check(o.ptr())) return;
  const auto* f = reinterpret_cast<PyFunctionObject*>(o.ptr());
  functions_.push_back({o, shared(f->func_code), shared(f->func_defaults), shared(f->func_kwdefaults), std::move(label)});
}
bool Guards::Function::holds() const {
  const auto* f = reinterpret_cast<PyFunctionObject*>(function.ptr());
  return f->func_code == code.ptr() && f->func_defaults == defaults.ptr() && f->func_kwdefaults == keywords.ptr();
}
void Guards::keep_variable(py::object variable) {
  py::object value = value_of(variable);
  variables_.push_back({std::move(variable), std::move(value)});
}

size_t Guards::size() const {
  size_t n = contents_.size() + items_.size() + attributes_.size() + functions_.size() + variables_.size();
  for (const Table& t : tables_) n += t.names.size();
  return n;
}

bool Guards::tables_hold(std::string* words) const {
  for (const Table& t : tables_) {
    if (unchanged(t.dict.ptr(), t.version)) continue;
    for (const Name& n : t.names) {
      PyObject* now = PyDict_GetItemWithError(t.dict.ptr(), n.key.ptr());
      if (now == n.value.ptr()) continue;
      if (PyErr_Occurred()) PyErr_Clear();
      if (!same_value(n.value.ptr(), now)) return differs(words, n.label, n.value.ptr(), now);
    }
    t.version = version_of(t.dict.ptr());
  }
  return true;
}

bool Guards::contents_hold(std::string* words) const {
  const auto other_size = [&](const Contents& c, Py_ssize_t now) {
    if (words != nullptr) *words = c.label + ": " + std::to_string(c.values.size()) + " entries are now " + std::to_string(now);
    return false;
  };
  for (const Contents& c : contents_) {
    PyObject* o = c.container.ptr();
    if (PyDict_Check(o)) {
      if (unchanged(o, c.version)) continue;
      if (size_t(PyDict_GET_SIZE(o)) != c.values.size()) return other_size(c, PyDict_GET_SIZE(o));
      PyObject *key, *item;
      size_t k = 0;
      for (Py_ssize_t at = 0; PyDict_Next(o, &at, &key, &item); ++k) {
        if (!same_value(c.keys[k].ptr(), key)) return differs(words, c.label + "'s keys", c.keys[k].ptr(), key);
        if (!same_value(c.values[k].ptr(), item)) return differs(words, c.label + "[" + in_words(key) + "]", c.values[k].ptr(), item);
      }
      c.version = version_of(o);
    } else if (PyList_Check(o) || PyTuple_Check(o)) {
      if (size_t(PySequence_Fast_GET_SIZE(o)) != c.values.size()) return other_size(c, PySequence_Fast_GET_SIZE(o));
      for (size_t k = 0; k < c.values.size(); ++k) {
        PyObject* item = PySequence_Fast_GET_ITEM(o, Py_ssize_t(k));
        if (!same_value(c.values[k].ptr(), item)) return differs(words, c.label + "[" + std::to_string(k) + "]", c.values[k].ptr(), item);
      }
    } else {  // sets and deques
      const Py_ssize_t size = PyObject_Size(o);
      if (size < 0 || size_t(size) != c.values.size()) return other_size(c, size);
      size_t k = 0;
      const py::object iterator = owned(PyObject_GetIter(o));
      for (py::object item; iterator && (item = owned(PyIter_Next(iterator.ptr()))); ++k)
        if (!same_value(c.values[k].ptr(), item.ptr())) return differs(words, c.label, c.values[k].ptr(), item.ptr());
    }
  }
  return true;
}

bool Guards::visit(std::string* words) const {
  if (!tables_hold(words) || !contents_hold(words)) return false;
  for (const Item& i : items_) {
    PyObject* o = i.sequence.ptr();
    PyObject* now = i.index < PySequence_Fast_GET_SIZE(o) ? PySequence_Fast_GET_ITEM(o, i.index) : nullptr;
    if (now != i.value.ptr()) return differs(words, i.label, i.value.ptr(), now);
  }
  for (const Attribute& a : attributes_) {
    const bool cell = !a.name;
    const py::object now = cell ? py::reinterpret_borrow<py::object>(PyCell_GET(a.owner.ptr())) : owned(PyObject_GetAttr(a.owner.ptr(), a.name.ptr()));
    if (!now) PyErr_Clear();
    if (!same_value(a.value.ptr(), now.ptr())) return differs(words, a.label, a.value.ptr(), now.ptr());
  }
  for (const Function& f : functions_)
    if (!f.holds()) return differs(words, f.label, f.code.ptr(), reinterpret_cast<PyFunctionObject*>(f.function.ptr())->func_code);
  for (const Variable& v : variables_)
    if (const py::object now = value_of(v.variable); !same_value(v.value.ptr(), now.ptr())) return differs(words, "a context variable", v.value.ptr(), now.ptr());
  return true;
}

bool Guards::hold() const { return visit(nullptr); }

std::string Guards::difference() const {
  std::string words;
  return visit(&words) ? std::string() : words;
}

}  // namespace mg::python
