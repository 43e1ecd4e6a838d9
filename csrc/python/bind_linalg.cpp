// The way from the first linalg kernel to the LAPACK library: Python knows where the wheel lies, csrc/cpu opens it.
#include "../cpu/lapack.h"
#include "py.h"

namespace mg::python {

static void find_lapack() {
  const PyGILState_STATE state = PyGILState_Ensure();
  PyObject* find = python_helper("minigrad._lapack", "load");
  PyObject* done = find == nullptr ? nullptr : PyObject_CallNoArgs(find);
  Py_XDECREF(done);
  PyGILState_Release(state);
  if (done == nullptr) throw PythonError{};
}

void bind_linalg(py::module_& m) {
  cpu::lapack_loader = find_lapack;
  m.def(
      "open_lapack", [](const std::string& path) { cpu::open_lapack(path.c_str()); }, py::arg("path"),
      "Open the shared library with LAPACK and BLAS; nothing happens when one is open already.");
}

}  // namespace mg::python
