// Deferral as minigrad/compiler/_segments.py sees it: Segments (of a function) and the calls of the function that it stands around.
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <chrono>

#include "../graph/defer.h"
#include "py.h"

namespace mg::python {

std::string user_line();  // bind_autograd.cpp
bool is_package_file(const char* file);

namespace {

using SegmentsPtr = std::shared_ptr<Segments>;

void let_others_run() {
  const py::gil_scoped_release release;
  std::this_thread::sleep_for(std::chrono::microseconds(50));
}

// Whether some function of the user's that runs now handles errors: one that is raised later might then be handled elsewhere.
bool may_be_caught() {
  PyFrameObject* frame = PyEval_GetFrame();
  Py_XINCREF(frame);
  bool found = false;
  while (frame != nullptr && !found) {
    const py::object code = py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(PyFrame_GetCode(frame)));
    const char* file = PyUnicode_AsUTF8(reinterpret_cast<PyCodeObject*>(code.ptr())->co_filename);
    if (file == nullptr || !is_package_file(file)) {
      const py::object table = py::getattr(code, "co_exceptiontable", py::none());
      found = table.is_none() || py::len(table) != 0;  // None: Python before 3.11, which does not tell
    } else if (reinterpret_cast<PyCodeObject*>(code.ptr())->co_name != nullptr &&
               PyUnicode_CompareWithASCIIString(reinterpret_cast<PyCodeObject*>(code.ptr())->co_name, "run_deferred") == 0) {
      break;  // where the function was called (_segments.py)
    }
    PyFrameObject* back = PyFrame_GetBack(frame);
    Py_DECREF(frame);
    frame = back;
  }
  Py_XDECREF(frame);
  PyErr_Clear();
  return found;
}

std::unordered_set<const Op*> ops_named(const std::vector<std::string>& names) {
  std::unordered_set<const Op*> out;
  for (const std::string& name : names)
    if (const Op* op = find_op(name)) out.insert(op);
  return out;
}

SegmentsPtr make_segments(std::function<std::shared_ptr<Plan>(const Graph&)> make_plan, const std::vector<std::string>& alone,
                          const std::vector<std::string>& raising) {
  auto s = std::make_shared<Segments>();
  s->make_plan = std::move(make_plan);
  s->current_line = user_line;
  s->may_be_caught = may_be_caught;
  s->wait = let_others_run;
  s->alone = ops_named(alone);
  s->raising = ops_named(raising);
  return s;
}

struct Deferral {
  Ref<Deferrer> handler;
};

void describe(const NotedCall& at, py::list& out) {
  for (const NotedCall::Ending& e : at.endings) out.append(py::make_tuple(e.plan, e.reason, e.runs));
  for (const auto& next : at.next) describe(*next, out);
}

}  // namespace

void bind_defer(py::module_& m) {
  py::class_<Deferral>(m, "Deferral", "One call of a function whose ops are deferred.")
      .def("end", [](Deferral& d) {
        struct Leave {
          Deferrer& h;
          ~Leave() {
            active_handler = h.parent;
            h.active = false;
          }
        } leave{*d.handler};
        d.handler->settle("the end of the function");
      });
  py::class_<Segments, SegmentsPtr>(m, "Segments", "What a function does between its breaks, and plans for it.")
      .def(py::init(&make_segments))
      .def("begin", [](const SegmentsPtr& s) {
        Deferral d{Ref<Deferrer>(new Deferrer(s, active_handler))};
        active_handler = d.handler.get();
        return d;
      })
      .def_property_readonly("plans", [](const Segments& s) { return s.plans; }, "How many plans were made.")
      .def_property_readonly("settled", [](const Segments& s) { return s.settled; }, "How many segments were computed.")
      .def_property_readonly("full", &Segments::full)
      .def_property_readonly("endings", [](const Segments& s) {
        py::list out;
        describe(s.root, out);
        return out;
      }, "(plan, why the segment ends there, how often it ran) of each.");
  m.def("pause_deferral", [](bool on) {
    settle_pending("compiler.disable");
    auto* h = dynamic_cast<Deferrer*>(active_handler);
    return h != nullptr && std::exchange(h->paused, on);
  }, "Whether ops of the function that runs in segments are computed as they are called; returns what it was.");
  m.def("settle_pending", [](const std::string& reason) { settle_pending(reason.c_str()); }, "Computes what this thread has deferred.");
}

}  // namespace mg::python
