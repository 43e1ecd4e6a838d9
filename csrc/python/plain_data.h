// Pieces of the compiler's data (graphs, fused programs) as plain Python objects.
#pragma once
#include "py.h"

namespace mg::python {

inline py::object owned(PyObject* o) { return py::reinterpret_steal<py::object>(checked(o)); }

inline py::tuple whole_numbers(const Dims& d) {
  py::tuple out(size_t(d.size()));
  for (int k = 0; k < d.size(); ++k) out[size_t(k)] = d[k];
  return out;
}

}  // namespace mg::python
