// Fused kernels (core/fused.h) as code generators see them: Graph.fused_programs -> FusedKernel objects whose steps can be read, and whose
// code can be set.
#include <pybind11/stl.h>

#include "../cpu/fused_kernel.h"
#include "../graph/graph.h"
#include "plain_data.h"

namespace mg::python {

namespace {

py::dict operand_data(const FusedOperand& o) {
  py::dict d;
  d["dtype"] = owned(wrap_dtype(o.dtype));
  d["strides"] = whole_numbers(o.strides);
  d["written"] = o.written;
  return d;
}

py::dict step_data(const FusedStep& s) {
  constexpr const char* kinds[] = {"load", "constant", "apply", "cast", "reduce", "reduce_rows", "reduce_all", "store"};
  constexpr const char* levels[] = {"element", "row", "column", "total"};
  py::dict d;
  d["kind"] = kinds[int(s.kind)];
  d["level"] = levels[int(s.level)];
  d["op"] = s.op == nullptr ? py::object(py::none()) : py::str(s.op->name);
  d["row"] = s.row == nullptr ? py::object(py::none()) : py::str(s.row->name);
  d["arity"] = s.row == nullptr ? int(s.args.size()) : s.row->arity;
  d["dtype"] = owned(wrap_dtype(s.dtype));
  d["compute"] = owned(wrap_dtype(s.compute));
  d["args"] = s.args;
  d["operand"] = s.operand;
  d["number"] = s.kind == FusedStep::Kind::Constant ? owned(value_to_python(s.number)) : py::none();
  return d;
}

py::list programs_of(const Graph& g) {
  py::list out;
  for (const GraphCall& call : g.calls)
    if (call.fused) out.append(call.fused);
  return out;
}

void set_code(FusedKernel& kernel, uintptr_t address, py::object alive) {
  auto held = std::shared_ptr<void>(alive.release().ptr(), [](void* o) {
    const py::gil_scoped_acquire gil;
    Py_DECREF(static_cast<PyObject*>(o));
  });
  kernel.code = reinterpret_cast<FusedCode>(address);
  kernel.alive = std::move(held);
}

}  // namespace

void bind_fused(py::module_& m) {
  py::class_<FusedKernel, std::shared_ptr<FusedKernel>>(m, "FusedKernel", "A group of calls run as one; `steps` and `operands` are data.")
      .def_property_readonly("sizes", [](const FusedKernel& k) { return whole_numbers(k.program.sizes); })
      .def_property_readonly("n_inputs", [](const FusedKernel& k) { return k.program.n_inputs; })
      .def_property_readonly("operands", [](const FusedKernel& k) {
        py::list out;
        for (const FusedOperand& o : k.program.operands) out.append(operand_data(o));
        return out;
      })
      .def_property_readonly("steps", [](const FusedKernel& k) {
        py::list out;
        for (const FusedStep& s : k.program.steps) out.append(step_data(s));
        return out;
      })
      .def_property_readonly("structure", [](const FusedKernel& k) { return structure(k.program) + (cpu::is_large(k.program) ? "large\n" : ""); })
      .def_property_readonly("large", [](const FusedKernel& k) { return cpu::is_large(k.program); }, "Whether code for the CPU stores around the caches.")
      .def_property_readonly("takes_code", [](const FusedKernel& k) { return k.code == nullptr && dynamic_cast<const cpu::CpuFusedKernel*>(&k) != nullptr; },
                             "Whether code for the CPU may be set and none is.")
      .def_property_readonly("has_code", [](const FusedKernel& k) { return k.code != nullptr; })
      .def("set_code", &set_code, "set_code(address, alive): runs the function there from now on; `alive` is kept as long.")
      .def("run", [](const FusedKernel& k, const std::vector<uintptr_t>& addresses) {
        MG_CHECK(addresses.size() == k.program.operands.size(), Value, "fused: got ", addresses.size(), " addresses, expected ", k.program.operands.size());
        std::vector<void*> operands;
        for (const uintptr_t a : addresses) operands.push_back(reinterpret_cast<void*>(a));
        k.run(operands.data());
      }, "run(addresses): of the operands' first elements, in order")
      .def("__str__", [](const FusedKernel& k) { return to_string(k.program); });
  m.def("fused_programs", &programs_of, "The FusedKernels of a Graph, in the order of its calls.");
}

}  // namespace mg::python
