// Planted faults: each must be caught and named. Those that end the process run in a child, whose words are read.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "device_array.h"
#include "kernels.h"

#ifdef __SANITIZE_ADDRESS__
static constexpr bool kAsan = true;
#else
static constexpr bool kAsan = false;
#endif

static bool said(const std::string& text, const char* expected) {
  if (text.find(expected) != std::string::npos) return true;
  std::fprintf(stderr, "expected '%s' in: %s\n", expected, text.c_str());
  return false;
}

// Expects the device to fail with `error` at the next wait, sticky until a reset, and the report to say `text`.
static void expect_fault(cudaError_t error, std::initializer_list<const char*> text) {
  CHECK(cudaDeviceSynchronize() == error);
  for (const char* expected : text) CHECK(said(cudasim::last_report(), expected));
  CHECK(cudaGetLastError() == error && cudaGetLastError() == error);
  void* p;
  CHECK(cudaMalloc(&p, 4) == error);
  OK(cudaDeviceReset());
  OK(cudaGetLastError());
}

template <class T>
static T* device(size_t n) {
  T* p = nullptr;
  OK(cudaMalloc(&p, n * sizeof(T)));
  return p;
}

struct Child {
  std::string words;
  bool ok;
};
template <class F>
static Child in_child(F body) {
  int pipe_ends[2];
  if (pipe(pipe_ends) != 0) return {"no pipe", true};
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(pipe_ends[1], 2);
    close(pipe_ends[0]);
    body();
    std::exit(0);
  }
  close(pipe_ends[1]);
  Child child;
  char buffer[4096];
  for (ssize_t n; (n = read(pipe_ends[0], buffer, sizeof buffer)) > 0;) child.words.append(buffer, size_t(n));
  close(pipe_ends[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  child.ok = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  return child;
}

// A write just behind the data: the fence finds it, AddressSanitizer at the very line. Far behind: the guard page stops
// it.
static void test_out_of_bounds() {
  const auto write = [](long long offset) {
    char* p = device<char>(1000);
    launch(write_at_kernel, 1, 1, 0, nullptr, p, offset);
  };
  if (kAsan) {
    for (const long long offset : {1000LL, -1LL}) {
      const Child child = in_child([&] {
        write(offset);
        (void)cudaDeviceSynchronize();
      });
      CHECK(!child.ok && said(child.words, "use-after-poison") && said(child.words, "write_at_kernel"));
    }
  } else {
    write(1000);
    expect_fault(cudaErrorIllegalAddress,
                 {"kernel launched at test_sim_faults.cpp:", "0 bytes past the end of allocation", "1000 bytes"});
    write(-3);
    expect_fault(cudaErrorIllegalAddress, {"3 bytes before allocation"});
    write(1024 + 100);
    expect_fault(cudaErrorIllegalAddress,
                 {"block (0,0,0) thread (0,0,0)", "access to", "124 bytes past the end of allocation"});
    write(-(1LL << 33));
    expect_fault(cudaErrorIllegalAddress, {"access to"});
    launch(shared_overrun_kernel, 1, 4, 0, nullptr, 6);
    expect_fault(cudaErrorIllegalAddress, {"0 bytes past the end of shared small[8] (32 bytes)"});
  }
  int *p = device<int>(4), host[8] = {};
  OK(cudaMemcpyAsync(p, host, sizeof host, cudaMemcpyHostToDevice));
  expect_fault(cudaErrorIllegalAddress, {"copy of 32 bytes", "out of bounds"});
}

// Without its barrier, a kernel gives wrong values in at least one order of the threads.
static void test_missing_barrier() {
  std::vector<float> in(256);
  for (int i = 0; i < 256; ++i) in[i] = float(i);
  bool reverse_wrong = false, neighbour_wrong = false, neighbour_wrong_forward = false;
  for (const bool reversed : {false, true}) {
    cudasim::set_reversed(reversed);
    DeviceArray<float> d(in), out(in.size()), shifted(in.size());
    launch(reverse_kernel, 1, 256, 0, nullptr, d.data, out.data, false);
    launch(neighbour_kernel, 1, 256, 0, nullptr, d.data, shifted.data);
    const auto r = out.host(), s = shifted.host();
    for (int i = 0; i < 256; ++i) {
      reverse_wrong |= r[i] != in[255 - i];
      neighbour_wrong |= s[i] != (i == 0 ? 0 : in[i - 1]);
    }
    if (!reversed) neighbour_wrong_forward = neighbour_wrong;
  }
  cudasim::set_reversed(false);
  CHECK(reverse_wrong && neighbour_wrong && !neighbour_wrong_forward);
}

static void test_barriers() {
  launch(divergent_kernel, 1, 64, 0, nullptr, device<int>(1));
  expect_fault(cudaErrorLaunchFailure, {"divergent barrier", "32 threads at __syncthreads, kernels.h:"});
  launch(deadlock_kernel, 2, 64, 0, nullptr, device<int>(64));
  expect_fault(cudaErrorLaunchFailure, {"deadlock", "32 threads in __shfl_sync with mask 0xffffffff, kernels.h:",
                                        "32 threads at __syncthreads, kernels.h:", "(16, 17, 18, 19, ...)"});
  DeviceArray<float> in(std::vector<float>(64, 1.0f)), out(64);  // and the machine still works
  launch(reverse_kernel, 1, 64, 0, nullptr, in.data, out.data, true);
  CHECK(out.host()[0] == 1);
}

static void test_other_faults() {
  launch(trap_kernel, 1, 32, 0, nullptr, nullptr);
  expect_fault(cudaErrorLaunchFailure, {"thread (5,0,0)", "__trap(), kernels.h:"});
  launch(big_shared_kernel, 1, 1, 0, nullptr, device<int>(1));
  expect_fault(cudaErrorLaunchFailure, {"shared memory: 49156 bytes with more"});
  if (kAsan) return;  // it reports these two itself, and ends
  launch(read_kernel, 1, 1, 0, nullptr, nullptr, device<int>(1));
  expect_fault(cudaErrorIllegalAddress,
               {"launched at test_sim_faults.cpp:", "in test_other_faults", "access to (nil)"});
  launch(deep_kernel, 1, 1, 0, nullptr, device<int>(1), 100000);
  expect_fault(cudaErrorLaunchFailure, {"stack overflow"});
}

static void test_host_access() {
  int host = 1;
  launch(read_kernel, 1, 1, 0, nullptr, &host, device<int>(1));
  expect_fault(cudaErrorIllegalAddress, {"argument 1 is a host pointer"});
  if (std::string(cudasim::guard()) == "off") return;
  const Child read = in_child([] {
    volatile int* p = device<int>(4);
    std::fprintf(stderr, "%d\n", p[1]);
  });
  CHECK(!read.ok && said(read.words, "host code touches device memory") && said(read.words, "byte 4 of allocation #"));
  const Child later = in_child([] {  // closed again after the device has worked on it
    int* p = device<int>(kAsan ? 4 : 2048);
    launch(fill_kernel, 1, 4, 0, nullptr, p, 4, 1);
    OK(cudaDeviceSynchronize());
    *static_cast<volatile int*>(p) = 1;
  });
  CHECK(!later.ok && said(later.words, "host code touches device memory"));
}

static void test_use_after_free() {
  cudaStream_t a, b;
  const auto streams = [&] {
    OK(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking));
    OK(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking));
  };
  streams();
  int* p = device<int>(64);
  launch(fill_kernel, 1, 64, 0, b, p, 64, 1);  // nothing orders this before the free on stream a
  OK(cudaFreeAsync(p, a));
  CHECK(cudaStreamSynchronize(a) == cudaErrorIllegalAddress);
  expect_fault(cudaErrorIllegalAddress,
               {"use after free across streams", "on stream 2 still needs it", "cudaFreeAsync on stream 1"});
  streams();
  p = device<int>(64);
  OK(cudaFreeAsync(p, a));
  launch(fill_kernel, 1, 64, 0, b, p, 64, 1);
  expect_fault(cudaErrorIllegalAddress, {"argument 1 (use after free)", "for which a cudaFreeAsync is queued"});
  p = device<int>(64);
  OK(cudaFree(p));
  launch(fill_kernel, 1, 64, 0, nullptr, p, 64, 1);
  expect_fault(cudaErrorIllegalAddress, {"argument 1 (use after free)", "byte 0 of freed allocation"});
  streams();  // a graph replayed after its memory went
  p = device<int>(64);
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  OK(cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal));
  launch(fill_kernel, 1, 64, 0, a, p, 64, 1);
  OK(cudaStreamEndCapture(a, &graph));
  OK(cudaGraphInstantiate(&executable, graph));
  OK(cudaGraphLaunch(executable, a));
  OK(cudaFree(p));
  CHECK(cudaGraphLaunch(executable, a) == cudaErrorIllegalAddress);  // names the captured kernel
  expect_fault(cudaErrorIllegalAddress, {"argument 1 (use after free)"});
  CHECK(cudaFree(p) == cudaErrorInvalidValue && said(cudasim::last_report(), "not the start of a live allocation"));
}

// What a caching allocator that hands a block to a second stream too early does: no cudaFree, yet a report.
static void test_race() {
  cudaStream_t a, b;
  cudaEvent_t event;
  OK(cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking));
  OK(cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking));
  OK(cudaEventCreate(&event));
  int *p = device<int>(64), *out = device<int>(64), *other = device<int>(64);
  launch(fill_kernel, 1, 64, 0, a, p, 64, 1);
  launch(read_kernel, 1, 1, 0, b, p, out);
  CHECK(cudasim::races() == 1 && said(cudasim::last_report(), "on stream ") &&
        said(cudasim::last_report(), "race: nothing orders it after the kernel"));
  OK(cudaDeviceSynchronize());
  launch(fill_kernel, 1, 64, 0, a, p, 64, 1);
  OK(cudaEventRecord(event, a));
  OK(cudaStreamWaitEvent(b, event));
  launch(read_kernel, 1, 1, 0, b, p, out);    // ordered
  launch(read_kernel, 1, 1, 0, a, p, other);  // both read
  CHECK(cudasim::races() == 1);
  OK(cudaDeviceReset());
}

static void test_leaks() {
  const Child child = in_child([] {
    int* p = device<int>(10);
    launch(fill_kernel, 1, 1, 0, nullptr, p, 1, 1);
  });
  CHECK(child.ok && said(child.words, "at exit: 1 device allocations (40 bytes)") &&
        said(child.words, "1 operations never ran"));
}

int main() {
  test_missing_barrier();
  test_out_of_bounds();
  test_barriers();
  test_host_access();
  test_other_faults();
  test_use_after_free();
  test_race();
  test_leaks();
  std::printf("guard: %s\n", cudasim::guard());
  return mg_test::report("test_sim_faults");
}
