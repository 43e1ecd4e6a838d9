// Bulk random numbers, built once per instruction set. Every function writes elements [first, first + n) of a random
// tensor as defined in core/philox.h; `first` is a multiple of 4. The results are bit-identical for every instruction
// set.
#pragma once
#include <cstdint>

#include "../core/random.h"

namespace mg::cpu {

struct RandomTable {
  void (*bits32)(uint32_t* out, int64_t n, PhiloxRange range, int64_t first);
  void (*uniform32)(float* out, int64_t n, PhiloxRange range, int64_t first, float lo, float hi, int digits);
  void (*uniform64)(double* out, int64_t n, PhiloxRange range, int64_t first, double lo, double hi);
  void (*normal32)(float* out, int64_t n, PhiloxRange range, int64_t first, float mean, float std);
  void (*normal64)(double* out, int64_t n, PhiloxRange range, int64_t first, double mean, double std);
  void (*exponential32)(float* out, int64_t n, PhiloxRange range, int64_t first, float rate);
  void (*exponential64)(double* out, int64_t n, PhiloxRange range, int64_t first, double rate);
};
const RandomTable& random_table();

}  // namespace mg::cpu
