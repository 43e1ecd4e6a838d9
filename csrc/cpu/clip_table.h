// Gradient clipping: the loops over one piece of a gradient (clip_isa.cpp, per instruction set). Used by clip.cpp.
#pragma once
#include <cstdint>

namespace mg::cpu {

template <class T>
struct ClipFns {
  double (*square_sum)(const T* x, int64_t n);
  double (*abs_max)(const T* x, int64_t n);
  void (*scale)(T* x, int64_t n, T factor);
  void (*clamp)(T* x, int64_t n, T low, T high);
};
struct ClipTable {
  ClipFns<float> f32;
  ClipFns<double> f64;
};
const ClipTable& clip_table();

}  // namespace mg::cpu
