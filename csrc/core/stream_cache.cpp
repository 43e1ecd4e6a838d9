// See stream_cache.h for the map and the invariants.
#include "stream_cache.h"

#include <algorithm>

namespace mg {

size_t StreamCache::size_of(size_t nbytes) const {
  return (std::max<size_t>(nbytes, 1) + policy_.granule - 1) / policy_.granule * policy_.granule;
}

void StreamCache::note_reserved() {
  count_.reserved = direct_bytes_;
  for (const auto& [key, cache] : caches_) count_.reserved += cache->reserved();
  count_.peak_reserved = std::max(count_.peak_reserved, count_.reserved);
}

void* StreamCache::try_allocate(size_t nbytes, Stream stream, const char* tag, Pool pool) {
  const size_t at_least = size_of(nbytes);
  if (at_least > limit_ || count_.allocated + count_.pending > limit_ - at_least) return nullptr;
  void* data;
  size_t size = at_least;
  const bool direct = !caching_ && pool == 0;
  if (direct) {
    data = upstream_.allocate_on(std::max<size_t>(nbytes, 1), stream);
    if (data != nullptr) direct_bytes_ += size;
  } else {
    auto& cache = caches_[{pool, stream}];
    if (!cache) cache = std::make_unique<BlockCache>(upstream_, policy_);
    data = cache->allocate(std::max<size_t>(nbytes, 1), tag);
    if (data != nullptr) size = cache->block_size(data);
  }
  if (data == nullptr) return nullptr;
  live_.emplace(data, Live{size, stream, pool, tag, direct, {}});
  count_.allocated += size;
  count_.allocated_ever += size;
  count_.peak_allocated = std::max(count_.peak_allocated, count_.allocated);
  count_.peak_blocks = std::max<uint64_t>(count_.peak_blocks, live_.size());
  note_reserved();
  return data;
}

void* StreamCache::allocate(size_t nbytes, Stream stream, const char* tag, Pool pool) {
  ++count_.allocations;
  if (!waiting_.empty()) poll();
  if (void* data = try_allocate(nbytes, stream, tag, pool)) [[likely]]
    return data;
  if (!capturing_) {
    ++count_.retries;
    drain(true);
    if (void* data = try_allocate(nbytes, stream, tag, pool)) return data;
    empty();
    if (void* data = try_allocate(nbytes, stream, tag, pool)) return data;
  }
  ++count_.failures;
  return nullptr;
}

void StreamCache::release(void* data, const Live& block) {
  if (block.direct) {
    direct_bytes_ -= block.size;
    upstream_.release_on(data, block.size, block.stream, block.users);
  } else {
    BlockCache& cache = *caches_.at({block.pool, block.stream});
    cache.free(data);
    if (!dropped_.empty() && dropped_.contains(block.pool) && !capturing_) cache.trim(0);
  }
  note_reserved();
}

void StreamCache::free(void* data) {
  const auto it = live_.find(data);
  if (it == live_.end()) return;
  Waiting waiting{data, std::move(it->second), {}};
  live_.erase(it);
  ++count_.frees;
  count_.allocated -= waiting.block.size;
  const bool direct = waiting.block.direct;  // ordered by the upstream, which a capture would take for a part of the graph
  if (direct ? !capturing_ : waiting.block.users.empty()) return release(data, waiting.block);
  count_.pending += waiting.block.size;
  if (!capturing_) mark(waiting);
  waiting_.push_back(std::move(waiting));
}

void StreamCache::record_use(void* data, Stream stream) {
  const auto it = live_.find(data);
  if (it == live_.end() || it->second.stream == stream) return;
  auto& users = it->second.users;
  if (std::find(users.begin(), users.end(), stream) == users.end()) users.push_back(stream);
}

void StreamCache::mark(Waiting& waiting) {
  for (Stream user : waiting.block.users) waiting.marks.push_back(upstream_.record(user));
}

bool StreamCache::finish(Waiting& waiting, bool wait) {
  if (waiting.marks.empty() && !waiting.block.direct) mark(waiting);
  while (!waiting.marks.empty()) {
    if (wait) upstream_.wait(waiting.marks.back());
    else if (!upstream_.passed(waiting.marks.back())) return false;
    upstream_.drop(waiting.marks.back());
    waiting.marks.pop_back();
  }
  count_.pending -= waiting.block.size;
  release(waiting.data, waiting.block);
  return true;
}

void StreamCache::drain(bool wait) {
  if (capturing_) return;
  std::erase_if(waiting_, [&](Waiting& w) { return finish(w, wait); });
}

void StreamCache::poll() { drain(false); }

size_t StreamCache::empty() {
  drain(true);
  size_t released = 0;
  for (auto& [key, cache] : caches_)
    if (key.first == 0 || dropped_.contains(key.first)) released += cache->trim(0);  // a graph will write to its pool again
  note_reserved();
  return released;
}

void StreamCache::drop_pool(Pool pool) {
  dropped_.insert(pool);
  drain(false);
  for (auto& [key, cache] : caches_)
    if (key.first == pool) cache->trim(0);
  std::erase_if(caches_, [&](const auto& entry) { return entry.first.first == pool && entry.second->reserved() == 0; });
  note_reserved();
}

StreamCacheStats StreamCache::stats() const {
  StreamCacheStats s = count_;
  s.live_blocks = live_.size();
  for (const auto& [key, cache] : caches_) {
    s.free += cache->free_bytes();
    s.largest_free = std::max(s.largest_free, cache->largest_free());
    for (const BlockCache::BlockInfo& block : cache->blocks()) s.segments += block.segment == block.data;
  }
  return s;
}

void StreamCache::reset_peak() {
  count_.peak_allocated = count_.allocated;
  count_.peak_reserved = count_.reserved;
  count_.peak_blocks = live_.size();
}

std::vector<TagUsage> StreamCache::usage() const {
  std::map<std::string, TagUsage> by_tag;
  for (const auto& [data, block] : live_) {
    TagUsage& usage = by_tag[block.tag == nullptr ? "untagged" : block.tag];
    usage.nbytes += block.size;
    ++usage.blocks;
  }
  std::vector<TagUsage> result;
  for (auto& [tag, usage] : by_tag) result.push_back({tag, usage.nbytes, usage.blocks});
  std::stable_sort(result.begin(), result.end(), [](const TagUsage& a, const TagUsage& b) { return a.nbytes > b.nbytes; });
  return result;
}

std::vector<StreamCache::StreamBlock> StreamCache::blocks() const {
  std::vector<StreamBlock> result;
  for (const auto& [key, cache] : caches_)
    for (const BlockCache::BlockInfo& block : cache->blocks()) result.push_back({block, key.second, key.first});
  for (const auto& [data, block] : live_)
    if (block.direct) result.push_back({{data, data, block.size, false, block.tag}, block.stream, block.pool});
  return result;
}

bool StreamCache::consistent() const {
  size_t live = 0, pending = 0, reserved = direct_bytes_;
  for (const auto& [data, block] : live_) live += block.size;
  for (const Waiting& w : waiting_) pending += w.block.size;
  bool ok = live == count_.allocated && pending == count_.pending;
  for (const auto& [key, cache] : caches_) {
    ok = ok && cache->consistent();
    reserved += cache->reserved();
  }
  return ok && reserved == count_.reserved;
}

}  // namespace mg
