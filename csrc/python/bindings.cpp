// The extension module minigrad._core: puts the parts together. Everything hot is raw CPython (tensor_type.cpp, op_call.cpp), the rest
// pybind11.
#include "py.h"

namespace mg::python {
void install_errors(PyObject* module);
void bind_storage(py::module_& m);
void bind_shared(py::module_& m);
void bind_autocast(py::module_& m);
void bind_profile(py::module_& m);
void bind_clip(py::module_& m);
void bind_program(py::module_& m);
void bind_fused(py::module_& m);
void bind_step(py::module_& m);
void bind_call_key(py::module_& m);
void bind_compiled_node(py::module_& m);
void bind_defer(py::module_& m);
void bind_code(py::module_& m);
void bind_python_kernels(py::module_& m);
}

PYBIND11_MODULE(_core, m) {
  using namespace mg::python;
  m.doc() = "minigrad's C++ core: tensors, ops, autograd, CPU kernels.";
  install_errors(m.ptr());
  install_scalar_types(m.ptr());
  install_op_types(m.ptr());
  install_overrides(m.ptr());
  install_tensor_type(m.ptr());
  install_module_base(m.ptr());
  bind_construct(m);
  bind_autograd(m);
  bind_registry(m);
  bind_optim(m);
  bind_clip(m);
  bind_func(m);
  bind_trace(m);
  bind_form(m);
  bind_call_key(m);
  bind_compiled_node(m);
  bind_defer(m);
  bind_program(m);
  bind_fused(m);
  bind_step(m);
  bind_code(m);
  bind_autocast(m);
  bind_profile(m);
  bind_system(m);
  bind_linalg(m);
  bind_storage(m);
  bind_shared(m);
  bind_python_kernels(m);
}
