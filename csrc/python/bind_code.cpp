// Generated machine code for minigrad/compiler/codegen: what it is made from, and how it is loaded.
#include <pybind11/stl.h>

#include "../core/fused.h"
#include "../cpu/code_loader.h"
#include "../cpu/pointwise_table.h"
#include "../cpu/pointwise_text.h"
#include "py.h"

namespace mg::python {

namespace {

// (name, parameters, kind, result, expression, divides) of every line of csrc/scalar.h.
py::list pointwise_lines() {
  py::list lines;
  for (const cpu::PointwiseText* t = cpu::pointwise_text; t->name != nullptr; ++t)
    lines.append(py::make_tuple(t->name, t->parameters, t->kind, t->result, t->expression, t->divides));
  return lines;
}

// (arity, result is bool, first operand is a mask, can fail, dtypes) of a kernel, or None.
py::object pointwise_kernel(const std::string& name) {
  const cpu::PointwiseKernel* row = cpu::find_pointwise(name.c_str());
  if (row == nullptr) return py::none();
  std::vector<int> dtypes;
  for (int d = 0; d < kDTypes; ++d)
    if (row->fn[d] != nullptr) dtypes.push_back(d);
  return py::make_tuple(int(row->arity), row->result == cpu::PointwiseResult::BOOL, row->mask, row->can_fail, dtypes);
}

// Of one function; keeps its code in memory.
struct Code {
  FusedCode function;
  std::shared_ptr<void> memory;
};

std::map<std::string, Code> load_code(py::bytes object) {
  const cpu::LoadedCode loaded = cpu::load_code(std::string_view(object));
  std::map<std::string, Code> codes;
  for (const auto& [name, address] : loaded.functions)
    codes[name] = {reinterpret_cast<FusedCode>(address), loaded.memory};
  return codes;
}

// For tests: all rows and columns in one piece; operands are addresses.
void call_code(const Code& code, const std::vector<uintptr_t>& operands, const std::vector<int64_t>& sizes,
               const std::vector<int64_t>& strides, std::array<int64_t, 4> range) {
  std::vector<void*> pointers;
  for (uintptr_t p : operands) pointers.push_back(reinterpret_cast<void*>(p));
  const py::gil_scoped_release release;
  code.function(pointers.data(), sizes.data(), strides.data(), range[0], range[1], range[2], range[3]);
}

}  // namespace

void bind_code(py::module_& m) {
  py::class_<Code>(m, "Code", "Generated machine code of one fused kernel.")
      .def_property_readonly("address", [](const Code& c) { return reinterpret_cast<uintptr_t>(c.function); })
      .def("call", &call_code, "call(addresses of operands, sizes, strides, (row0, row1, col0, col1))");
  m.def("can_load_code", &cpu::can_load_code);
  m.def("load_code", &load_code, "The functions of an object file.");
  m.def("pointwise_lines", &pointwise_lines);
  m.def("pointwise_kernel", &pointwise_kernel);
}

}  // namespace mg::python
