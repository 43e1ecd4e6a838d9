// The compiler's C++ half as minigrad/compiler sees it: Trace (a function being traced), Graph, Plan.
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include "../autograd/backward.h"
#include "../core/autocast.h"
#include "../graph/facts.h"
#include "../graph/fuse.h"
#include "../graph/join.h"
#include "../graph/recompute.h"
#include "../graph/compare.h"
#include "../graph/passes.h"
#include "../graph/plan.h"
#include "../graph/split.h"
#include "../graph/trace.h"
#include "py.h"

namespace mg::python {

std::string user_line();  // bind_autograd.cpp

namespace {

struct Trace {
  Ref<Tracer> tracer;
  bool open = false;
  bool autocast_cache = true;  // off meanwhile: the graph must have the casts
};

Trace make_trace(const std::vector<std::string>& unpredictable) {
  Trace t{Ref<Tracer>(new Tracer(active_handler != nullptr ? active_handler->level + 1 : 1, active_handler))};
  t.tracer->current_line = user_line;
  for (const std::string& name : unpredictable)
    if (const Op* op = find_op(name)) t.tracer->unpredictable.insert(op);
  return t;
}

void enter(Trace& t) {
  t.autocast_cache = autocast_cache_enabled();
  set_autocast_cache_enabled(false);
  active_handler = t.tracer.get();
  t.open = true;
}

// Everything that was met is ordinary again. `outputs`: what the function returned.
Graph leave(Trace& t, const std::vector<Tensor>& outputs) {
  for (const Tensor& o : outputs) {
    MG_CHECK(bool(o), Type, "leave: a result is None, not a tensor");
    t.tracer->graph.outputs.push_back(t.tracer->id_of(*o));
  }
  set_autocast_cache_enabled(t.autocast_cache);
  active_handler = t.tracer->parent;
  t.tracer->finish();
  t.open = false;
  return t.tracer->graph;
}

void abandon(Trace& t) {
  if (!t.open) return;
  set_autocast_cache_enabled(t.autocast_cache);
  active_handler = t.tracer->parent;
  t.tracer->finish();
  t.open = false;
}

// Positions among the inputs of leaves whose .grad the function sets.
std::vector<size_t> gradient_leaves(const Trace& t) {
  std::vector<size_t> out;
  const Graph& g = t.tracer->graph;
  auto set = [&](const std::vector<GraphGradient>& gradients, int id) {
    return std::any_of(gradients.begin(), gradients.end(), [&](const GraphGradient& x) { return x.leaf == id; });
  };
  for (size_t k = 0; k < g.inputs.size(); ++k) {
    bool any = set(g.gradients, g.inputs[k]);
    for (const GraphCall& call : g.calls) any |= call.host && set(call.host->gradients, g.inputs[k]);
    if (any) out.push_back(k);
  }
  return out;
}

// Stands for a tensor without allocating its elements.
Tensor spec_tensor(py::object dtype, py::object device, const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides) {
  Tensor t(make_ref<TensorImpl>());
  MG_CHECK(dtype_from(dtype.ptr(), t->dtype) && device_from(device.ptr(), t->device), Type, "declare: expected a dtype and a device");
  MG_CHECK(sizes.size() == strides.size() && sizes.size() <= size_t(kMaxDims), Value, "declare: got ", sizes.size(), " sizes and ", strides.size(), " strides");
  int64_t elements = 1;
  for (size_t k = 0; k < sizes.size(); ++k) {
    MG_CHECK(sizes[k] >= 0 && strides[k] >= 0, Value, "declare: a size or stride is negative");
    MG_CHECK(!__builtin_mul_overflow(elements, std::max<int64_t>(sizes[k], 1), &elements) && elements < int64_t(1) << 55 &&
                 strides[k] < int64_t(1) << 55, Value, "declare: beyond the address space");
  }
  t->storage = make_ref<Storage>();
  t->set_layout(Dims(std::span<const int64_t>(sizes)), Dims(std::span<const int64_t>(strides)));
  return t;
}

bool writes_inputs(const Graph& g) {
  std::vector<bool> given(g.values.size(), false);
  for (int id : g.inputs) given[size_t(g.values[size_t(id)].storage)] = true;
  return std::any_of(g.calls.begin(), g.calls.end(), [&](const GraphCall& c) {
    return c.host || (c.mode == Write::Inplace && given[size_t(g.values[size_t(target_of(c))].storage)]);
  });
}

py::list describe(const Graph& g) {  // one dict per call, for printing and explaining
  py::list out;
  for (const GraphCall& call : g.calls) {
    py::dict d;
    d["op"] = call.op != nullptr ? py::object(py::str(call.op->name)) : py::none();
    d["text"] = to_string(g, call);
    d["line"] = call.line;
    d["inplace"] = call.mode == Write::Inplace;
    d["outs"] = call.outs;
    out.append(d);
  }
  return out;
}

}  // namespace

void bind_trace(py::module_& m) {
  py::class_<Graph>(m, "Graph", "A traced function: op calls on numbered values.")
      .def("__str__", [](const Graph& g) { return to_string(g); })
      .def_property_readonly("calls", &describe)
      .def_property_readonly("inputs", [](const Graph& g) { return g.inputs; })
      .def_property_readonly("outputs", [](const Graph& g) { return g.outputs; })
      .def("optimized", [](const Graph& g, bool constants) { return optimize(g, constants); }, py::arg("constants") = true)
      .def("run_pass", &run_pass, "The graph after one pass, by name: Graph.passes()")
      .def_static("passes", [] {
        std::vector<std::string> names;
        for (const Pass& p : passes()) names.emplace_back(p.name);
        return names;
      })
      .def("with_structured_ops", [](const Graph& g, size_t calls) {
        Graph out = use_structured_ops(g, &calls);
        return std::pair(std::move(out), calls);
      }, "The graph with softmax, attention … that were written by hand as ops; where call number `calls` is now.")
      .def("look_at", [](Graph& g, size_t position, const Tensor& t) { g.seen.push_back({g.inputs.at(position), t}); },
           "An input that seldom changes: what it holds may decide what the graph becomes.")
      .def_property_readonly("assumed", [](const Graph& g) {
        std::vector<size_t> out;
        for (size_t k = 0; k < g.inputs.size(); ++k)
          if (std::count(g.assumed.begin(), g.assumed.end(), g.inputs[k])) out.push_back(k);
        return out;
      }, "Positions of the inputs whose elements it depends on.")
      .def("recomputed", [](const Graph& g, double budget) { return recompute(g, budget); }, py::arg("budget") = 1.0,
           "The graph with large cheap values computed again instead of kept for long; below 1 also dearer ones.")
      .def_property_readonly("peak_bytes", &peak_bytes, "What a run holds at most beside what it is given, estimated.")
      .def("fused", [](const Graph& g) { return fuse(g); }, "The graph with groups of calls replaced by fused ones (fused_programs).")
      .def("difference", &program_difference, "Where another graph does different things, in words; empty when only sizes and numbers differ.")
      .def("split", [](const Graph& g, size_t calls, size_t results, size_t cotangents) { return split(g, calls, results, cotangents); })
      .def_property_readonly("draws", [](const Graph& g) { return std::any_of(g.calls.begin(), g.calls.end(), [](const GraphCall& c) { return draws(c); }); })
      .def_property_readonly("writes", &writes_inputs, "Whether it changes tensors that it did not make.")
      .def_property_readonly("input_storages", [](const Graph& g) {
        std::vector<int> out;
        for (int id : g.inputs) out.push_back(g.values[size_t(id)].storage);
        return out;
      }, "Inputs of one number share memory.")
      .def_property_readonly("n_values", [](const Graph& g) { return g.values.size(); });
  m.def("set_least_bytes", [](int64_t bytes) { return std::exchange(least_bytes, bytes); }, "From how many bytes on values are made again: for tests.");
  py::class_<Plan, std::shared_ptr<Plan>>(m, "Plan", "A graph, fused and made ready to run.")
      .def(py::init([](const Graph& g, bool fused, double budget) {
        if (!fused) return std::make_shared<Plan>(g);
        const Graph ordered = sink(chunk_linear_cross_entropy(use_structured_ops(g, nullptr)));
        return std::make_shared<Plan>(join_updates(fuse(recompute(ordered, budget), budget < 1)));
      }), py::arg("graph"), py::arg("fused") = true, py::arg("budget") = 1.0)
      .def("run", &Plan::run)
      .def_property_readonly("graph", &Plan::graph, "What it runs: the graph after fusion.")
      .def_property_readonly("arena_bytes", &Plan::arena_bytes, "Memory of what lives inside of a run.")
      .def_property_readonly("prepared_bytes", &Plan::prepared_bytes, "Memory of what its kernels keep of weights.")
      .def("prepare_no_weights", &Plan::prepare_no_weights, "They keep nothing; before the first run.")
      .def_property_readonly("kernels", &Plan::kernels, "Calls per run that compute something.");
  py::class_<Trace>(m, "Trace", "A function being traced.")
      .def(py::init(&make_trace))
      .def("enter", &enter)
      .def("leave", &leave)
      .def("abandon", &abandon)
      .def("input", [](Trace& t, const Tensor& like) { return t.tracer->new_input(*like); })
      .def("declare", [](Trace& t, py::object dtype, py::object device, const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides) {
        return t.tracer->new_input(*spec_tensor(dtype, device, sizes, strides));
      }, "An input of this kind, as input() makes one of a tensor's kind.")
      .def("meet", [](Trace& t, const Tensor& tensor) { (void)t.tracer->id_of(*tensor); }, "The tensor becomes the next input, unless it is one.")
      .def("cotangent", [](Trace& t, const Tensor& like) {
        t.tracer->graph.cotangents.push_back(int(t.tracer->graph.values.size()));
        Tensor given = t.tracer->new_input(*like, true);
        given->requires_grad = false;
        return given;
      })
      .def("rewind", [](Trace& t, size_t calls) { t.tracer->rewind(calls); })
      .def_property_readonly("position", [](const Trace& t) { return t.tracer->graph.calls.size(); })
      .def_property_readonly("gradient_leaves", &gradient_leaves)
      .def("host", [](Trace& t, std::string label, std::function<void()> run, const std::vector<Tensor>& leaves) {
        t.tracer->host_call(std::move(label), std::move(run), leaves);
      })
      .def_property_readonly("met", [](const Trace& t) { return t.tracer->met(); })
      .def_property_readonly("asked", [](const Trace& t) { return t.tracer->asked; })
      .def_property_readonly("escaped", [](const Trace& t) { return t.tracer.use_count() - 1; });
}

}  // namespace mg::python
