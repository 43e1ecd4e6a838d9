// Kernels written in Python: a function becomes an op's kernel for a device, in front of the one that is there. It is
// called behind meta and allocation like every kernel, so shapes, errors, versions, gradients and deterministic results
// are the op's. minigrad.kernels puts its Triton kernels in this way (kernels/_overrides.py).
#include "../autograd/node.h"
#include "../core/backend_module.h"
#include "../core/kernel.h"
#include "py.h"

namespace mg::python {
namespace {

struct PythonKernel {
  PyObject* function;  // (outputs, *arguments) -> whether it did the work
  KernelFn otherwise;  // may be null
};
struct Key {
  const Op* op;
  DeviceType device;
  bool operator==(const Key&) const = default;
};
struct HashKey {
  size_t operator()(const Key& k) const { return std::hash<const void*>()(k.op) ^ size_t(k.device); }
};
std::unordered_map<Key, PythonKernel, HashKey>& table() {
  static auto* t = new std::unordered_map<Key, PythonKernel, HashKey>;
  return *t;
}

bool run_python(const PythonKernel& kernel, Invocation& inv) {
  const py::gil_scoped_acquire gil;
  const GradModeGuard no_grad(false);
  const int n = inv.op.n_args;
  const py::object outputs = py::reinterpret_steal<py::object>(checked(PyTuple_New(inv.op.n_out)));
  for (int k = 0; k < inv.op.n_out; ++k) PyTuple_SET_ITEM(outputs.ptr(), k, checked(wrap(inv.outs[k])));
  py::object held[kMaxArgs];
  PyObject* args[kMaxArgs + 2] = {nullptr, outputs.ptr()};
  for (int k = 0; k < n; ++k) {
    held[k] = py::reinterpret_steal<py::object>(checked(value_to_python(inv.args[k])));
    args[k + 2] = held[k].ptr();
  }
  const py::object did = py::reinterpret_steal<py::object>(
      checked(PyObject_Vectorcall(kernel.function, args + 1, size_t(n + 1) | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr)));
  const int truth = PyObject_IsTrue(did.ptr());
  if (truth < 0) throw PythonError{};
  return truth != 0;
}

void python_kernel(Invocation& inv) {
  const PythonKernel& kernel = table().at({&inv.op, inv.outs[0].device().type});
  if (run_python(kernel, inv)) return;
  MG_CHECK(kernel.otherwise != nullptr, NotImplemented, inv.op.name,
           ": the kernel in Python refused these arguments and there is no other");
  kernel.otherwise(inv);
}

Op& known_op(const std::string& name) {
  Op* op = find_op(name);
  MG_CHECK(op != nullptr, Value, "python kernel: no op named '", name, "'");
  return *op;
}

}  // namespace

void bind_python_kernels(py::module_& m) {
  tensor_of_object = [](void* o) -> TensorImpl* {
    auto* object = static_cast<PyObject*>(o);
    return is_tensor(object) ? impl_of(object) : nullptr;
  };
  // None takes the function away again.
  m.def("set_python_kernel", [](const std::string& name, py::object device, py::object function) {
    Op& op = known_op(name);
    Device d;
    MG_CHECK(device_from(device.ptr(), d), Type, "set_python_kernel: expected a device");
    KernelFn& slot = op.kernels[int(d.type)];
    const Key key{&op, d.type};
    const auto found = table().find(key);
    if (found != table().end()) {
      slot = found->second.otherwise;
      Py_DECREF(found->second.function);
      table().erase(found);
    }
    if (function.is_none()) return;
    table()[key] = {function.inc_ref().ptr(), slot};
    slot = python_kernel;
  });
}

}  // namespace mg::python
