// Bytes on a device, shared by all views of a tensor. The version counter lives here: every in-place op bumps it (in call(), never in a
// kernel) and saved tensors compare against it, so all views and the base see each other's mutations.
#pragma once
#include <atomic>
#include <cstdint>

#include "device.h"
#include "pool.h"
#include "ref.h"

namespace mg {

struct Storage : Pooled<Storage> {
  std::atomic<uint32_t> refs{0};
  uint32_t version = 0;
  void* data = nullptr;
  size_t nbytes = 0;
  Device device;
  bool resizable = true;
  bool has_prepared = false;             // copies made of it go with it (prepared.h)
  bool saved = false;                    // a backward node keeps, or kept, a tensor of it (autograd/node.h, forget_written)
  std::atomic<int32_t> lent{0};          // who outside may write without any counter moving: NumPy, DLPack, holders of the address
  uint32_t unseen_writes = 0;            // through `.data`: they leave `version` alone
  // Foreign memory (NumPy, DLPack, mmap): called with `owner` instead of the device allocator's free.
  void (*release)(void* owner) = nullptr;
  void* owner = nullptr;

  static Ref<Storage> allocate(size_t nbytes, Device device);
  static Ref<Storage> foreign(void* data, size_t nbytes, Device device, void (*release)(void*), void* owner);
  void resize(size_t nbytes);  // keeps the common prefix; RuntimeError for foreign memory
  static void destroy(Storage* s);
};

}  // namespace mg
