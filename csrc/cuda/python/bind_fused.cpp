// Fused kernels (core/fused.h) on CUDA: the Python half (minigrad/compiler/codegen/triton_runner.py) is asked once for a program, and once for
// each alignment of its operands for the list of launches; from then on a run packs addresses and starts them, without Python. In Triton's
// interpreter every run is Python's.
#include <pybind11/stl.h>

#include <map>

#include "../../core/fused.h"
#include "../runtime/binaries.h"
#include "../runtime/device_memory.h"
#include "bind.h"

namespace mg::cuda {
namespace {

struct Parameter {
  enum class Kind : uint8_t { Operand, Scratch, Number, Workspace } kind;
  int width = 8;
  uint64_t value = 0;  // which operand or scratch, or the number
};
struct Launch {
  void* function = nullptr;
  LaunchShape shape;
  size_t workspace = 0;  // bytes that Triton wants for a launch
  std::vector<Parameter> parameters;
};
struct Launches {
  std::vector<Launch> list;
  std::vector<size_t> scratch;  // bytes of partial results
};

py::object& maker() {
  static auto* o = new py::object(py::none());  // outlives the interpreter's end
  return *o;
}

Launch launch_of(const py::dict& d) {
  Launch l;
  l.function = reinterpret_cast<void*>(d["function"].cast<uintptr_t>());
  l.shape.grid[0] = d["grid"].cast<unsigned>();
  l.shape.warps = d["warps"].cast<int>();
  l.shape.ctas = d["ctas"].cast<int>();
  l.shape.shared = d["shared"].cast<int>();
  l.workspace = d["global_scratch"].cast<size_t>() * l.shape.grid[0] * size_t(l.shape.ctas);
  for (const py::handle p : d["arguments"]) {
    const auto [kind, width, value] = p.cast<std::tuple<std::string, int, int64_t>>();
    l.parameters.push_back({kind == "operand"   ? Parameter::Kind::Operand
                            : kind == "scratch" ? Parameter::Kind::Scratch
                            : kind == "number"  ? Parameter::Kind::Number
                                                : Parameter::Kind::Workspace,
                            width, uint64_t(value)});
  }
  return l;
}

// Memory of one run, given back in stream order.
class Scratch {
 public:
  explicit Scratch(int device) : device_(device) {}
  ~Scratch() {
    for (void* p : taken_) device_memory(device_).free(p);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void* take(size_t bytes) {
    taken_.push_back(device_memory(device_).allocate(bytes));
    return taken_.back();
  }

 private:
  int device_;
  std::vector<void*> taken_;
};

void start(const Launch& l, void* const* operands, const std::vector<void*>& partials, Scratch& scratch) {
  const size_t n = l.parameters.size();
  std::vector<uint64_t> values(n);
  std::vector<void*> places(n);
  std::vector<int> widths(n);
  bool first = true;
  for (size_t k = 0; k < n; ++k) {
    const Parameter& p = l.parameters[k];
    switch (p.kind) {
      case Parameter::Kind::Operand: values[k] = reinterpret_cast<uint64_t>(operands[p.value]); break;
      case Parameter::Kind::Scratch: values[k] = reinterpret_cast<uint64_t>(partials[p.value]); break;
      case Parameter::Kind::Number: values[k] = p.value; break;
      case Parameter::Kind::Workspace:  // Triton's two: its scratch memory and its profiler's
        values[k] = first && l.workspace != 0 ? reinterpret_cast<uint64_t>(scratch.take(l.workspace)) : 0;
        first = false;
    }
    places[k] = &values[k];
    widths[k] = p.width;
  }
  launch_binary(l.function, l.shape, current_stream(), places.data(), widths.data(), int(n));
}

void start_all(const Launches& launches, void* const* operands) {
  Scratch scratch(current_device());
  std::vector<void*> partials;
  for (const size_t bytes : launches.scratch) partials.push_back(scratch.take(bytes));
  for (const Launch& l : launches.list) start(l, operands, partials, scratch);
}

Launches launches_of(const py::object& described) {
  const auto [list, scratch] = described.cast<std::pair<py::list, std::vector<size_t>>>();
  Launches found;
  for (const py::handle d : list) found.list.push_back(launch_of(py::reinterpret_borrow<py::dict>(d)));
  found.scratch = scratch;
  return found;
}

int device_of(void* address) {
  if (device_count() == 1) return 0;
  cudaPointerAttributes where;
  MG_CUDA(cudaPointerGetAttributes(&where, address));
  return where.device;
}

class TritonKernel final : public FusedKernel {
 public:
  explicit TritonKernel(FusedProgram p) : FusedKernel(std::move(p)) {}
  ~TritonKernel() override {
    if (!runner_) return;
    const py::gil_scoped_acquire gil;
    runner_ = py::object();
  }

  bool prepare() {
    const py::gil_scoped_acquire gil;
    runner_ = maker()(py::cast(static_cast<FusedKernel*>(this), py::return_value_policy::reference));
    if (runner_.is_none()) return false;
    interpreted_ = runner_.attr("interpreted").cast<bool>();
    return true;
  }

  void run(void* const* operands) const override {
    const DeviceGuard guard(device_of(operands[0]));
    if (interpreted_) {
      const py::gil_scoped_acquire gil;
      runner_(addresses(operands));
      return;
    }
    std::pair<int, std::vector<bool>> kind(current_device(), {});
    for (size_t k = 0; k < program.operands.size(); ++k) kind.second.push_back(reinterpret_cast<uintptr_t>(operands[k]) % 16 == 0);
    auto found = launches_.find(kind);
    if (found == launches_.end()) {
      const py::gil_scoped_acquire gil;
      found = launches_.emplace(kind, launches_of(runner_.attr("prepared")(addresses(operands)))).first;
    }
    start_all(found->second, operands);
  }

 private:
  std::vector<uintptr_t> addresses(void* const* operands) const {
    std::vector<uintptr_t> out;
    for (size_t k = 0; k < program.operands.size(); ++k) out.push_back(reinterpret_cast<uintptr_t>(operands[k]));
    return out;
  }

  py::object runner_;
  bool interpreted_ = false;
  mutable std::map<std::pair<int, std::vector<bool>>, Launches> launches_;  // by device and by which operands are multiples of 16 bytes
};

std::unique_ptr<FusedKernel> make(FusedProgram program) {
  auto kernel = std::make_unique<TritonKernel>(std::move(program));
  if (!kernel->prepare()) return nullptr;
  return kernel;
}

}  // namespace

void bind_fused(py::module_& m) {
  // set_fused_maker(f): f(kernel) returns the runner of a fused program, or None; None takes fusion away from the device.
  m.def("set_fused_maker", [](py::object f) {
    maker() = std::move(f);
    register_fused_factory(DeviceType::CUDA, maker().is_none() ? nullptr : &make);
  });
  m.def("start_fused", [](const py::object& described, const std::vector<uintptr_t>& addresses) {
    std::vector<void*> operands;
    for (const uintptr_t a : addresses) operands.push_back(reinterpret_cast<void*>(a));
    start_all(launches_of(described), operands.data());
  });
}

}  // namespace mg::cuda
