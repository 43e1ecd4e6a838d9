// Gradient clipping for minigrad/nn/utils/clip_grad.py and unscaling for minigrad/amp: one call for all gradients. None or False, with
// nothing changed, when they are not all dense tensors of one floating dtype and one device that has the kernels (core/many_tensors.h):
// Python then goes tensor by tensor.
#include <cmath>

#include "../autograd/handler.h"
#include "../autograd/node.h"
#include "../core/many_tensors.h"
#include "../cpu/many.h"
#include "py.h"

namespace mg::python {

namespace {

bool collect(const py::list& tensors, cpu::ManyTensors& all) {
  for (py::handle o : tensors) {
    if (Py_TYPE(o.ptr()) != tensor_type) return false;  // a subclass may have a say in what is done to it
    TensorImpl* t = impl_of(o.ptr());
    const TensorImpl& first = all.tensors.empty() ? *t : *all.tensors[0];
    if (!t->contiguous || t->dataless || !(t->device == first.device) || t->dtype != first.dtype) return false;
    all.add(t);
  }
  if (all.tensors.empty()) return false;
  return has_many_tensor_kernels(*all.tensors[0]);
}
const ManyTensorKernels& kernels_of(const cpu::ManyTensors& all) { return *many_tensor_kernels(all.tensors[0]->device.type); }

bool collect_to_write(const py::list& tensors, cpu::ManyTensors& all) {
  if (!collect(tensors, all) || !all.disjoint()) return false;  // the same memory twice: one after the other
  for (TensorImpl* t : all.tensors)
    if (t->inference && !thread_state.inference_mode) return false;  // the ops say what is wrong
  return true;
}

void written(const cpu::ManyTensors& all) {
  for (TensorImpl* t : all.tensors)
    note_write(*t);
}

// While a function is traced the norm is an op of its graph; scaling and clamping are noted tensor by tensor, and joined by the plan
// (csrc/graph/join.cpp).
bool is_traced() { return active_handler != nullptr && active_handler->is_tracer; }

py::object traced_norm(const py::list& tensors, bool maximum) {
  static OpRef op{"_total_norm"};
  std::vector<TensorImpl*> list;
  for (py::handle o : tensors) {
    if (Py_TYPE(o.ptr()) != tensor_type) return py::none();
    TensorImpl* t = impl_of(o.ptr());
    list.push_back(t);
    if (!has_many_tensor_kernels(*t) || t->dtype != list[0]->dtype || !(t->device == list[0]->device)) return py::none();
  }
  const GradModeGuard off(false);
  return py::reinterpret_steal<py::object>(wrap(invoke(op, Value::list(list.data(), int(list.size())), Value(maximum))));
}

py::object norm_of_all(const py::list& tensors, double order) {
  cpu::ManyTensors all;
  const bool maximum = std::isinf(order) && order > 0;
  if (order != 2 && !maximum) return py::none();
  if (is_traced()) return traced_norm(tensors, maximum);
  if (!collect(tensors, all)) return py::none();
  const Tensor result = empty({}, all.tensors[0]->dtype, all.tensors[0]->device);
  kernels_of(all).norm(all.tensors, maximum, *result);
  return py::reinterpret_steal<py::object>(wrap(result));
}

bool is_number_there(py::handle o, const cpu::ManyTensors& all) {
  if (Py_TYPE(o.ptr()) != tensor_type) return false;
  const TensorImpl& t = *impl_of(o.ptr());
  return t.numel == 1 && !t.dataless && t.device == all.tensors[0]->device && is_floating(t.dtype);
}

bool scale_all(const py::list& tensors, py::object factor) {
  cpu::ManyTensors all;
  if (is_traced() || !collect_to_write(tensors, all) || !is_number_there(factor, all)) return false;
  kernels_of(all).scale(all.tensors, *impl_of(factor.ptr()));
  written(all);
  return true;
}

// grads *= factor; `found` (float32) becomes 1 if one was not finite.
bool unscale_all(const py::list& tensors, py::object factor, py::object found) {
  settle_pending("unscale_");
  cpu::ManyTensors all;
  if (!collect_to_write(tensors, all) || !is_number_there(factor, all) || !is_number_there(found, all)) return false;
  TensorImpl* flag = impl_of(found.ptr());
  if (flag->dtype != DType::Float32) return false;
  kernels_of(all).unscale(all.tensors, *impl_of(factor.ptr()), *flag);
  written(all);
  ++flag->storage->version;
  return true;
}

bool clamp_all(const py::list& tensors, double low, double high) {
  cpu::ManyTensors all;
  if (is_traced() || !collect_to_write(tensors, all)) return false;
  kernels_of(all).clamp(all.tensors, low, high);
  written(all);
  return true;
}

}  // namespace

void bind_clip(py::module_& m) {
  m.def("norm_of_all", &norm_of_all);
  m.def("scale_all", &scale_all);
  m.def("unscale_all", &unscale_all);
  m.def("clamp_all", &clamp_all);
}

}  // namespace mg::python
