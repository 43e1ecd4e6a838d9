// StreamCache over a made-up device: queues of work that run when told, memory that knows who may still touch it.
//
// The property: whenever a block is handed out, no queued work of another stream may still use an overlapping block, and work queued later
// on the same stream is the only work that may. Random programs of allocations, uses, frees, progress, captures and failures check it.
#include "../../csrc/core/stream_cache.h"

#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "check.h"

using namespace mg;

struct FakeDevice final : StreamUpstream {
  struct Queue {
    uint64_t given = 0, done = 0;
  };
  struct Position {
    Stream stream;
    uint64_t at;
  };
  size_t limit = SIZE_MAX, used = 0;
  bool capturing = false;
  std::map<void*, size_t> segments;
  std::map<Stream, Queue> queues;
  std::set<Position*> marks;

  void* allocate(size_t nbytes) override {
    if (nbytes > limit - used) return nullptr;
    used += nbytes;
    void* data = std::aligned_alloc(4096, (nbytes + 4095) / 4096 * 4096);
    segments[data] = nbytes;
    return data;
  }
  void release(void* data, size_t nbytes) override {  // as cudaFree: after all work that was given
    for (auto& [s, queue] : queues) queue.done = queue.given;
    give_back(data, nbytes);
  }
  void give_back(void* data, size_t nbytes) {
    CHECK(segments.at(data) == nbytes);
    segments.erase(data);
    used -= nbytes;
    std::free(data);
  }
  Mark record(Stream s) override {
    CHECK(!capturing);
    return *marks.insert(new Position{s, queues[s].given}).first;
  }
  bool passed(Mark m) override {
    CHECK(!capturing);
    auto* p = static_cast<Position*>(m);
    return queues[p->stream].done >= p->at;
  }
  void wait(Mark m) override {
    CHECK(!capturing);
    auto* p = static_cast<Position*>(m);
    queues[p->stream].done = std::max(queues[p->stream].done, p->at);
  }
  void drop(Mark m) override {
    CHECK(marks.erase(static_cast<Position*>(m)) == 1);
    delete static_cast<Position*>(m);
  }
  void* allocate_on(size_t nbytes, Stream) override { return allocate(nbytes); }
  void release_on(void* data, size_t, Stream s, const std::vector<Stream>& after) override {
    for (Stream other : after) queues[other].done = queues[other].given;  // the stream waits for them, and we for it
    queues[s].done = queues[s].given;
    give_back(data, segments.at(data));
  }
};

static StreamUpstream::Stream stream(int k) { return reinterpret_cast<void*>(intptr_t(k)); }
constexpr BlockCache::Policy kPolicy{.granule = 512, .large = 1 << 14, .small_segment = 1 << 15, .medium_segment = 1 << 17};

// Everything freed, nothing may be left.
static void finish(FakeDevice& device, StreamCache& cache) {
  for (const StreamCache::StreamBlock& block : cache.blocks())
    if (!block.free) cache.free(block.data);
  cache.empty();
  CHECK(device.used == 0 && device.marks.empty() && cache.stats().allocated == 0 && cache.consistent());
}

static void test_reuse() {
  FakeDevice device;
  StreamCache cache(device, kPolicy);
  void* a = cache.allocate(1000, stream(1), "a");
  cache.free(a);
  CHECK(cache.allocate(1000, stream(1), "b") == a);   // at once on its own stream
  void* other = cache.allocate(1000, stream(2), "c");
  CHECK(other != a);                                  // another stream has its own
  device.queues[stream(2)].given = 5;                 // work on stream 2 uses a
  cache.record_use(a, stream(2));
  cache.free(a);
  CHECK(cache.stats().pending > 0 && cache.allocate(1000, stream(1), "d") != a);
  device.queues[stream(2)].done = 5;
  CHECK(cache.allocate(1000, stream(1), "e") == a && cache.stats().pending == 0);
  CHECK(cache.consistent() && device.marks.empty());
  CHECK(cache.usage().front().nbytes >= 1024);
  finish(device, cache);
}

static void test_running_out() {
  FakeDevice device;
  device.limit = 3 << 17;
  StreamCache cache(device, kPolicy);
  void* a = cache.allocate(1 << 17, stream(1), "a");
  void* b = cache.allocate(1 << 17, stream(1), "b");
  cache.free(a);
  CHECK(cache.allocate(1 << 18, stream(2), "c") != nullptr);  // only after a's segment went back
  cache.record_use(b, stream(2));
  device.queues[stream(2)].given = 1;
  cache.free(b);
  CHECK(cache.allocate(1 << 17, stream(2), "d") != nullptr);  // waits for stream 2
  CHECK(device.queues[stream(2)].done == 1);
  CHECK(cache.allocate(1 << 17, stream(1), "e") == nullptr && cache.stats().failures == 1);
  cache.set_limit(cache.stats().allocated + 512);
  device.limit = SIZE_MAX;
  CHECK(cache.allocate(512, stream(1), "f") != nullptr && cache.allocate(512, stream(1), "g") == nullptr);
  finish(device, cache);
}

static void test_pools() {
  FakeDevice device;
  StreamCache cache(device, kPolicy);
  void* common = cache.allocate(1000, stream(1), "common");
  cache.free(common);
  device.capturing = true;
  cache.set_capturing(true);
  void* a = cache.allocate(1000, stream(1), "graph", 7);
  CHECK(a != common);
  cache.record_use(a, stream(2));
  cache.free(a);  // no mark may be made now
  CHECK(cache.allocate(1000, stream(1), "graph", 7) != a);
  device.capturing = false;
  cache.set_capturing(false);
  cache.poll();
  CHECK(cache.stats().pending == 0);
  const size_t before = device.used;
  CHECK(cache.empty() > 0 && device.used < before && device.used > 0);  // the pool stays
  for (const StreamCache::StreamBlock& block : cache.blocks())
    if (!block.free) cache.free(block.data);
  CHECK(device.used > 0);
  cache.drop_pool(7);
  CHECK(device.used == 0 && cache.stats().reserved == 0 && cache.consistent());
}

// Live and recently freed memory with the work that still uses it.
struct Use {
  char *begin, *end;
  StreamUpstream::Stream stream;
  uint64_t until;
};

static void test_random(unsigned seed, bool caching) {
  FakeDevice device;
  StreamCache cache(device, kPolicy, caching);
  std::mt19937 rng(seed);
  std::map<void*, size_t> live;
  std::vector<Use> uses;
  for (int step = 0; step < 4000; ++step) {
    const auto s = stream(1 + int(rng() % 3));
    const unsigned what = rng() % 16;
    if (what < 6) {
      device.limit = rng() % 8 == 0 ? device.used + 1000 : (1 << 22);
      const size_t n = 1 + (rng() % 4 == 0 ? rng() % 200000 : rng() % 3000);
      char* data = static_cast<char*>(cache.allocate(n, s, n % 2 ? "odd" : nullptr));
      if (data == nullptr) continue;
      for (const Use& u : uses)  // nobody else may be using it: only earlier work of the same stream
        CHECK(u.end <= data || data + n <= u.begin || u.stream == s || device.queues[u.stream].done >= u.until);
      CHECK(live.emplace(data, n).second);
      uses.push_back({data, data + n, s, ++device.queues[s].given});
    } else if (what < 9 && !live.empty()) {  // used on some stream
      auto it = std::next(live.begin(), long(rng() % live.size()));
      cache.record_use(it->first, s);
      char* data = static_cast<char*>(it->first);
      uses.push_back({data, data + it->second, s, ++device.queues[s].given});
    } else if (what < 13 && !live.empty()) {
      auto it = std::next(live.begin(), long(rng() % live.size()));
      cache.free(it->first);
      live.erase(it);
    } else if (what < 15) {  // progress
      FakeDevice::Queue& q = device.queues[s];
      q.done += rng() % (q.given - q.done + 1);
      std::erase_if(uses, [&](const Use& u) { return device.queues[u.stream].done >= u.until; });
    } else if (rng() % 8 == 0) {
      cache.empty();
    }
    if (step % 16 == 0) CHECK(cache.consistent());
  }
  finish(device, cache);
}

int main() {
  test_reuse();
  test_running_out();
  test_pools();
  for (unsigned seed = 0; seed < 20; ++seed) test_random(seed, seed % 4 != 3);
  return mg_test::report("stream_cache");
}
