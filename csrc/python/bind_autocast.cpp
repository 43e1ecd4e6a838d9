// The core's half of minigrad.amp: the switches of autocast, its table, and the cast of one argument.
#include "../core/autocast.h"

#include "py.h"

namespace mg::python {

namespace {

DeviceType device_type(int d) {
  MG_CHECK(d >= 0 && d < kDeviceTypes, Value, "autocast: no device type number ", d);
  return DeviceType(d);
}

DType dtype_of(const py::object& o) {
  DType dtype;
  MG_CHECK(dtype_from(o.ptr(), dtype), Type, "autocast: dtype must be a minigrad.dtype, got ", py::str(py::type::of(o)).cast<std::string>());
  return dtype;
}

}  // namespace

void bind_autocast(py::module_& m) {
  py::module_ a = m.def_submodule("autocast", "State of this thread; device types are numbered as in csrc/core/device.h.");
  a.def("enabled", [](int d) { return autocast_enabled(device_type(d)); });
  a.def("set_enabled", [](int d, bool on) { set_autocast_enabled(device_type(d), on); });
  a.def("dtype", [](int d) { return py::reinterpret_steal<py::object>(wrap_dtype(autocast_dtype(device_type(d)))); });
  a.def("set_dtype", [](int d, const py::object& dtype) { set_autocast_dtype(device_type(d), dtype_of(dtype)); });
  a.def("cache_enabled", &autocast_cache_enabled);
  a.def("set_cache_enabled", &set_autocast_cache_enabled);
  a.def("clear_cache", &clear_autocast_cache);
  a.def("nesting", &autocast_nesting);
  a.def("suspend", &autocast_suspend);
  a.def("resume", &autocast_resume);
  a.def("argument", [](const Tensor& t, const py::object& dtype) { return autocast_argument(t, dtype_of(dtype)); });
  a.def("set_policy", [](int d, const std::string& name, const std::string& policy) {
    const Op* op = find_op(name);
    MG_CHECK(op != nullptr, Value, "autocast: no op named ", name);
    const bool known = policy == "lower" || policy == "float32" || policy == "promote";
    MG_CHECK(known, Value, "autocast: policy must be lower, float32 or promote, got ", policy);
    set_autocast_policy(device_type(d), *op,
                        policy == "lower"     ? CastPolicy::Lower
                        : policy == "float32" ? CastPolicy::Float32
                                              : CastPolicy::Promote);
  });
}

}  // namespace mg::python
