// A short vector of int64 (sizes, strides, dim lists): inline up to 6 entries, heap beyond, at most kMaxDims for shapes.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <ostream>
#include <span>

namespace mg {

constexpr int kMaxDims = 64;  // PyTorch's limit for TensorIterator

class Dims {
 public:
  static constexpr int kInline = 6;
  Dims() = default;
  explicit Dims(int n, int64_t fill = 0) {
    resize_uninitialized(n);
    std::fill(begin(), end(), fill);
  }
  Dims(std::initializer_list<int64_t> v) { assign(v.begin(), int(v.size())); }
  Dims(std::span<const int64_t> v) { assign(v.data(), int(v.size())); }
  Dims(const Dims& o) {
    if (o.heap_ == nullptr) [[likely]] copy_inline(o);
    else assign(o.heap_, o.size_);
  }
  Dims(Dims&& o) noexcept { steal(o); }
  Dims& operator=(const Dims& o) {
    if (heap_ == nullptr && o.heap_ == nullptr) [[likely]] copy_inline(o);
    else if (this != &o) assign(o.data(), o.size_);
    return *this;
  }
  Dims& operator=(Dims&& o) noexcept {
    if (this != &o) {
      drop();
      steal(o);
    }
    return *this;
  }
  ~Dims() { drop(); }

  int size() const { return size_; }
  bool empty() const { return size_ == 0; }
  int64_t* data() { return heap_ ? heap_ : inline_; }
  const int64_t* data() const { return heap_ ? heap_ : inline_; }
  int64_t& operator[](int i) { return data()[i]; }
  int64_t operator[](int i) const { return data()[i]; }
  int64_t* begin() { return data(); }
  int64_t* end() { return data() + size_; }
  const int64_t* begin() const { return data(); }
  const int64_t* end() const { return data() + size_; }
  int64_t& back() { return data()[size_ - 1]; }
  int64_t back() const { return data()[size_ - 1]; }
  operator std::span<const int64_t>() const { return {data(), size_t(size_)}; }
  bool operator==(const Dims& o) const {  // shapes are short: a loop beats memcmp
    if (size_ != o.size_) return false;
    const int64_t *a = data(), *b = o.data();
    for (int i = 0; i < size_; ++i)
      if (a[i] != b[i]) return false;
    return true;
  }
  bool operator==(std::span<const int64_t> o) const {
    return size_t(size_) == o.size() && std::equal(begin(), end(), o.begin());
  }

  void resize_uninitialized(int n) {
    if (n > kInline && n > capacity_) {
      int64_t* grown = new int64_t[size_t(n) * 2];
      std::memcpy(grown, data(), size_t(size_) * sizeof(int64_t));
      delete[] heap_;
      heap_ = grown;
      capacity_ = n * 2;
    }
    size_ = n;
  }
  void push_back(int64_t v) {
    resize_uninitialized(size_ + 1);
    back() = v;
  }
  void insert(int at, int64_t v) {
    push_back(v);
    std::rotate(begin() + at, end() - 1, end());
  }
  void erase(int at) {
    std::move(begin() + at + 1, end(), begin() + at);
    --size_;
  }
  void clear() { size_ = 0; }

 private:
  void copy_inline(const Dims& o) {  // all of it: six moves without a loop
    size_ = o.size_;
    std::memmove(inline_, o.inline_, sizeof(inline_));
  }
  void assign(const int64_t* v, int n) {
    resize_uninitialized(n);
    int64_t* to = data();
    for (int i = 0; i < n; ++i) to[i] = v[i];
  }
  void steal(Dims& o) {
    size_ = o.size_;
    capacity_ = o.capacity_;
    heap_ = o.heap_;
    if (heap_ == nullptr) std::memcpy(inline_, o.inline_, sizeof(inline_));
    o.heap_ = nullptr;
    o.size_ = o.capacity_ = 0;
  }
  void drop() {
    delete[] heap_;
    heap_ = nullptr;
    capacity_ = 0;
  }
  int size_ = 0, capacity_ = 0;
  int64_t* heap_ = nullptr;
  int64_t inline_[kInline];
};

// Prints as a Python tuple: (2, 3), (2,), ().
inline std::ostream& operator<<(std::ostream& out, const Dims& d) {
  out << '(';
  for (int i = 0; i < d.size(); ++i) out << (i ? ", " : "") << d[i];
  return out << (d.size() == 1 ? ",)" : ")");
}

}  // namespace mg
