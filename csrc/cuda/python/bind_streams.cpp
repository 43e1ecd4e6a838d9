// Streams, events and graphs seen from Python. A stream is passed as (device, address of the cudaStream_t); waiting releases the GIL.
#include "../kernels/faults.h"
#include "../runtime/graphs.h"
#include "bind.h"

namespace mg::cuda {

static const StreamHandle* handle(int device, uintptr_t stream) { return stream_handle(device, reinterpret_cast<cudaStream_t>(stream)); }
static uintptr_t address(const StreamHandle* s) { return reinterpret_cast<uintptr_t>(s->stream); }

static bool stream_query(int device, uintptr_t stream) {
  const DeviceGuard guard(device);
  const cudaError_t error = cudaStreamQuery(handle(device, stream)->stream);
  if (error == cudaErrorNotReady) {
    cudaGetLastError();
    return false;
  }
  check(error, "Stream.query");
  return true;
}

static void stream_synchronize(int device, uintptr_t stream) {
  refuse_in_capture("Stream.synchronize");
  const py::gil_scoped_release release;
  const DeviceGuard guard(device);
  check(cudaStreamSynchronize(handle(device, stream)->stream), "Stream.synchronize");
  raise_fault();
}

static void device_synchronize(int device) {
  refuse_in_capture("cuda.synchronize");
  const py::gil_scoped_release release;
  const DeviceGuard guard(device);
  check(cudaDeviceSynchronize(), "cuda.synchronize");
  raise_fault();
}

static cudaStreamCaptureMode capture_mode(const std::string& name) {
  MG_CHECK(name == "global" || name == "thread_local" || name == "relaxed", Value,
           "CUDAGraph.capture_begin: capture_error_mode must be 'global', 'thread_local' or 'relaxed': got '", name, "'");
  return name == "global" ? cudaStreamCaptureModeGlobal : name == "relaxed" ? cudaStreamCaptureModeRelaxed : cudaStreamCaptureModeThreadLocal;
}

void bind_streams(py::module_& m) {
  m.def("new_stream", [](int device, int priority) { return address(pooled_stream(device, priority)); });
  m.def("current_stream", [](int device) { return address(current_handle(device)); });
  m.def("set_stream", [](int device, uintptr_t stream) { set_current_stream(handle(device, stream)); });
  m.def("stream_query", &stream_query);
  m.def("stream_synchronize", &stream_synchronize);
  m.def("synchronize", &device_synchronize);
  m.def("is_capturing", &capturing);
  m.def("new_memory_pool", &new_memory_pool);
  py::class_<Event>(m, "Event", py::module_local())
      .def(py::init<bool>())
      .def("record", [](Event& e, int device, uintptr_t stream) { e.record(handle(device, stream)); })
      .def("block", [](const Event& e, int device, uintptr_t stream) { e.block(handle(device, stream)); })
      .def("query", &Event::query)
      .def("synchronize", &Event::synchronize, py::call_guard<py::gil_scoped_release>())
      .def("milliseconds_to", &Event::milliseconds_to)
      .def_property_readonly("device", &Event::device)
      .def_property_readonly("handle", [](const Event& e) { return reinterpret_cast<uintptr_t>(e.handle()); });
  py::class_<Graph>(m, "Graph", py::module_local())
      .def(py::init<>())
      .def("capture_begin", [](Graph& g, MemoryPool pool, const std::string& mode) { g.capture_begin(pool, capture_mode(mode)); })
      .def("capture_end", &Graph::capture_end)
      .def("replay", &Graph::replay)
      .def("reset", &Graph::reset)
      .def("add_generator", &Graph::add_generator)
      .def("pool", &Graph::pool);
}

}  // namespace mg::cuda
