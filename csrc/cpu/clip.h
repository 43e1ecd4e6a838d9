// Gradient clipping, one pass over all gradients together. csrc/python/bind_clip.cpp is the caller; the loops are in clip_isa.cpp.
#pragma once
#include "many.h"

namespace mg::cpu {

// The CPU's row of core/many_tensors.h, for float32 and float64 (many_tensors.cpp).
double norm_of_all(const ManyTensors& all, bool maximum);  // 2-norm, or the largest magnitude; NaN if an element is
void scale_all(const ManyTensors& all, double factor);
void clamp_all(const ManyTensors& all, double low, double high);
bool unscale_all(const ManyTensors& all, double factor);  // scales; whether every element was finite before

}  // namespace mg::cpu
