// See prepared.h.
#include "prepared.h"

#include <algorithm>
#include <unordered_map>

namespace mg {

namespace {

struct Registry {
  std::mutex mutex;
  std::unordered_map<const Storage*, std::weak_ptr<PreparedWeight>> weights;
};
Registry& registry() {
  static Registry& r = *new Registry;  // storages may die after static objects
  return r;
}

constinit thread_local PreparedWeight* current = nullptr;

bool contains(const void* begin, size_t nbytes, const void* p) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(p), from = reinterpret_cast<uintptr_t>(begin);
  return at >= from && at - from < nbytes;
}

}  // namespace

std::shared_ptr<PreparedWeight> PreparedWeight::of(Storage& s) {
  const Stamp now = stamp_of(s);
  std::shared_ptr<PreparedWeight> old;  // given up after the lock
  const std::lock_guard lock(registry().mutex);
  std::weak_ptr<PreparedWeight>& known = registry().weights[&s];
  old = known.lock();
  if (old && old->is_of(now)) return old;
  const auto fresh = std::make_shared<PreparedWeight>(now);
  known = fresh;
  s.has_prepared = true;
  return fresh;
}

PreparedWeight::~PreparedWeight() {
  const std::lock_guard lock(registry().mutex);
  if (dead_.load(std::memory_order_acquire)) return;
  const auto found = registry().weights.find(stamp_.storage);
  if (found != registry().weights.end() && found->second.expired()) registry().weights.erase(found);
}

void forget_prepared(const Storage* s) {
  std::shared_ptr<PreparedWeight> weight;
  {
    const std::lock_guard lock(registry().mutex);
    const auto found = registry().weights.find(s);
    if (found == registry().weights.end()) return;
    weight = found->second.lock();
    registry().weights.erase(found);
  }
  if (!weight) return;
  weight->dead_.store(true, std::memory_order_release);
  std::vector<PreparedWeight::Entry> entries;  // freed without the lock
  const std::lock_guard lock(weight->mutex_);
  entries.swap(weight->entries_);
}

bool PreparedWeight::covers(const void* p) const {
  if (contains(stamp_.data, stamp_.nbytes, p)) return true;
  const std::lock_guard lock(mutex_);
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& e) { return contains(e.copy->data, e.copy->nbytes, p); });
}

Ref<Storage> PreparedWeight::find(const PreparedKey& key) const {
  const std::lock_guard lock(mutex_);
  for (const Entry& e : entries_)
    if (e.key == key) return e.copy;
  return {};
}

Ref<Storage> PreparedWeight::keep(const PreparedKey& key, Ref<Storage> copy) {
  const std::lock_guard lock(mutex_);
  for (const Entry& e : entries_)
    if (e.key == key) return e.copy;
  entries_.push_back({key, copy});
  return copy;
}

int64_t PreparedWeight::bytes() const {
  const std::lock_guard lock(mutex_);
  int64_t sum = 0;
  for (const Entry& e : entries_) sum += int64_t(e.copy->nbytes);
  return sum;
}

std::shared_ptr<PreparedWeight> WeightUse::now(Storage& s) {
  const bool known = s.release == nullptr && s.lent.load(std::memory_order_acquire) == 0;
  const PreparedWeight::Stamp stamp = PreparedWeight::stamp_of(s);
  std::shared_ptr<PreparedWeight> old;  // given up after the lock
  const std::lock_guard lock(mutex_);
  if (known && prepared_ && prepared_->is_of(stamp)) return prepared_;
  old = std::move(prepared_);
  if (known && stamp == last_) prepared_ = PreparedWeight::of(s);
  last_ = known ? stamp : PreparedWeight::Stamp{};
  return prepared_;
}

std::shared_ptr<PreparedWeight> WeightUse::held() const {
  const std::lock_guard lock(mutex_);
  return prepared_;
}

PreparedWeight* prepared_now() { return current; }

PreparedScope::PreparedScope(std::shared_ptr<PreparedWeight> weight) : weight_(std::move(weight)), before_(current) { current = weight_.get(); }
PreparedScope::~PreparedScope() { current = before_; }

}  // namespace mg
