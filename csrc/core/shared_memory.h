// Memory that several processes map. A segment is an anonymous file (memfd): it has no name, so nothing can be left behind in /dev/shm
// however a process dies; the kernel frees it with the last mapping or descriptor. It travels as a descriptor over a Unix socket.
//
// Layout: one cache line of header (`state`), then the bytes. Who may use it: csrc/python/bind_shared.cpp, for
// minigrad/multiprocessing (tensors in queues) and minigrad/data (batches from worker processes).
//
// Note [Leased segments]: a worker writes a batch into a segment, sets it Busy and sends it; the receiver holds a SegmentLease through
// the storages of the batch's tensors, whose end stores Free: the worker may write the next batch there, and neither side pays page
// faults again. A fork while a lease is open gives the batch two holders that know nothing of each other, so such a lease ends as
// Retired: the segment is never written again.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "storage.h"
#include "tensor.h"

namespace mg {

enum class SegmentState : uint32_t { Free = 0, Busy = 1, Retired = 2 };

class SharedSegment {
 public:
  static std::shared_ptr<SharedSegment> create(size_t nbytes);
  // Maps the segment behind `fd`, which it takes over; the same object again while this process has it mapped.
  static std::shared_ptr<SharedSegment> open(int fd);
  SharedSegment(const SharedSegment&) = delete;
  SharedSegment& operator=(const SharedSegment&) = delete;
  ~SharedSegment();

  char* data() const { return static_cast<char*>(mapping_) + kHeader; }
  size_t nbytes() const { return mapped_ - kHeader; }
  int fd() const { return fd_; }
  void close_fd();  // the mapping stays; the segment cannot be sent any more
  SegmentState state() const { return header().load(std::memory_order_acquire); }
  void set_state(SegmentState s) { header().store(s, std::memory_order_release); }

 private:
  static constexpr size_t kHeader = 64;
  SharedSegment(int fd, void* mapping, size_t mapped, uint64_t inode) : fd_(fd), mapping_(mapping), mapped_(mapped), inode_(inode) {}
  static std::shared_ptr<SharedSegment> map(int fd, size_t mapped, uint64_t inode);
  std::atomic<SegmentState>& header() const { return *static_cast<std::atomic<SegmentState>*>(mapping_); }

  int fd_;
  void* mapping_;
  size_t mapped_;
  uint64_t inode_;
};

// Keeps a segment mapped for the storages on it. `returned`: at the end the segment goes back to its writer.
class SegmentLease {
 public:
  SegmentLease(std::shared_ptr<SharedSegment> segment, bool returned);
  ~SegmentLease();
  SegmentLease(const SegmentLease&) = delete;
  SegmentLease& operator=(const SegmentLease&) = delete;
  const std::shared_ptr<SharedSegment>& segment() const { return segment_; }
  bool returned() const { return returned_; }

 private:
  std::shared_ptr<SharedSegment> segment_;
  bool returned_;
  uint32_t forks_;  // of this process when the lease began
};

Ref<Storage> storage_on(const std::shared_ptr<SegmentLease>& lease, size_t offset, size_t nbytes);
// The lease a storage lives on; null for ordinary memory.
const SegmentLease* lease_of(const Storage& storage);
// Moves the bytes of a storage into a segment of its own, under all tensors on it; returns that segment. Nothing moves when it has one.
std::shared_ptr<SharedSegment> share_storage(Storage& storage);

}  // namespace mg
