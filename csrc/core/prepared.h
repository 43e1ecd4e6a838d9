// Prepared weights: what kernels make of a weight before they multiply with it (packed panels, transformed filters), kept from call to call
// for as long as the weight stays what it is.
//
// A plan has a WeightUse for each step that reads a weight (graph/plan.cpp) and lets a PreparedScope stand around the step's kernel; a kernel
// asks find() with a key that names all its copy depends on, and keep()s what it made (cpu/prepared.h). Eager calls have no scope and keep
// nothing. Plans that use one weight share its copies.
// Invariant: a copy is of the bytes that the weight has now. It is given up when the weight was written to (`version`, `unseen_writes`),
// moved or freed; memory that others may write to unnoticed (foreign, shared, lent) is never prepared.
#pragma once
#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include "storage.h"

namespace mg {

struct PreparedKey {
  const char* how;     // a literal: one per place that prepares
  const void* source;  // the first element
  std::array<int64_t, 16> sizes{};  // all else that the copy depends on
  bool operator==(const PreparedKey&) const = default;
};

// The copies of one storage in one state.
class PreparedWeight {
 public:
  struct Stamp {
    const Storage* storage = nullptr;
    const void* data = nullptr;
    size_t nbytes = 0;
    uint32_t version = 0, unseen_writes = 0;
    bool operator==(const Stamp&) const = default;
  };
  static Stamp stamp_of(const Storage& s) { return {&s, s.data, s.nbytes, s.version, s.unseen_writes}; }
  /// Of a living storage in its present state; the same object as long as somebody holds it.
  static std::shared_ptr<PreparedWeight> of(Storage& s);

  explicit PreparedWeight(const Stamp& stamp) : stamp_(stamp) {}
  ~PreparedWeight();
  bool is_of(const Stamp& now) const { return !dead_.load(std::memory_order_acquire) && stamp_ == now; }
  /// Whether p lies in the weight, or in a copy of it.
  bool covers(const void* p) const;
  Ref<Storage> find(const PreparedKey& key) const;
  /// The copy that is kept: another thread may have been first.
  Ref<Storage> keep(const PreparedKey& key, Ref<Storage> copy);
  int64_t bytes() const;

 private:
  friend void forget_prepared(const Storage* s);
  struct Entry {
    PreparedKey key;
    Ref<Storage> copy;
  };
  const Stamp stamp_;
  std::atomic<bool> dead_{false};  // its storage is
  mutable std::mutex mutex_;
  std::vector<Entry> entries_;
};

/// The storage is about to be freed.
void forget_prepared(const Storage* s);

// How one step of a plan uses its weight: copies are made once it was found unchanged, so that what is trained is never prepared.
class WeightUse {
 public:
  /// For the run that begins; null when nothing may be kept.
  std::shared_ptr<PreparedWeight> now(Storage& s);
  std::shared_ptr<PreparedWeight> held() const;

 private:
  mutable std::mutex mutex_;
  PreparedWeight::Stamp last_;
  std::shared_ptr<PreparedWeight> prepared_;
};

/// Of the kernel that runs on this thread, or null.
PreparedWeight* prepared_now();

class PreparedScope {
 public:
  explicit PreparedScope(std::shared_ptr<PreparedWeight> weight);
  ~PreparedScope();
  PreparedScope(const PreparedScope&) = delete;

 private:
  std::shared_ptr<PreparedWeight> weight_;
  PreparedWeight* before_;
};

}  // namespace mg
