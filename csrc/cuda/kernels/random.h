// Random numbers in device code: the streams of core/philox.h, the same bits as on the CPU.
#pragma once
#include "../../core/random.h"
#include "../kernel.h"
#include "faults.h"

namespace mg::cuda {

inline Generator& generator_of(const Invocation& inv, int k) {
  return inv.has(k) ? *inv.args[k].generator : default_generator(inv.out().device);
}

// A reserved piece of a generator's stream. In a captured graph its position is known at the replay only, which writes it to `start`
// (a seed and a position) before the kernels run: each replay draws new numbers.
struct RandomRange {
  PhiloxRange range;
  const uint64_t* start = nullptr;
  MG_DEVICE PhiloxRange now() const { return start == nullptr ? range : PhiloxRange{start[0], start[1] + range.counter}; }
};
RandomRange reserve(Generator& generator, uint64_t n_numbers);  // 32-bit ones (random.cu)
void write_range(int64_t* seed_and_counter, const RandomRange& range);  // on the current stream

MG_DEVICE uint64_t number64(PhiloxRange range, int64_t i) { return philox_u64(philox(range.seed, range.counter + uint64_t(i) / 2), int(i % 2)); }

// A stream of its own for every element (csrc/cpu/element_stream.h), for samplers that reject.
struct ElementStream {
  PhiloxRange range;
  uint64_t element;
  uint32_t drawn = 0;

  MG_DEVICE Philox4 block() {
    const uint64_t c = range.counter + element;
    return philox4x32_10({{uint32_t(c), uint32_t(c >> 32), ++drawn, 1}}, uint32_t(range.seed), uint32_t(range.seed >> 32));
  }
  MG_DEVICE double next() { return uniform_positive(philox_u64(block(), 0)); }  // on (0, 1]
  MG_DEVICE double normal() {
    const Philox4 b = block();
    return normal_pair(philox_u64(b, 0), philox_u64(b, 1)).first;
  }
};

}  // namespace mg::cuda
