// Intrusive reference counting for Storage, TensorImpl, Node. `T` has `std::atomic<uint32_t> refs` and `static void destroy(T*)`.
#pragma once
#include <atomic>
#include <cstdint>
#include <utility>

namespace mg {

template <class T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* p) : p_(p) { retain(); }
  Ref(const Ref& o) : p_(o.p_) { retain(); }
  Ref(Ref&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  Ref& operator=(const Ref& o) {
    Ref(o).swap(*this);
    return *this;
  }
  Ref& operator=(Ref&& o) noexcept {
    Ref(std::move(o)).swap(*this);
    return *this;
  }
  ~Ref() { release(); }

  // Takes over a reference that the caller already owns.
  static Ref adopt(T* p) {
    Ref r;
    r.p_ = p;
    return r;
  }
  T* get() const { return p_; }
  T* operator->() const { return p_; }
  T& operator*() const { return *p_; }
  explicit operator bool() const { return p_ != nullptr; }
  bool operator==(const Ref& o) const { return p_ == o.p_; }
  void swap(Ref& o) noexcept { std::swap(p_, o.p_); }
  void reset() { Ref().swap(*this); }
  T* detach() { return std::exchange(p_, nullptr); }
  uint32_t use_count() const { return p_ ? p_->refs.load(std::memory_order_relaxed) : 0; }

 private:
  void retain() {
    if (p_) p_->refs.fetch_add(1, std::memory_order_relaxed);
  }
  void release() {
    if (p_ == nullptr) return;
    // The sole owner needs no locked instruction: nobody else can be taking a reference.
    if (p_->refs.load(std::memory_order_acquire) == 1 || p_->refs.fetch_sub(1, std::memory_order_acq_rel) == 1) T::destroy(p_);
  }
  T* p_ = nullptr;
};

// A new object with its first reference, without a locked instruction.
template <class T>
Ref<T> make_ref() {
  T* p = new T;
  p->refs.store(1, std::memory_order_relaxed);
  return Ref<T>::adopt(p);
}

}  // namespace mg
