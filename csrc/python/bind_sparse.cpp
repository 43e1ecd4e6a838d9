// The door of sparse tensors (minigrad/sparse): a data-less tensor (csrc/autograd/handler.h) whose handler gives every op call with it to
// one Python function. It has shape, dtype and device but no elements, so no kernel can mistake it for a dense one, and dense tensors pay
// nothing while no sparse tensor is alive.
#include <pybind11/stl.h>

#include "../autograd/node.h"
#include "py.h"

namespace mg::python {

namespace {

PyTypeObject* sparse_class = nullptr;  // minigrad.sparse.SparseTensor, once that is loaded

// One per sparse tensor: it lives, and is counted among the handlers, as long as that, and holds its parts.
struct SparseHandler final : Handler {
  PyObject* state;

  explicit SparseHandler(py::object s) : Handler(0, nullptr), state(s.release().ptr()) {}
  ~SparseHandler() override {
    if (!Py_IsInitialized()) return;
    py::gil_scoped_acquire gil;
    Py_DECREF(state);
  }

  std::string why() const override { return "a sparse tensor has no dense elements. Try x.to_dense(), or x.values()."; }
  bool wants(const Op&, const Value*) const override { return false; }

  // run(op name, args, in place?) -> one tensor per output, nothing for in-place calls.
  void run(const Op& op, const Value* args, const MetaResult&, Tensor* outs, Write mode) override {
    PyObject* runner = python_helper("minigrad.sparse._dispatch", "run");
    if (runner == nullptr) throw py::error_already_set();
    py::list values;
    for (size_t k = 0; k < op.args.size(); ++k) values.append(py::reinterpret_steal<py::object>(checked(value_to_python(args[k]))));
    const py::object answer = py::handle(runner)(op.name, values, mode != Write::Fresh);
    if (mode != Write::Fresh) return;
    const py::tuple results(answer);
    for (int k = 0; k < op.n_outputs(); ++k) outs[k] = expect_tensor(py::object(results[size_t(k)]).ptr(), "sparse: result");
  }
};

SparseHandler* sparse_handler(const TensorImpl& t) {
  const Standin* s = standin_of(t);
  return s != nullptr ? dynamic_cast<SparseHandler*>(s->handler.get()) : nullptr;
}

Tensor sparse_shell(const std::vector<int64_t>& sizes, py::object dtype, py::object device, py::object state) {
  OutSpec spec;
  spec.sizes = Dims(std::span(sizes));
  MG_CHECK(dtype_from(dtype.ptr(), spec.dtype), Type, "sparse tensor: dtype expected");
  MG_CHECK(device_from(device.ptr(), spec.device), Type, "sparse tensor: device expected");
  return make_placeholder(Ref<Handler>(new SparseHandler(std::move(state))), spec, -1);
}

}  // namespace

PyTypeObject* class_of_dataless(const TensorImpl& t) { return sparse_handler(t) != nullptr ? sparse_class : nullptr; }

void bind_sparse(py::module_& m) {
  m.def("sparse_shell", &sparse_shell);
  m.def("sparse_state", [](Tensor t) {
    SparseHandler* h = sparse_handler(*t);
    MG_CHECK(h != nullptr, Type, "sparse_state: not a sparse tensor");
    return py::reinterpret_borrow<py::object>(h->state);
  });
  m.def("set_sparse_class", [](py::object cls) { sparse_class = reinterpret_cast<PyTypeObject*>(cls.release().ptr()); });
}

}  // namespace mg::python
