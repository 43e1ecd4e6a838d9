// See block_cache.h for the map and the invariants.
#include "block_cache.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <map>
#include <memory>

namespace mg {

static size_t round_up(size_t n, size_t step) { return (n + step - 1) / step * step; }

bool BlockCache::BySize::operator()(const Block* a, const Block* b) const {
  if (a->size != b->size) return a->size < b->size;
  return a->freed_at > b->freed_at;  // of equal ones the one used last: its pages are there
}

size_t BlockCache::rounded(size_t nbytes) const {
  return round_up(nbytes, std::max(policy_.granule, std::bit_floor(nbytes) / 16));
}

void BlockCache::insert_free(Block* block) {
  block->free = true;
  block->freed_at = ++clock_;
  if (block->node) {
    pool(block).insert(std::move(block->node));
  } else {
    pool(block).insert(block);
  }
  free_bytes_ += block->size;
}

void BlockCache::erase_free(Block* block) {
  block->node = pool(block).extract(block);
  block->free = false;
  free_bytes_ -= block->size;
}

// Cuts a block in two; the rest becomes a free block. Where `block` was free itself, that one has no free neighbour.
void BlockCache::split(Block* block, size_t size) {
  std::unique_ptr<Block> rest(
      new Block{block->data + size, block->size - size, nullptr, block, block->next, 0, false, block->large, {}});
  insert_free(rest.get());
  if (rest->next != nullptr) rest->next->prev = rest.get();
  block->size = size;
  block->next = rest.release();
}

void BlockCache::merge_next(Block* block) {
  Block* next = block->next;
  block->size += next->size;
  block->next = next->next;
  if (block->next != nullptr) block->next->prev = block;
  delete next;
}

BlockCache::Block* BlockCache::take_free(FreeSet& free_set, size_t size) {
  Block key{};
  key.size = size;
  key.freed_at = UINT64_MAX;
  auto it = free_set.lower_bound(&key);
  if (it == free_set.end()) return nullptr;
  Block* block = *it;
  erase_free(block);
  return block;
}

BlockCache::Block* BlockCache::new_segment(size_t size, bool large) {
  size_t segment = size;
  if (!large) {
    segment = policy_.small_segment;
  } else if (size <= policy_.medium_segment / 4) {
    segment = policy_.medium_segment;
  }
  std::unique_ptr<Block> block(new Block{nullptr, segment, nullptr, nullptr, nullptr, 0, false, large, {}});
  ++upstream_calls_;
  void* data = upstream_.allocate(segment);
  if (data == nullptr && segment != size) data = upstream_.allocate(segment = size);  // no room to be generous
  if (data == nullptr) return nullptr;
  reserved_ += segment;
  block->data = static_cast<char*>(data);
  block->size = segment;
  insert_free(block.get());  // through the free set, to get a node
  erase_free(block.get());
  return block.release();
}

void* BlockCache::allocate(size_t nbytes, const char* tag) {
  const size_t size = rounded(nbytes);
  const bool large = size >= policy_.large;
  Block* block = take_free(large ? free_large_ : free_small_, size);
  if (block == nullptr) block = new_segment(size, large);
  if (block == nullptr) return nullptr;
  // A smaller rest would only be a sliver; a larger one must not be wasted.
  if (block->size - size >= std::max(policy_.granule, size / 32)) split(block, size);
  block->tag = tag;
  live_.emplace(block->data, block);
  return block->data;
}

void BlockCache::free(void* data) {
  auto it = live_.find(data);
  Block* block = it->second;
  live_.erase(it);
  if (block->next != nullptr && block->next->free) {
    erase_free(block->next);
    merge_next(block);
  }
  if (block->prev != nullptr && block->prev->free) {
    block = block->prev;
    erase_free(block);
    merge_next(block);
  }
  insert_free(block);
}

void BlockCache::split_live(void* data, size_t at) {
  Block* block = live_.at(data);
  split(block, at);
  Block* rest = block->next;
  erase_free(rest);
  rest->tag = block->tag;
  live_.emplace(rest->data, rest);
}

size_t BlockCache::trim(size_t keep) {
  if (free_bytes_ <= keep) return 0;
  std::vector<Block*> whole;
  for (FreeSet* set : {&free_small_, &free_large_}) {
    for (Block* block : *set) {
      if (block->prev == nullptr && block->next == nullptr) whole.push_back(block);
    }
  }
  std::sort(whole.begin(), whole.end(), [](const Block* a, const Block* b) { return a->freed_at < b->freed_at; });
  size_t released = 0;
  for (Block* block : whole) {
    if (free_bytes_ <= keep) break;
    erase_free(block);
    reserved_ -= block->size;
    released += block->size;
    ++upstream_calls_;
    upstream_.release(block->data, block->size);
    delete block;
  }
  return released;
}

size_t BlockCache::largest_free() const {
  size_t largest = 0;
  for (const FreeSet* set : {&free_small_, &free_large_}) {
    if (!set->empty()) largest = std::max(largest, (*set->rbegin())->size);
  }
  return largest;
}

std::vector<TagUsage> BlockCache::usage() const {
  std::map<std::string, TagUsage> by_tag;
  for (const auto& [data, block] : live_) {
    if (block->tag == nullptr) continue;
    TagUsage& usage = by_tag[block->tag];
    usage.nbytes += block->size;
    ++usage.blocks;
  }
  std::vector<TagUsage> result;
  for (auto& [tag, usage] : by_tag) {
    usage.tag = tag;
    result.push_back(std::move(usage));
  }
  std::stable_sort(result.begin(), result.end(),
                   [](const TagUsage& a, const TagUsage& b) { return a.nbytes > b.nbytes; });
  return result;
}

std::vector<BlockCache::BlockInfo> BlockCache::blocks() const {
  std::vector<BlockInfo> result;
  const auto visit = [&](const Block* block) {
    const Block* first = block;
    while (first->prev != nullptr) first = first->prev;
    result.push_back({first->data, block->data, block->size, block->free, block->free ? nullptr : block->tag});
  };
  for (const auto& [data, block] : live_) visit(block);
  for (const FreeSet* set : {&free_small_, &free_large_})
    for (const Block* block : *set) visit(block);
  std::sort(result.begin(), result.end(), [](const BlockInfo& a, const BlockInfo& b) { return a.data < b.data; });
  return result;
}

std::string human_size(size_t nbytes) {
  static const char* const kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = double(nbytes);
  int unit = 0;
  for (; value >= 1024 && unit < 6; ++unit) value /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.2f %s", value, kUnits[unit]);
  return text;
}

std::string held_by(const std::vector<TagUsage>& holders) {
  std::string text = holders.empty() ? "" : " Held by:";
  for (size_t i = 0; i < holders.size() && i < 10; ++i)
    text += (i == 0 ? " " : "; ") + holders[i].tag + " " + human_size(holders[i].nbytes) + " in " + std::to_string(holders[i].blocks) + " blocks";
  return text + (holders.empty() ? "" : ".");
}

bool BlockCache::consistent() const {
  size_t free_sum = 0, total = 0;
  bool ok = true;
  const auto visit = [&](const Block* block) {
    total += block->size;
    if (block->free) free_sum += block->size;
    const Block* next = block->next;
    ok = ok && block->size > 0 && block->size % policy_.granule == 0;
    ok = ok && (next == nullptr ||
                (next->prev == block && next->data == block->data + block->size && !(block->free && next->free)));
  };
  for (const auto& [data, block] : live_) {
    ok = ok && !block->free && data == block->data;
    visit(block);
  }
  for (const FreeSet* set : {&free_small_, &free_large_}) {
    for (const Block* block : *set) {
      ok = ok && block->free;
      visit(block);
    }
  }
  return ok && free_sum == free_bytes_ && total == reserved_;
}

}  // namespace mg
