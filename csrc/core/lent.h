// Memory that somebody outside sees: while a Lent lives, writes to the storage may go unnoticed, so nothing that is made of its contents is
// kept (prepared.h); when it ends, there may have been one.
#pragma once
#include "tensor.h"

namespace mg {

class Lent {
 public:
  explicit Lent(const TensorImpl& t) : storage_(t.storage) { storage_->lent.fetch_add(1, std::memory_order_relaxed); }
  ~Lent() {
    std::atomic_ref(storage_->unseen_writes).fetch_add(1, std::memory_order_relaxed);  // on any thread
    storage_->lent.fetch_sub(1, std::memory_order_release);
  }
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;

 private:
  Ref<Storage> storage_;
};

}  // namespace mg
