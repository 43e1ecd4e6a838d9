// Random number generators. A Generator is a seed and a position in the Philox stream of that seed; kernels ask it for
// a range of the stream and compute every element from its index (philox.h defines which number an element gets).
// Results depend on the seed and the sequence of requests only: not on device, thread count or vector width.
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "device.h"
#include "philox.h"

namespace mg {

/// A reserved piece of a stream: element i of a tensor of 32-bit numbers is lane i % 4 of philox(seed, counter + i /
/// 4).
struct PhiloxRange {
  uint64_t seed;
  uint64_t counter;
};

/// What a generator gives out while a graph of a device is captured: places relative to the position that the stream has when the graph is
/// replayed. The recorder (csrc/cuda/runtime/graphs.h) moves the generator on by `most` blocks per replay.
struct RandomCapture {
  uint64_t taken = 0, most = 0;  // blocks; `taken` can go back (set_state), as checkpoints do that draw the same numbers twice

  uint64_t take(uint64_t n_numbers) {
    const uint64_t at = taken;
    taken += n_numbers / 4 + (n_numbers % 4 != 0);
    most = most < taken ? taken : most;
    return at;
  }
};

struct Generator {
  static constexpr uint64_t kDefaultSeed =
      67280421310721;  // PyTorch's, so that torch.Generator().initial_seed() agrees
  static constexpr size_t kStateBytes = 16;
  using State = std::array<uint8_t, kStateBytes>;

  explicit Generator(Device device = {}, uint64_t seed = kDefaultSeed) : device_(device), seed_(seed) {}
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;

  Device device() const { return device_; }
  uint64_t initial_seed() const { return seed_.load(std::memory_order_relaxed); }
  uint64_t offset() const { return offset_.load(std::memory_order_relaxed); }  // in blocks of four 32-bit numbers

  /// Restarts the stream of `seed`.
  void manual_seed(uint64_t seed);
  /// Seeds from the operating system; returns the seed (53 bits, exact as a float).
  uint64_t seed();

  /// Takes n_numbers 32-bit numbers (twice the element count for 64-bit numbers) and moves on by ceil(n_numbers / 4)
  /// blocks. Thread-safe.
  PhiloxRange reserve(uint64_t n_numbers) {
    return {seed_.load(std::memory_order_relaxed),
            offset_.fetch_add(n_numbers / 4 + (n_numbers % 4 != 0), std::memory_order_relaxed)};
  }

  /// The capture under way, or nullptr. Meanwhile get_state and set_state are about its places, and seeding raises.
  RandomCapture* capture() const { return capture_.load(std::memory_order_relaxed); }
  void set_capture(RandomCapture* capture) { capture_.store(capture, std::memory_order_relaxed); }

  /// Seed and offset, little-endian. set_state raises for any other length than kStateBytes.
  State get_state() const;
  void set_state(std::span<const uint8_t> state);

 private:
  Device device_;
  std::atomic<uint64_t> seed_;
  std::atomic<uint64_t> offset_{0};
  std::atomic<RandomCapture*> capture_{nullptr};
};

/// The generator that ops on `device` use when none is given. Lives for ever. Seeded from the operating system until
/// manual_seed.
Generator& default_generator(Device device = {});
/// Seeds the default generators of all devices, including those first used later.
void manual_seed(uint64_t seed);
/// 53 unpredictable bits from the operating system.
uint64_t random_device_seed();

}  // namespace mg
