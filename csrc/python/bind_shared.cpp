// Shared memory seen from Python: what minigrad/multiprocessing and minigrad/data build on. Also the watch that ends a worker process
// when its parent is gone.
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "../autograd/handler.h"
#include "../core/dataless.h"
#include "../core/layout.h"
#include "../core/shared_memory.h"
#include "py.h"

#if defined(__linux__)
#include <sys/syscall.h>
#endif

namespace mg::python {

namespace {

Dims dims_of(const py::tuple& values) {
  MG_CHECK(values.size() <= size_t(kMaxDims), Runtime, "shared memory: tensors have at most ", kMaxDims, " dimensions: got ", values.size());
  Dims out;
  for (auto v : values) out.push_back(v.cast<int64_t>());
  return out;
}

// A tensor over bytes [offset, offset + nbytes) of the segment; `first` is its storage offset in elements.
Tensor tensor_on(const std::shared_ptr<SegmentLease>& lease, size_t offset, size_t nbytes, const py::object& dtype, const py::tuple& sizes,
                 const py::object& strides, int64_t first) {
  DType d;
  MG_CHECK(dtype_from(dtype.ptr(), d), Type, "shared memory: dtype must be a minigrad.dtype");
  MG_CHECK(offset % 64 == 0, Value, "shared memory: offset ", offset, " is no multiple of 64");
  const Dims shape = dims_of(sizes);
  checked_numel(shape, "shared memory");
  Tensor t(make_ref<TensorImpl>());
  t->dtype = d;
  t->storage = storage_on(lease, offset, nbytes);
  const Dims steps = strides.is_none() ? contiguous_strides(shape) : dims_of(py::cast<py::tuple>(strides));
  check_in_bounds(shape, steps, first, *t, "shared memory");
  t->offset = first;
  t->set_layout(shape, steps);
  return t;
}

// Copies the elements of a CPU tensor, row-major, to the segment; returns the number of bytes.
size_t write_tensor(SharedSegment& segment, size_t offset, const Tensor& t) {
  need_data(*t, "shared memory");
  MG_CHECK(t.device().type == DeviceType::CPU, Runtime, "shared memory: expected a CPU tensor: got one on ", t.device());
  const size_t n = size_t(t->nbytes());
  MG_CHECK(offset <= segment.nbytes() && n <= segment.nbytes() - offset, Value, "shared memory: ", n, " bytes do not fit");
  const Tensor dense = contiguous(t);
  if (n != 0) std::memcpy(segment.data() + offset, dense->data(), n);
  return n;
}

std::shared_ptr<SharedSegment> share(const Tensor& t) {
  settle_pending("share_memory_()");
  need_data(*t, "share_memory_()");
  MG_CHECK(t.device().type == DeviceType::CPU, NotImplemented, "share_memory_: only CPU memory is shared: got ", t.device());
  return share_storage(*t->storage);
}

// A thread of its own, without the GIL: it ends this process even while a library call of the user's dataset hangs.
void* watch_parent(void* argument) {
  const pid_t parent = pid_t(reinterpret_cast<intptr_t>(argument));
#if defined(__linux__) && defined(SYS_pidfd_open)
  const int fd = int(syscall(SYS_pidfd_open, parent, 0));
#else
  const int fd = -1;
#endif
  while (getppid() == parent) {
    pollfd watched{fd, POLLIN, 0};  // poll skips a negative descriptor: then it is a look once a second
    poll(&watched, 1, 1000);
  }
  _exit(1);
}

void exit_with_parent(pid_t parent) {
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 128 << 10);
  pthread_t thread;
  const int error = pthread_create(&thread, &attributes, watch_parent, reinterpret_cast<void*>(intptr_t(parent)));
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  MG_CHECK(error == 0, Runtime, "exit_with_parent: no thread to be had (errno ", error, ")");
}

}  // namespace

void bind_shared(py::module_& m) {
  py::class_<SharedSegment, std::shared_ptr<SharedSegment>>(m, "SharedSegment", py::buffer_protocol(), "An anonymous piece of memory that processes share.")
      .def(py::init([](size_t nbytes) { return SharedSegment::create(nbytes); }), py::arg("nbytes"))
      .def_static("open", &SharedSegment::open, py::arg("fd"), "Map the segment behind a descriptor, which it takes over.")
      .def_property_readonly("fd", &SharedSegment::fd)
      .def_property_readonly("nbytes", &SharedSegment::nbytes)
      .def("close_fd", &SharedSegment::close_fd, "Give up the descriptor; the mapping stays.")
      .def_property(
          "state", [](const SharedSegment& s) { return uint32_t(s.state()); },
          [](SharedSegment& s, uint32_t value) { s.set_state(SegmentState(value)); }, "0 free, 1 busy, 2 retired.")
      .def("write", &write_tensor, py::arg("offset"), py::arg("tensor"))
      .def(
          "lease", [](const std::shared_ptr<SharedSegment>& s, bool returned) { return std::make_shared<SegmentLease>(s, returned); },
          py::arg("returned"), "What the tensors on the segment hold; when the last is gone, a returned segment is free again.")
      .def_buffer([](SharedSegment& s) { return py::buffer_info(reinterpret_cast<uint8_t*>(s.data()), py::ssize_t(s.nbytes())); });
  py::class_<SegmentLease, std::shared_ptr<SegmentLease>>(m, "SegmentLease")
      .def("tensor", &tensor_on, py::arg("offset"), py::arg("nbytes"), py::arg("dtype"), py::arg("sizes"), py::arg("strides") = py::none(),
           py::arg("first") = 0);
  m.def("share_storage", &share, py::arg("tensor"), "Move the storage of a tensor into shared memory; returns the segment.");
  m.def("is_shared", [](const Tensor& t) { return lease_of(*t->storage) != nullptr; }, py::arg("tensor"));
  m.def("exit_with_parent", &exit_with_parent, py::arg("parent"), "End this process as soon as it is no child of `parent` any more.");
}

}  // namespace mg::python
