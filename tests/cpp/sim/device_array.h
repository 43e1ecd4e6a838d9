// A device array for the tests: RAII, filled from and read into host vectors.
#pragma once
#include <vector>

#include "../../../csrc/cuda/cuda_portable.h"
#include "../check.h"

#define OK(...) CHECK((__VA_ARGS__) == cudaSuccess)
using mg::cuda::launch;

template <class T>
struct DeviceArray {
  T* data = nullptr;
  size_t n;
  explicit DeviceArray(size_t count) : n(count) { OK(cudaMalloc(&data, n * sizeof(T))); }
  explicit DeviceArray(const std::vector<T>& host) : DeviceArray(host.size()) {
    OK(cudaMemcpy(data, host.data(), n * sizeof(T), cudaMemcpyHostToDevice));
  }
  DeviceArray(const DeviceArray&) = delete;
  ~DeviceArray() { (void)cudaFree(data); }
  std::vector<T> host() const {
    std::vector<T> out(n);
    OK(cudaMemcpy(out.data(), data, n * sizeof(T), cudaMemcpyDeviceToHost));
    return out;
  }
};
