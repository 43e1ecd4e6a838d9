// Gradient clipping for minigrad/nn/utils/clip_grad.py: one call for all gradients. None or False, with nothing changed, when they are
// not all dense CPU tensors of one dtype, float32 or float64: Python then goes tensor by tensor.
#include <cmath>

#include "../cpu/clip.h"
#include "py.h"

namespace mg::python {

namespace {

bool collect(const py::list& tensors, cpu::ManyTensors& all) {
  for (py::handle o : tensors) {
    if (Py_TYPE(o.ptr()) != tensor_type) return false;  // a subclass may have a say in what is done to it
    TensorImpl* t = impl_of(o.ptr());
    const DType first = all.tensors.empty() ? t->dtype : all.tensors[0]->dtype;
    if (!t->contiguous || t->dataless || t->device.type != DeviceType::CPU || t->dtype != first) return false;
    if (first != DType::Float32 && first != DType::Float64) return false;
    all.add(t);
  }
  return !all.tensors.empty();
}

bool collect_to_write(const py::list& tensors, cpu::ManyTensors& all) {
  if (!collect(tensors, all) || !all.disjoint()) return false;  // the same memory twice: one after the other
  for (TensorImpl* t : all.tensors)
    if (t->inference && !thread_state.inference_mode) return false;  // the ops say what is wrong
  return true;
}

void written(const cpu::ManyTensors& all) {
  for (TensorImpl* t : all.tensors)
    if (!t->untracked_version) ++t->storage->version;
}

py::object norm_of_all(const py::list& tensors, double order) {
  cpu::ManyTensors all;
  const bool maximum = std::isinf(order) && order > 0;
  if ((order != 2 && !maximum) || !collect(tensors, all)) return py::none();
  const double norm = cpu::norm_of_all(all, maximum);
  Tensor result = empty({}, all.tensors[0]->dtype);
  if (result.dtype() == DType::Float32) *result.ptr<float>() = float(norm);
  else *result.ptr<double>() = norm;
  return py::reinterpret_steal<py::object>(wrap(result));
}

bool scale_all(const py::list& tensors, double factor) {
  cpu::ManyTensors all;
  if (!collect_to_write(tensors, all)) return false;
  if (factor != 1.0) cpu::scale_all(all, factor);
  written(all);
  return true;
}

bool clamp_all(const py::list& tensors, double low, double high) {
  cpu::ManyTensors all;
  if (!collect_to_write(tensors, all)) return false;
  cpu::clamp_all(all, low, high);
  written(all);
  return true;
}

}  // namespace

void bind_clip(py::module_& m) {
  m.def("norm_of_all", &norm_of_all);
  m.def("scale_all", &scale_all);
  m.def("clamp_all", &clamp_all);
}

}  // namespace mg::python
