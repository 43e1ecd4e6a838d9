// See random.h.
#include "random.h"

#include <mutex>
#include <random>

#include "error.h"

namespace mg {

namespace {

// In place of the seed, in states taken during a capture: they are good for that capture alone.
uint64_t mark_of(const RandomCapture* capture) { return ~reinterpret_cast<uintptr_t>(capture); }

}  // namespace

void Generator::manual_seed(uint64_t seed) {
  MG_CHECK(capture() == nullptr, Runtime, "manual_seed: not allowed while a graph is being captured: every replay goes on from where the generator is then. "
           "Try seeding before the capture or before a replay.");
  seed_.store(seed, std::memory_order_relaxed);
  offset_.store(0, std::memory_order_relaxed);
}

uint64_t Generator::seed() {
  const uint64_t seed = random_device_seed();
  manual_seed(seed);
  return seed;
}

Generator::State Generator::get_state() const {
  State state{};
  const RandomCapture* const relative = capture();
  const uint64_t words[2] = {relative ? mark_of(relative) : initial_seed(), relative ? relative->taken : offset()};
  for (size_t i = 0; i < kStateBytes; ++i) state[i] = uint8_t(words[i / 8] >> (8 * (i % 8)));
  return state;
}

void Generator::set_state(std::span<const uint8_t> state) {
  MG_CHECK(state.size() == kStateBytes, Runtime, "set_state: wrong size of a generator state: got ", state.size(),
           " bytes, expected ", kStateBytes, ". Try a state from get_state().");
  uint64_t words[2] = {0, 0};
  for (size_t i = 0; i < kStateBytes; ++i) words[i / 8] |= uint64_t(state[i]) << (8 * (i % 8));
  if (RandomCapture* const relative = capture()) {
    MG_CHECK(words[0] == mark_of(relative), Runtime,
             "set_state: while a graph is being captured, expected a state that was taken during the same capture");
    relative->taken = words[1];
    return;
  }
  seed_.store(words[0], std::memory_order_relaxed);
  offset_.store(words[1], std::memory_order_relaxed);
}

uint64_t random_device_seed() {
  std::random_device source;
  const uint64_t bits = uint64_t(source()) << 32 | source();
  return bits & ((uint64_t(1) << 53) - 1);
}

namespace {

constexpr int kMaxDevices = 64;

struct Defaults {
  std::mutex mutex;  // guards creation and seeding; a generator that exists is found without it
  std::atomic<Generator*> generators[kDeviceTypes][kMaxDevices] = {};
  bool seeded = false;
  uint64_t seed = 0;
};

Defaults& defaults() {
  static Defaults& instance = *new Defaults;  // leaked: ops may draw until the process is gone
  return instance;
}

}  // namespace

Generator& default_generator(Device device) {
  MG_CHECK(device.index >= 0 && device.index < kMaxDevices, Runtime, "default_generator: no such device: got ", device,
           ", expected an index below ", kMaxDevices, ".");
  Defaults& d = defaults();
  std::atomic<Generator*>& slot = d.generators[int(device.type)][device.index];
  if (Generator* generator = slot.load(std::memory_order_acquire)) return *generator;
  std::lock_guard lock(d.mutex);
  if (slot.load(std::memory_order_relaxed) == nullptr) {
    slot.store(new Generator(device, d.seeded ? d.seed : random_device_seed()), std::memory_order_release);
  }
  return *slot.load(std::memory_order_relaxed);
}

void manual_seed(uint64_t seed) {
  Defaults& d = defaults();
  std::lock_guard lock(d.mutex);
  d.seeded = true;
  d.seed = seed;
  for (auto& row : d.generators) {
    for (std::atomic<Generator*>& slot : row) {
      if (Generator* generator = slot.load(std::memory_order_relaxed)) generator->manual_seed(seed);
    }
  }
}

}  // namespace mg
