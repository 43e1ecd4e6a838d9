// Contiguous rows under a mask, built once per instruction set.
#pragma once
#include <cstdint>

namespace mg::cpu {

struct MaskTable {
  // dst = mask ? value : src, by element width 1, 2, 4, 8; dst may be src.
  void (*fill8)(uint8_t* dst, const uint8_t* src, const bool* mask, uint8_t value, int64_t n);
  void (*fill16)(uint16_t* dst, const uint16_t* src, const bool* mask, uint16_t value, int64_t n);
  void (*fill32)(uint32_t* dst, const uint32_t* src, const bool* mask, uint32_t value, int64_t n);
  void (*fill64)(uint64_t* dst, const uint64_t* src, const bool* mask, uint64_t value, int64_t n);
  // dst = mask ? src * scale : 0
  void (*scale32)(float* dst, const float* src, const bool* mask, float scale, int64_t n);
  void (*scale64)(double* dst, const double* src, const bool* mask, double scale, int64_t n);
  // kept = bits <= last; dst = kept ? src * scale : 0
  void (*drop32)(float* dst, bool* kept, const float* src, const uint32_t* bits, uint32_t last, float scale, int64_t n);
  void (*drop64)(double* dst, bool* kept, const double* src, const uint32_t* bits, uint32_t last, double scale,
                 int64_t n);
};
const MaskTable& mask_table();

}  // namespace mg::cpu
