// Machine-level bindings: threads, allocator, random generators, default dtype, build facts.
#include <pybind11/stl.h>

#include <optional>
#include <sstream>

#include "../autograd/handler.h"
#include "../core/allocator.h"
#include "../core/backend_module.h"
#include "../core/long_lived.h"
#include "../core/meta.h"
#include "../core/parallel.h"
#include "../core/random.h"
#include "../cpu/copy.h"
#include "../cpu/gemm.h"
#include "../cpu/gemm_tuning.h"
#include "../cpu/isa.h"
#include "py.h"

namespace mg::python {

struct LongLivedScope {
  std::optional<LongLived> on;
};

static py::dict stats_dict(const MemoryStats& s) {
  py::dict d;
  d["allocated"] = s.allocated;
  d["peak_allocated"] = s.peak_allocated;
  d["reserved"] = s.reserved;
  d["cached"] = s.cached;
  d["cache_limit"] = s.cache_limit;
  d["memory_limit"] = s.memory_limit == SIZE_MAX ? py::object(py::none()) : py::object(py::int_(s.memory_limit));
  d["live_blocks"] = s.live_blocks;
  d["allocations"] = s.allocations;
  d["system_calls"] = s.system_calls;
  return d;
}

static Generator* generator_in_state(Device device, const Generator::State& state) {
  auto made = std::make_unique<Generator>(device);
  made->set_state(state);
  return made.release();
}

static Generator* copy_of(Generator& g) {
  settle_pending("a copy of a generator");
  return generator_in_state(g.device(), g.get_state());
}

// Negative seeds wrap, as in PyTorch.
static uint64_t seed_bits(py::int_ seed) {
  const uint64_t bits = PyLong_AsUnsignedLongLongMask(seed.ptr());
  if (PyErr_Occurred()) throw py::error_already_set();
  return bits;
}

// A device type without a backend is wanted: the CUDA module is looked for now, so that importing minigrad does not pay for it.
static py::dict gemm_tuning() {
  py::dict d;
  const cpu::GemmTuning& t = cpu::gemm_tuning();
#define MG_ITEM(name) d[#name] = t.name;
  MG_GEMM_TUNING(MG_ITEM)
#undef MG_ITEM
  return d;
}

static void set_gemm_tuning(const std::string& name, int64_t value) {
  MG_CHECK(value > 0, Value, "set_gemm_tuning: got ", value, " for ", name, ", expected a positive number.");
  cpu::GemmTuning& t = cpu::gemm_tuning();
#define MG_ITEM(field) \
  if (name == #field) return void(t.field = value);
  MG_GEMM_TUNING(MG_ITEM)
#undef MG_ITEM
  fail(ErrorKind::Value, "set_gemm_tuning: no number is called ", name, ".");
}

static void import_backend(DeviceType type) {
  if (type != DeviceType::CUDA) return;
  const py::gil_scoped_acquire gil;
  Py_DECREF(checked(PyImport_ImportModule("minigrad.cuda._door")));  // loads minigrad._cuda where it was built
}

void bind_system(py::module_& m) {
  load_backend = import_backend;
  backend(DeviceType::CPU).strided_copy = cpu::strided_copy;
  m.def("get_num_threads", &get_num_threads);
  m.def("set_num_threads", [](int n) {
    MG_CHECK(n > 0, Runtime, "set_num_threads: expects a positive integer: got ", n);
    set_num_threads(n);
  });
  m.def("get_default_dtype", [] { return py::reinterpret_steal<py::object>(wrap_dtype(default_dtype)); });
  m.def("set_default_dtype", [](py::object o) {
    DType d;
    MG_CHECK(dtype_from(o.ptr(), d) && is_floating(d), Type, "set_default_dtype: only floating-point types are supported as the default type");
    default_dtype = d;
  });
  m.def("promote_types", [](py::object a, py::object b) {
    DType x, y;
    MG_CHECK(dtype_from(a.ptr(), x) && dtype_from(b.ptr(), y), Type, "promote_types: expected two dtypes");
    return py::reinterpret_steal<py::object>(wrap_dtype(promote(x, y)));
  });
  m.def("can_cast", [](py::object a, py::object b) {
    DType x, y;
    MG_CHECK(dtype_from(a.ptr(), x) && dtype_from(b.ptr(), y), Type, "can_cast: expected two dtypes");
    return can_cast(x, y);
  });
  m.def("result_type", [](py::object a, py::object b) {
    ArgBuffer buffer;
    Value x, y;
    MG_CHECK(convert_operand(a.ptr(), x, buffer) && convert_operand(b.ptr(), y, buffer), Type, "result_type: expected tensors or numbers");
    Promotion p;
    p.add(x);
    p.add(y);
    return py::reinterpret_steal<py::object>(wrap_dtype(p.result()));
  });
  m.def("cpu_isa", [] { return std::string(cpu::isa_name(cpu::isa())); });
  m.def("gemm_tuning", &gemm_tuning, "The numbers that decide how gemm() computes a product.");
  m.def("set_gemm_tuning", &set_gemm_tuning, "Changes one of them in this process: for benchmarks and tests.");
  m.def("fma_rate", &cpu::fma_rate, py::arg("float64") = false, "Operations per second of independent multiply-adds, all threads.");
  py::class_<LongLivedScope>(m, "LongLived", "While entered: large blocks that stay lie apart from those that come and go.")
      .def(py::init<>())
      .def("__enter__", [](LongLivedScope& s) { s.on.emplace(); })
      .def("__exit__", [](LongLivedScope& s, const py::args&) { s.on.reset(); });
  m.def("empty_cache", &empty_cache);
  m.def("set_memory_limit", [](py::object bytes) { set_memory_limit(bytes.is_none() ? SIZE_MAX : bytes.cast<size_t>()); },
        py::arg("bytes"), "Soft limit of live tensor bytes; None removes it.");
  m.def("set_cache_limit", &set_cache_limit);
  m.def("reset_peak_memory", &reset_peak_memory);
  m.def("memory_stats", [] { return stats_dict(memory_stats()); });
  m.def("memory_snapshot", [] {
    const MemorySnapshot s = memory_snapshot();
    py::list holders;
    for (const TagUsage& h : s.holders) holders.append(py::make_tuple(h.tag, h.nbytes, h.blocks));
    py::dict d = stats_dict(s.stats);
    d["holders"] = holders;
    return d;
  });
  py::class_<Generator>(m, "Generator")
      .def(py::init([](py::object device) {
             Device d;
             MG_CHECK(device.is_none() || device_from(device.ptr(), d), Type, "Generator: device must be a device or str");
             check_device(d);
             return new Generator(d);
           }),
           py::arg("device") = py::none())
      .def("manual_seed", [](py::object self, py::int_ seed) {
             settle_pending("manual_seed");
             self.cast<Generator&>().manual_seed(seed_bits(seed));
             return self;
           })
      .def("seed", [](Generator& g) {
        settle_pending("seed");
        return g.seed();
      })
      .def("initial_seed", &Generator::initial_seed)
      .def_property_readonly("device", [](Generator& g) { return py::reinterpret_steal<py::object>(wrap_device(g.device())); })
      .def("get_state", [](Generator& g) {
        settle_pending("get_state");
        const auto state = g.get_state();
        Tensor t = empty({int64_t(state.size())}, DType::UInt8);
        std::memcpy(t->data(), state.data(), state.size());
        return t;
      })
      .def("set_state", [](py::object self, Tensor t) {
        MG_CHECK(t.defined() && t.dtype() == DType::UInt8 && t->contiguous && t.device() == Device{}, Type,
                 "set_state: expected a contiguous uint8 tensor on the CPU");
        settle_pending("set_state");
        self.cast<Generator&>().set_state({t.ptr<uint8_t>(), size_t(t.numel())});
        return self;
      })
      .def("clone_state", &copy_of)
      .def("graphsafe_get_state", &copy_of)
      .def("graphsafe_set_state", [](py::object self, Generator& other) {
        settle_pending("graphsafe_set_state");
        self.cast<Generator&>().set_state(other.get_state());
        return self;
      })
      .def(py::pickle(
          [](Generator& g) {
            settle_pending("pickle");
            const auto state = g.get_state();
            std::ostringstream device;
            device << g.device();
            return py::make_tuple(device.str(), py::bytes(reinterpret_cast<const char*>(state.data()), state.size()));
          },
          [](py::tuple t) {
            Device d;
            MG_CHECK(t.size() == 2 && device_from(py::object(t[0]).ptr(), d), Value, "Generator: not a pickled generator");
            const std::string bytes = t[1].cast<std::string>();
            Generator::State state;
            MG_CHECK(bytes.size() == state.size(), Value, "Generator: a pickled state has ", state.size(), " bytes: got ", bytes.size());
            std::copy(bytes.begin(), bytes.end(), state.begin());
            return generator_in_state(d, state);
          }));
  m.attr("default_generator") = py::cast(&default_generator(), py::return_value_policy::reference);
  m.def("manual_seed", [](py::int_ seed) {
    settle_pending("manual_seed");
    manual_seed(seed_bits(seed));
    return py::cast(&default_generator(), py::return_value_policy::reference);
  });
  m.def("random_device_seed", &random_device_seed);
}

}  // namespace mg::python
