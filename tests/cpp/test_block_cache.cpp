// BlockCache alone, over a source that can fail, with its invariants checked at every step.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <random>
#include <vector>

#include "../../csrc/core/block_cache.h"
#include "check.h"

using namespace mg;

struct FakeUpstream final : Upstream {
  size_t limit = SIZE_MAX, used = 0;
  std::map<void*, size_t> segments;
  void* allocate(size_t nbytes) override {
    if (nbytes > limit - used) return nullptr;
    used += nbytes;
    void* data = std::aligned_alloc(4096, (nbytes + 4095) / 4096 * 4096);
    segments[data] = nbytes;
    return data;
  }
  void release(void* data, size_t nbytes) override {
    CHECK(segments.at(data) == nbytes);
    segments.erase(data);
    used -= nbytes;
    std::free(data);
  }
};

static void test_block_cache() {
  FakeUpstream upstream;
  upstream.limit = 1000000;
  {
    BlockCache cache(
        upstream,
        {.granule = 512, .large = 20000, .small_segment = 40000 / 512 * 512, .medium_segment = 200000 / 512 * 512});
    std::mt19937 rng(3);
    std::vector<void*> held;
    size_t refused = 0;
    for (int i = 0; i < 20000; ++i) {
      if (held.empty() || rng() % 100 < 55) {
        const size_t n = 1 + (rng() % 10 == 0 ? rng() % 150000 : rng() % 20000);
        void* p = cache.allocate(n, i % 2 == 0 ? "even" : "odd");
        if (p == nullptr) {
          ++refused;
          CHECK(upstream.limit - upstream.used < cache.rounded(n));
          for (size_t k = 0; k < held.size() / 2; ++k) {
            cache.free(held.back());
            held.pop_back();
          }
        } else {
          CHECK(cache.block_size(p) >= n && cache.block_size(p) - n <= std::max<size_t>(n / 8, 1024));
          held.push_back(p);
        }
      } else {
        std::swap(held[rng() % held.size()], held.back());
        cache.free(held.back());
        held.pop_back();
      }
      if (i % 7 == 0 && !held.empty() && cache.block_size(held.back()) > 512) {
        const size_t whole = cache.block_size(held.back()), at = 512 * (1 + rng() % (whole / 512 - 1));
        cache.split_live(held.back(), at);
        held.push_back(static_cast<char*>(held.back()) + at);
        CHECK(cache.block_size(held.back()) == whole - at && cache.block_size(held[held.size() - 2]) == at);
      }
      if (i % 500 == 0) cache.trim(100000);
      if (i % 20 == 0) CHECK(cache.consistent() && cache.reserved() == upstream.used);
    }
    CHECK(refused > 0);
    size_t blocks = 0;
    for (const TagUsage& usage : cache.usage()) blocks += usage.blocks;
    CHECK(blocks == held.size());
    for (void* p : held) cache.free(p);
    CHECK(cache.free_bytes() == cache.reserved() && cache.usage().empty());
    cache.trim(0);
    CHECK(cache.reserved() == 0 && upstream.segments.empty() && cache.consistent());
  }
}

int main() {
  test_block_cache();
  return mg_test::report("block_cache");
}
