// A growing list of plain values with room for N before it asks for memory: small graphs would spend their time in malloc.
#pragma once
#include <cstring>
#include <memory>
#include <type_traits>

namespace mg {

template <class T, int N>
class InlineVec {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  InlineVec() = default;
  InlineVec(const InlineVec&) = delete;
  InlineVec& operator=(const InlineVec&) = delete;

  void push_back(T v) {
    if (size_ == capacity_) [[unlikely]] grow();
    data_[size_++] = v;
  }
  void pop_back() { --size_; }
  T& back() { return data_[size_ - 1]; }
  T& operator[](size_t i) { return data_[i]; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

 private:
  void grow() {
    std::unique_ptr<T[]> larger(new T[capacity_ * 2]);
    std::memcpy(larger.get(), data_, size_ * sizeof(T));
    heap_ = std::move(larger);
    data_ = heap_.get();
    capacity_ *= 2;
  }
  T inline_[N];
  T* data_ = inline_;
  size_t size_ = 0, capacity_ = N;
  std::unique_ptr<T[]> heap_;
};

}  // namespace mg
