// See region.h.
#include "region.h"

#include <algorithm>

#include "allocator_central.h"

namespace mg {

using namespace detail;

Region::Region(size_t nbytes) : data_(static_cast<char*>(cpu_alloc(nbytes))), nbytes_(nbytes), left_{0} {}

Region& Region::operator=(Region&& other) noexcept {
  if (this == &other) return *this;
  give_back();
  data_ = std::exchange(other.data_, nullptr);
  nbytes_ = other.nbytes_;
  left_ = std::move(other.left_);
  return *this;
}

void Region::give_back() noexcept {
  if (data_ == nullptr) return;
  for (size_t at : left_) cpu_free(data_ + at, nbytes_);
  data_ = nullptr;
}

Ref<Storage> Region::part(size_t from, size_t nbytes) {
  if (kPassThrough) return {};
  MG_INTERNAL(nbytes > kSmallMax && from % kGranule == 0 && from + nbytes <= nbytes_, "part of a region: ", nbytes, " from ", from, " of ", nbytes_);
  Ref<Storage> part = make_ref<Storage>();
  const size_t size = (nbytes + kGranule - 1) / kGranule * kGranule;
  left_.reserve(left_.size() + 1);
  const auto piece = std::find_if(left_.begin(), left_.end(), [&](size_t at) { return at <= from; });  // descending
  {
    Central& m = central();
    const std::lock_guard lock(m.mutex);
    const bool kept = m.kept_blocks.count(data_ + *piece) != 0;
    BlockCache& cache = kept ? m.kept : m.blocks;
    const auto split = [&](size_t begin, size_t at) {
      cache.split_live(data_ + begin, at - begin);
      if (kept) m.kept_blocks.insert(data_ + at);
      ++m.large_blocks;
    };
    const bool first = *piece == from;
    if (!first) split(*piece, from);
    const bool last = cache.block_size(data_ + from) == size;
    if (!last) split(from, from + size);
    if (first && last) left_.erase(piece);
    else if (first) *piece = from + size;
    else if (!last) left_.insert(piece, from + size);
  }
  part->data = data_ + from;
  part->nbytes = nbytes;
  return part;
}

}  // namespace mg
