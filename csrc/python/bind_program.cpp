// A Graph as plain Python data, and a call of an op from such data: what minigrad/compiler/program.py saves and loads.
#include <pybind11/stl.h>

#include <algorithm>

#include "../core/fused.h"
#include "../graph/graph.h"
#include "plain_data.h"

namespace mg::python {

namespace {

// ("value", id), ("values", [id or None]) or ("number", Python object).
py::tuple argument_data(const GraphArg& a) {
  if (a.is_tensor) return py::make_tuple("value", a.ids[0]);
  if (!a.is_list) return py::make_tuple("number", owned(value_to_python(a.number)));
  py::list ids;
  for (int id : a.ids) ids.append(id < 0 ? py::object(py::none()) : py::object(py::int_(id)));
  return py::make_tuple("values", ids);
}

py::list gradient_data(const std::vector<GraphGradient>& gradients) {
  py::list out;
  for (const GraphGradient& g : gradients) out.append(py::make_tuple(g.leaf, g.value));
  return out;
}

py::dict call_data(const GraphCall& call) {
  py::dict d;
  d["line"] = call.line;
  d["outs"] = call.outs;
  if (call.host) {
    d["host"] = call.host->label;
    d["gradients"] = gradient_data(call.host->gradients);
    d["writes"] = call.host->writes;
    return d;
  }
  py::list args;
  for (const GraphArg& a : call.args) args.append(argument_data(a));
  if (call.op == nullptr) {
    py::list parts;
    for (const GraphCall& part : call.parts) parts.append(call_data(part));
    d["fused"] = call.fused ? to_string(call.fused->program) : std::string();
    d["args"] = args;
    d["parts"] = parts;
    d["writes"] = call.writes;
    return d;
  }
  d["op"] = call.op->name;
  d["inplace"] = call.mode == Write::Inplace;
  d["compute"] = owned(wrap_dtype(call.compute));
  d["args"] = args;
  return d;
}

py::dict graph_data(const Graph& g) {
  py::list values, calls;
  for (const GraphValue& v : g.values) {
    py::dict d;
    d["dtype"] = owned(wrap_dtype(v.spec.dtype));
    d["device"] = owned(wrap_device(v.spec.device));
    d["sizes"] = whole_numbers(v.spec.sizes);
    d["strides"] = whole_numbers(v.spec.strides);
    d["offset"] = v.spec.offset;
    d["storage"] = v.storage;
    d["requires_grad"] = v.requires_grad;
    values.append(d);
  }
  for (const GraphCall& call : g.calls) calls.append(call_data(call));
  py::dict out;
  out["values"] = values;
  out["calls"] = calls;
  py::list constants;
  for (const GraphConstant& c : g.constants) constants.append(py::make_tuple(c.id, c.tensor));
  out["constants"] = constants;
  out["inputs"] = g.inputs;
  out["outputs"] = g.outputs;
  out["gradients"] = gradient_data(g.gradients);
  return out;
}

// One call of a registered op with all its arguments, in the schema's order. Everything is checked as for a call from user code.
py::list call_by_name(const std::string& name, bool inplace, const py::list& given) {
  const Op* op = find_op(name);
  MG_CHECK(op != nullptr, Value, "there is no op '", name, "'");
  MG_CHECK(int(given.size()) == op->n_args, Value, name, ": got ", given.size(), " arguments, expected ", op->n_args);
  MG_CHECK(!inplace || op->mutated >= 0 || (op->n_out == 1 && op->n_args > 0 && is_tensor(given[0].ptr())), Value, name, " has no in-place form");
  MG_CHECK(op->mutated < 0 || inplace, Value, name, " writes to an argument: it is an in-place call");
  ArgBuffer buffer;
  Value values[kMaxArgs];
  for (size_t k = 0; k < op->args.size(); ++k) {
    const Arg& arg = op->args[k];
    PyObject* o = given[k].ptr();
    values[k] = o == Py_None && arg.kind == ArgKind::Generator ? Value() : convert(*op, arg, o, buffer);
  }
  Tensor outs[kMaxOutputs];
  call(*op, values, outs, inplace ? Write::Inplace : Write::Fresh);
  py::list results;
  for (int k = 0; k < op->n_outputs() && !inplace; ++k) results.append(owned(wrap(std::move(outs[k]))));
  return results;
}

// A graph of one call of `graph`: its arguments are the inputs, in the order of their first use, its results the outputs.
Graph single_call(const Graph& graph, size_t at) {
  MG_CHECK(at < graph.calls.size(), Index, "single_call: there is no call ", at);
  Graph one;
  one.values = graph.values;
  one.calls = {graph.calls[at]};
  one.outputs = graph.calls[at].outs;
  for (const GraphArg& a : graph.calls[at].args)
    for (int id : a.ids)
      if (id >= 0 && std::find(one.inputs.begin(), one.inputs.end(), id) == one.inputs.end()) one.inputs.push_back(id);
  return renumbered(std::move(one));
}

// The graph with the lines of the user's program that its calls came from.
Graph with_lines(Graph graph, const std::vector<std::string>& lines) {
  MG_CHECK(lines.size() == graph.calls.size(), Value, "with_lines: got ", lines.size(), " lines for ", graph.calls.size(), " calls");
  for (size_t k = 0; k < lines.size(); ++k) graph.calls[k].line = lines[k];
  return graph;
}

}  // namespace

void bind_program(py::module_& m) {
  m.def("graph_data", &graph_data, "A Graph as dicts and lists.");
  m.def("with_lines", &with_lines);
  m.def("single_call", &single_call);
  m.def("call_op", &call_by_name, "Calls a registered op: call_op(name, inplace, all arguments in order).");
}

}  // namespace mg::python
