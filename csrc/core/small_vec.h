// A growable array with N elements inline; only what graph nodes need.
#pragma once
#include <memory>
#include <utility>

namespace mg {

template <class T, int N>
class SmallVec {
 public:
  SmallVec() = default;
  SmallVec(const SmallVec&) = delete;
  SmallVec& operator=(const SmallVec&) = delete;
  // Only valid once, on an empty vector: sizes are known when a node is made.
  void resize(int n) {
    if (n > N) heap_ = std::make_unique<T[]>(size_t(n));
    size_ = n;
  }
  int size() const { return size_; }
  T* data() { return heap_ ? heap_.get() : inline_; }
  const T* data() const { return heap_ ? heap_.get() : inline_; }
  T& operator[](int i) { return data()[i]; }
  const T& operator[](int i) const { return data()[i]; }
  T* begin() { return data(); }
  T* end() { return data() + size_; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size_; }

 private:
  int size_ = 0;
  std::unique_ptr<T[]> heap_;
  T inline_[N];
};

}  // namespace mg
