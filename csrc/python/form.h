// What a call of a compiled function is compared with: the shape of its arguments, and what the function reached when it was traced.
// Made once per compiled form (bind_form.cpp), read at every call: in C++, and stopping at the first difference.
#pragma once
#include <string>
#include <vector>

#include "../core/tensor.h"
#include "py.h"

namespace mg::python {

/// Equal as constants: the same object, or numbers, strings and tuples of them of the same type and value (0.0 is not -0.0).
bool same_value(PyObject* kept, PyObject* now);
/// Types whose instances are compared by value besides the built-in ones: device, Size, slice, NumPy's scalars.
void add_value_type(py::type type);
/// `kept` in a few words.
std::string in_words(PyObject* kept);

// One argument, or a container of them.
struct ArgShape {
  enum Kind : uint8_t { TensorKind, Constant, Object, Sequence, Dict, Record } kind = Constant;
  py::object value;  // the constant, the object, or the type of the container
  std::vector<py::object> keys;  // of a dict; the fields of a dataclass
  std::vector<ArgShape> parts;
  OutSpec spec;  // tensors
  bool requires_grad = false, is_leaf = true;
  int hooks = 0;
  int first = 0;  // position of the first tensor argument that is the same tensor
  py::object attributes;  // of a tensor: a copy of its __dict__, where it has one
  py::object watched;     // a set: those of its attributes that have to stay as they are
};

/// Shape of `o`; tensors in it are appended in the order in which minigrad/compiler/_pytree.py finds them.
ArgShape shape_of(PyObject* o, std::vector<TensorImpl*>& tensors);
bool matches(const ArgShape& s, PyObject* o, std::vector<TensorImpl*>& tensors);
/// From now on `s` is compared with regard to these names of the tensors' own attributes.
void watch_attributes(ArgShape& s, const py::set& names);
/// The first difference in words ("x: shape [4, 3] is now [5, 3]"), empty when it matches.
std::string difference(const ArgShape& s, PyObject* o, const std::string& name, std::vector<TensorImpl*>& tensors);
int hooks_on(const TensorImpl& leaf);       // gradient hooks: they were traced, or there were none
bool class_overrides(PyObject* tensor);     // overrides.cpp: its class has a __torch_function__ of its own
bool fits_tensor(const TensorImpl& t, const OutSpec& spec, bool requires_grad);
std::string tensor_difference(const TensorImpl& t, const OutSpec& spec, bool requires_grad);

// What has to stay as it was: names in namespaces and classes, contents of lists and dicts, closure cells, attributes, functions.
class Guards {
 public:
  void keep_name(py::dict table, py::object key, py::object value, std::string label);  // a null value: the name is absent
  void keep_contents(py::object container, std::string label);
  void keep_item(py::object sequence, Py_ssize_t index, py::object value, std::string label);
  void keep_cell(py::object cell, py::object value, std::string label);
  void keep_attribute(py::object owner, py::object name, py::object value, std::string label);  // a null value: it has none
  void keep_of_class(const py::type& kind, py::object name, std::string label);  // as it is now, also if it is absent
  void keep_function(py::object function, std::string label);  // its code and its default arguments
  void keep_variable(py::object variable);                     // the value of a context variable
  bool hold() const;
  std::string difference() const;
  size_t size() const;

 private:
  struct Name {
    py::object key, value;
    std::string label;
  };
  struct Table {
    py::dict dict;
    std::vector<Name> names;
    mutable uint64_t version = 0;  // of the dict when it was last found unchanged
  };
  struct Contents {
    py::object container;
    std::vector<py::object> keys, values;
    std::string label;
    mutable uint64_t version = 0;
  };
  struct Item {
    py::object sequence, value;
    Py_ssize_t index;
    std::string label;
  };
  struct Attribute {
    py::object owner, name, value;  // no name: the owner is a cell
    std::string label;
  };
  struct Function {
    py::object function, code, defaults, keywords;
    std::string label;
    bool holds() const;
  };
  struct Variable {
    py::object variable, value;
  };
  bool visit(std::string* words) const;
  bool tables_hold(std::string* words) const;
  bool contents_hold(std::string* words) const;

  std::vector<Table> tables_;
  std::vector<Contents> contents_;
  std::vector<Item> items_;
  std::vector<Attribute> attributes_;
  std::vector<Function> functions_;
  std::vector<Variable> variables_;
};

}  // namespace mg::python
