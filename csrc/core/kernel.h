// How a kernel gets into the table: MG_KERNEL("op", CPU, function) beside its code. Included by op.h.
#pragma once
#include "op.h"

namespace mg {

// Kernels: one constant-initialised entry per (op, device), gathered by the linker, so no static constructors run.
struct KernelEntry {
  const char* op;
  DeviceType device;
  KernelFn fn;
  bool complex;
};
KernelFn find_kernel(std::string_view op, DeviceType device, bool complex = false);

}  // namespace mg

#define MG_CAT_(a, b) a##b
#define MG_CAT(a, b) MG_CAT_(a, b)
// MG_KERNEL serves real dtypes; the same or another function must be registered with MG_KERNEL_COMPLEX for complex compute or output
// dtypes (a null function: the real kernel, because it only moves bytes).
#define MG_KERNEL(op_name, device, fn) MG_KERNEL_ENTRY(op_name, device, fn, false)
#define MG_KERNEL_COMPLEX(op_name, device, fn) MG_KERNEL_ENTRY(op_name, device, fn, true)
#define MG_KERNEL_ENTRY(op_name, device, fn, complex)                                                              \
  static constinit const ::mg::KernelEntry MG_CAT(mg_kernel_entry_, __LINE__) = {op_name, ::mg::DeviceType::device, fn, complex}; \
  [[gnu::section("mg_kernels"), gnu::used]] static constinit const ::mg::KernelEntry* const MG_CAT(mg_kernel_ptr_, __LINE__) = \
      &MG_CAT(mg_kernel_entry_, __LINE__)
