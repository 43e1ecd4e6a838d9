// A block of memory that is handed out in parts: what a plan lays out by life times. A part that leaves becomes a block like any other, freed
// by whoever holds it last; what is left goes back with the Region. So nothing that a run gave away keeps the rest.
#pragma once
#include <vector>

#include "storage.h"

namespace mg {

class Region {
 public:
  static constexpr size_t kGranule = 512;  // parts begin at multiples of it
  Region() = default;
  explicit Region(size_t nbytes);
  Region(Region&& other) noexcept { *this = std::move(other); }
  Region& operator=(Region&& other) noexcept;
  ~Region() { give_back(); }
  char* data() const { return data_; }  // null: none
  /// The bytes from `from` on, with their contents, as a storage of their own; null where parts cannot leave (AddressSanitizer's builds).
  /// `nbytes` is above 64 KiB, and each byte leaves once.
  Ref<Storage> part(size_t from, size_t nbytes);

 private:
  void give_back() noexcept;
  char* data_ = nullptr;
  size_t nbytes_ = 0;
  std::vector<size_t> left_;  // where the blocks that are still ours begin
};

}  // namespace mg
