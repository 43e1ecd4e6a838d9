// A stream of random numbers of its own for every element of a tensor, for samplers that reject: Philox with the number of the draw in
// the upper half of the counter. What an element gets depends on the seed, the generator's position and its index only.
#pragma once
#include "../core/op.h"
#include "../core/random.h"

namespace mg::cpu {

inline Generator& generator_of(const Invocation& inv, int k) {
  return inv.has(k) ? *inv.args[k].generator : default_generator(inv.out().device);
}

struct ElementStream {
  PhiloxRange range;
  uint64_t element;
  uint32_t drawn = 0;

  Philox4 block() {
    const uint64_t c = range.counter + element;
    return philox4x32_10({{uint32_t(c), uint32_t(c >> 32), ++drawn, 1}}, uint32_t(range.seed), uint32_t(range.seed >> 32));
  }
  /// Uniform on (0, 1].
  double next() { return uniform_positive(philox_u64(block(), 0)); }
  double normal() {
    const Philox4 b = block();
    return normal_pair(philox_u64(b, 0), philox_u64(b, 1)).first;
  }
};

}  // namespace mg::cpu
