// Bindings of the profiler's recorder (core/profile.h); minigrad/profiler makes tables and traces of what it returns.
#include <pybind11/stl.h>

#include "../autograd/node.h"
#include "../core/profile.h"
#include "py.h"

namespace mg::python {

static uint64_t sequence_of(const TensorImpl& t) { return t.grad_fn != nullptr ? t.grad_fn->seq : 0; }

// The lines of the Python program, innermost first; the profiler's and minigrad's own are left out by Python.
static std::string python_stack() {
  py::gil_scoped_acquire gil;
  // never destroyed: at exit the interpreter would be gone
  static const auto* function = new py::object(py::module_::import("minigrad.profiler._stack").attr("current_stack"));
  return (*function)().cast<std::string>();
}

static py::tuple as_tuple(const ProfileEvent& e) {
  return py::make_tuple(int(e.kind), e.name, e.start, e.end, e.thread, e.sequence, e.memory, e.device_memory, e.inputs, e.dtypes, e.output,
                        e.stack);
}

void bind_profile(py::module_& m) {
  profile_hooks.sequence_of = sequence_of;
  profile_hooks.python_stack = python_stack;
  m.def("profile_start", [](bool shapes, bool memory, bool stack) { profile_start({shapes, memory, stack}); });
  m.def("profile_stop", [] {
    py::list out;
    for (const ProfileEvent& e : profile_stop()) out.append(as_tuple(e));
    return out;
  });
  m.def("profile_is_on", &profile_is_on);
  py::class_<ProfileScope>(m, "ProfileRange").def(py::init([](std::string name) {
    return new ProfileScope(ProfileKind::Range, std::move(name));
  }));
}

}  // namespace mg::python
