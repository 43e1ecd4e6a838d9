// A growable array with N elements inline; only what graph nodes need.
#pragma once
#include <cstddef>

namespace mg {

template <class T, int N>
class SmallVec {
 public:
  SmallVec() = default;
  ~SmallVec() {
    if (data_ != inline_) delete[] data_;
  }
  SmallVec(const SmallVec&) = delete;
  SmallVec& operator=(const SmallVec&) = delete;
  // Only valid once, on an empty vector: sizes are known when a node is made.
  void resize(int n) {
    if (n > N) data_ = new T[size_t(n)]();
    size_ = n;
  }
  int size() const { return size_; }
  T* data() { return data_; }
  const T* data() const { return data_; }
  T& operator[](int i) { return data_[i]; }
  const T& operator[](int i) const { return data_[i]; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }

 private:
  int size_ = 0;
  T* data_ = inline_;
  T inline_[N];
};

}  // namespace mg
