#pragma once
#include <vector>

namespace mg {

// A vector whose memory the next backward of this thread uses again: small graphs would spend their time in malloc.
template <class T>
struct Reused : std::vector<T> {
  Reused() { this->swap(spare()); }
  ~Reused() {
    this->clear();
    if (this->capacity() > spare().capacity()) this->swap(spare());
  }
  static std::vector<T>& spare() {
    static thread_local std::vector<T> v [[gnu::tls_model("initial-exec")]];
    return v;
  }
};

}  // namespace mg
