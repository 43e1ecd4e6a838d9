// What the files of csrc/cuda/python share.
#pragma once
#include <pybind11/pybind11.h>

#include "../runtime/runtime.h"

namespace py = pybind11;

namespace mg::cuda {
void bind_memory(py::module_& m);
void bind_streams(py::module_& m);
void bind_launch(py::module_& m);
void bind_fused(py::module_& m);
void bind_sim(py::module_& m);  // in the simulator
}  // namespace mg::cuda
