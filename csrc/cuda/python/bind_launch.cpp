// Starting Triton kernels from Python. A cached launch is one call of `start` (kernels/_driver.py): it looks at the
// arguments as Triton's specialiser would (types, divisibility by 16, ones), finds the variant compiled for them, packs
// the parameters and starts it on the current stream; about a microsecond, where Triton's own way takes fifty to a
// hundred. What is not compiled yet goes to Python once.
#include <pybind11/stl.h>

#include <cstdlib>
#include <map>

#include "../../core/backend_module.h"
#include "../kernels/random.h"
#include "../runtime/binaries.h"
#include "../runtime/device_memory.h"
#include "../runtime/graphs.h"
#include "bind.h"
#ifdef MINIGRAD_CUDASIM
#include "../sim/host_kernels.h"
#endif

namespace mg::cuda {
namespace {

constexpr int kMaxParameters = 128;

struct Variant {
  void* function = nullptr;
  LaunchShape shape;
  std::vector<int> arguments;  // which run-time argument each parameter is; -1: one of Triton's two scratch pointers
  std::vector<int> widths;
  std::vector<char> kinds;    // 'p' pointer, 'i' integer, 'f' fp32, 'd' fp64
  size_t global_scratch = 0;  // bytes a program, allocated for each launch
};

// The variants of one kernel with one set of constants: by what the run-time arguments look like.
struct Family {
  std::vector<char> fixed;  // 1: an int of this argument is not looked at closer (do_not_specialize)
  std::map<std::string, Variant> variants;
};

union Slot {
  uint64_t u;
  int64_t i;
  float f;
  double d;
};

struct Arguments {
  Slot slots[kMaxParameters];
  std::string signature;  // what they look like
  int device = -1;
  TensorImpl* tensors[kMaxParameters];
  int n_tensors = 0;

  Arguments(PyObject* args, const Family& family) {
    const Py_ssize_t n = PyTuple_GET_SIZE(args);
    MG_CHECK(n < kMaxParameters - 2, Value, "launch: ", n, " arguments, at most ", kMaxParameters - 3, " are possible");
    signature.reserve(size_t(n) * 2 + 2);
    for (Py_ssize_t k = 0; k < n; ++k) look(PyTuple_GET_ITEM(args, k), int(k), family);
    signature.push_back(char('0' + std::max(device, 0)));
  }

 private:
  void look(PyObject* o, int k, const Family& family) {
    if (TensorImpl* t = tensor_of_object(o)) return look_at(*t, k);
    slots[k].u = 0;
    if (o == Py_None) {
      signature.push_back('n');
    } else if (PyBool_Check(o)) {
      slots[k].u = o == Py_True;
      signature.push_back('b');
    } else if (PyLong_Check(o)) {
      look_at_integer(o, k, size_t(k) < family.fixed.size() && family.fixed[size_t(k)]);
    } else if (PyFloat_Check(o)) {
      slots[k].d = PyFloat_AS_DOUBLE(o);
      signature.push_back('f');
    } else {
      fail(ErrorKind::Type, "launch: argument ", k, " is a ", Py_TYPE(o)->tp_name,
           "; kernels take tensors, ints, floats, bools and None");
    }
  }
  void look_at(TensorImpl& t, int k) {
    MG_CHECK(t.device.type == DeviceType::CUDA, Runtime, "launch: argument ", k, " is on ", t.device,
             ", kernels need CUDA tensors. Try x.cuda().");
    MG_CHECK(device < 0 || device == t.device.index, Runtime, "launch: arguments on cuda:", device, " and on ",
             t.device);
    device = t.device.index;
    slots[k].u = reinterpret_cast<uint64_t>(t.data());
    signature.push_back(slots[k].u % 16 == 0 ? 'P' : 'p');
    signature.push_back(char('0' + int(t.dtype)));
    tensors[n_tensors++] = &t;
  }
  void look_at_integer(PyObject* o, int k, bool fixed) {
    int overflow = 0;
    slots[k].i = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (overflow > 0) {
      slots[k].u = PyLong_AsUnsignedLongLong(o);
      if (PyErr_Occurred()) throw py::error_already_set();
    }
    MG_CHECK(overflow >= 0, Value, "launch: argument ", k, " does not fit 64 bits");
    const int64_t i = slots[k].i;
    const char width = overflow ? 'u' : i >= INT32_MIN && i <= INT32_MAX ? 'i' : 'l';
    signature.push_back(fixed ? width : i == 1 && !overflow ? '1' : slots[k].u % 16 == 0 ? char(width - 32) : width);
  }
};

Variant make_variant(const py::dict& d) {
  Variant v;
  v.function = reinterpret_cast<void*>(d["function"].cast<uintptr_t>());
  v.shape.warps = d["warps"].cast<int>();
  v.shape.ctas = d["ctas"].cast<int>();
  v.shape.shared = d["shared"].cast<int>();
  v.shape.pdl = d["pdl"].cast<bool>();
  v.shape.cooperative = d["cooperative"].cast<bool>();
  v.global_scratch = d["global_scratch"].cast<size_t>();
  for (const py::handle p : d["parameters"]) {
    const auto parameter = py::reinterpret_borrow<py::tuple>(p);
    v.arguments.push_back(parameter[0].cast<int>());
    v.widths.push_back(parameter[1].cast<int>());
    v.kinds.push_back(parameter[2].cast<std::string>()[0]);
  }
  MG_CHECK(v.arguments.size() <= kMaxParameters, Value, "launch: too many parameters");
  return v;
}

void start_variant(const Variant& v, Arguments& a, const LaunchShape& shape) {
  if (several_streams()) [[unlikely]]
    for (int k = 0; k < a.n_tensors; ++k) note_use(*a.tensors[k]);
  Slot values[kMaxParameters];
  void* parameters[kMaxParameters];
  void* scratch = nullptr;
  if (v.global_scratch != 0)
    scratch = device_memory(a.device).allocate(v.global_scratch * shape.grid[0] * shape.grid[1] * shape.grid[2] *
                                               size_t(shape.ctas));
  const int n = int(v.arguments.size());
  bool first_scratch = true;
  for (int k = 0; k < n; ++k) {
    parameters[k] = &values[k];
    if (v.arguments[size_t(k)] < 0) {
      values[k].u = first_scratch ? reinterpret_cast<uint64_t>(scratch) : 0;
      first_scratch = false;
      continue;
    }
    values[k] = a.slots[v.arguments[size_t(k)]];
    if (v.kinds[size_t(k)] == 'f') values[k].f = float(values[k].d);
  }
  launch_binary(v.function, shape, current_stream(), parameters, v.widths.data(), n);
  if (scratch != nullptr) device_memory(a.device).free(scratch);  // in stream order
}

// start(family, grid, args, compile): compile(args) is called once for each new kind of arguments and returns a variant
// as a dict.
void start(Family& family, const py::tuple& grid, const py::tuple& args, const py::object& compile) {
  Arguments a(args.ptr(), family);
  MG_CHECK(a.device >= 0, Runtime, "launch: no argument is a tensor");
  LaunchShape shape;
  const Py_ssize_t axes = PyTuple_GET_SIZE(grid.ptr());
  MG_CHECK(axes >= 1 && axes <= 3, Value, "launch: a grid has 1 to 3 axes, got ", axes);
  for (Py_ssize_t k = 0; k < axes; ++k) {
    const long n = PyLong_AsLong(PyTuple_GET_ITEM(grid.ptr(), k));
    if (n == -1 && PyErr_Occurred()) throw py::error_already_set();
    MG_CHECK(n > 0 && n < (k == 0 ? 1L << 31 : 65536L), Value, "launch: axis ", k, " of the grid is ", n);
    shape.grid[k] = unsigned(n);
  }
  const DeviceGuard guard(a.device);
  auto found = family.variants.find(a.signature);
  if (found == family.variants.end())
    found = family.variants.emplace(a.signature, make_variant(compile(args).cast<py::dict>())).first;
  const Variant& v = found->second;
  const auto grid_of_call = shape;
  shape = v.shape;
  std::copy(grid_of_call.grid, grid_of_call.grid + 3, shape.grid);
  start_variant(v, a, shape);
  static const bool synchronous = std::getenv("MINIGRAD_CUDA_SYNC") != nullptr;
  if (synchronous && !capturing()) check(cudaStreamSynchronize(current_stream()), "kernel");
}

// For Triton's own way of launching, kernel[grid](...): parameters given as (bytes of each).
void launch_packed(uintptr_t function, const py::tuple& grid, int warps, int ctas, int shared, bool pdl,
                   bool cooperative, uintptr_t stream, const py::list& packed) {
  LaunchShape shape{{}, warps, ctas, shared, pdl, cooperative};
  for (size_t k = 0; k < 3; ++k) shape.grid[k] = grid[k].cast<unsigned>();
  std::vector<std::string> bytes;
  for (const py::handle p : packed) bytes.push_back(p.cast<std::string>());
  std::vector<void*> parameters;
  std::vector<int> widths;
  for (std::string& b : bytes) parameters.push_back(b.data()), widths.push_back(int(b.size()));
  launch_binary(reinterpret_cast<void*>(function), shape, reinterpret_cast<cudaStream_t>(stream), parameters.data(),
                widths.data(), int(parameters.size()));
}

}  // namespace

void bind_launch(py::module_& m) {
  m.def("load_binary", [](const std::string& code, const std::string& name, int shared, int device) {
    const DeviceGuard guard(device);
    const Binary b = load_binary(code.data(), code.size(), name, shared);
    return py::make_tuple(reinterpret_cast<uintptr_t>(b.module), reinterpret_cast<uintptr_t>(b.function), b.registers,
                          b.local_bytes / 4, b.max_threads);
  });
  m.def("unload_binary", [](uintptr_t module) { unload_binary(reinterpret_cast<void*>(module)); });
  m.def("launch_packed", &launch_packed);
  // Random numbers for a kernel in Python: takes `numbers` 32-bit ones and writes seed and position, two int64, to device memory; of the
  // device's own generator where None is given. In a captured graph the replay writes them.
  m.def("draw_range", [](uintptr_t to, const py::object& generator, uint64_t numbers, int device) {
    Generator& from = generator.is_none() ? default_generator({DeviceType::CUDA, int8_t(device)}) : generator.cast<Generator&>();
    write_range(reinterpret_cast<int64_t*>(to), reserve(from, numbers));
  });
  py::class_<Family>(m, "KernelFamily", py::module_local())
      .def(py::init([](const std::vector<bool>& fixed) { return Family{{fixed.begin(), fixed.end()}, {}}; }))
      .def("start", &start)
      .def("__len__", [](const Family& f) { return f.variants.size(); });
#ifdef MINIGRAD_CUDASIM
  m.def("sim_last_launch", [] {
    const NotedLaunch& n = last_launch();
    py::list parameters;
    for (const std::string& p : n.parameters) parameters.append(py::bytes(p));
    py::dict d;
    d["name"] = n.name;
    d["grid"] = py::make_tuple(n.shape.grid[0], n.shape.grid[1], n.shape.grid[2]);
    d["warps"] = n.shape.warps;
    d["shared"] = n.shape.shared;
    d["stream"] = n.stream;
    d["parameters"] = parameters;
    return d;
  });
  // For Triton's interpreter, which runs a kernel as host code on device memory.
  m.def("sim_enter", [] { cudasim::enter_device(); });
  m.def("sim_leave", [](const std::string& what, const std::vector<uintptr_t>& addresses) {
    std::vector<const void*> pointers;
    for (const uintptr_t a : addresses) pointers.push_back(reinterpret_cast<const void*>(a));
    check(cudasim::leave_device(what, pointers), what);
  });
#endif
}

}  // namespace mg::cuda
