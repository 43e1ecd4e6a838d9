// Memory of the devices seen from Python: minigrad/cuda/memory.py builds PyTorch's names on these.
#include "../runtime/device_memory.h"
#include "bind.h"

namespace mg::cuda {

static py::dict stats_of(int device) {
  const StreamCacheStats s = device_memory(device).stats();
  py::dict d;
  d["allocated"] = s.allocated;
  d["peak_allocated"] = s.peak_allocated;
  d["reserved"] = s.reserved;
  d["peak_reserved"] = s.peak_reserved;
  d["pending"] = s.pending;
  d["free"] = s.free;
  d["largest_free"] = s.largest_free;
  d["blocks"] = s.live_blocks;
  d["peak_blocks"] = s.peak_blocks;
  d["segments"] = s.segments;
  d["allocations"] = s.allocations;
  d["frees"] = s.frees;
  d["allocated_ever"] = s.allocated_ever;
  d["retries"] = s.retries;
  d["failures"] = s.failures;
  return d;
}

// [(segment, address, size, free, tag or None, stream, pool)] in address order within a stream.
static py::list blocks_of(int device) {
  py::list result;
  for (const StreamCache::StreamBlock& b : device_memory(device).blocks())
    result.append(py::make_tuple(reinterpret_cast<uintptr_t>(b.segment), reinterpret_cast<uintptr_t>(b.data), b.size, b.free,
                                 b.tag == nullptr ? py::object(py::none()) : py::object(py::str(b.tag)),
                                 reinterpret_cast<uintptr_t>(static_cast<const StreamHandle*>(b.stream)->stream), b.pool));
  return result;
}

void bind_memory(py::module_& m) {
  m.def("memory_stats", &stats_of);
  m.def("memory_blocks", &blocks_of);
  m.def("memory_holders", [](int device) {
    py::list result;
    for (const TagUsage& u : device_memory(device).usage()) result.append(py::make_tuple(u.tag, u.nbytes, u.blocks));
    return result;
  });
  m.def("set_memory_owner", &set_memory_owner);
  m.def("empty_cache", [](int device) { return device_memory(device).empty(); });
  m.def("reset_peak_memory", [](int device) { device_memory(device).reset_peak(); });
  m.def("set_memory_limit", [](int device, py::object nbytes) {
    device_memory(device).set_limit(nbytes.is_none() ? SIZE_MAX : nbytes.cast<size_t>());
  });
  m.def("memory_limit", [](int device) -> py::object {
    const size_t limit = device_memory(device).limit();
    return limit == SIZE_MAX ? py::object(py::none()) : py::object(py::int_(limit));
  });
  m.def("mem_get_info", [](int device) {
    const DeviceGuard guard(device);
    size_t free = 0, total = 0;
    MG_CUDA(cudaMemGetInfo(&free, &total));
    return py::make_tuple(free, total);
  });
  // For other libraries that take their memory from here (caching_allocator_alloc).
  m.def("allocate", [](size_t nbytes, int device) { return reinterpret_cast<uintptr_t>(device_memory(device).allocate(nbytes)); });
  m.def("deallocate", [](uintptr_t data, int device) { device_memory(device).free(reinterpret_cast<void*>(data)); });
}

}  // namespace mg::cuda
