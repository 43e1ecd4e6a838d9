// Gradient clipping, one pass over all gradients together. csrc/python/bind_clip.cpp is the caller; the loops are in clip_isa.cpp.
#pragma once
#include "many.h"

namespace mg::cpu {

// All tensors contiguous and of one dtype, float32 or float64.
double norm_of_all(const ManyTensors& all, bool maximum);  // 2-norm, or the largest magnitude; NaN if an element is
void scale_all(const ManyTensors& all, double factor);
void clamp_all(const ManyTensors& all, double low, double high);

}  // namespace mg::cpu
