// Moving and converting one row of elements: how operands reach the pointwise kernels' contiguous blocks and how
// results leave them.
//
// Per instruction set (stage_isa.cpp): contiguous rows are vectorised, float16 through F16C. Conversions are defined
// for every value, as in convert.h: nonzero (and NaN) is true; float to integer truncates, and what does not fit
// becomes the lowest int64 (or int32, then cut to the narrow type); integers wrap; double to float16 goes through
// float.
#pragma once
#include "../core/dtype.h"

namespace mg::cpu {

// n elements; strides in bytes, 0 repeats one source element. The rows may be the same memory only if dtypes and
// strides are equal.
using StageFn = void (*)(char* dst, int64_t dst_stride, const char* src, int64_t src_stride, int64_t n);
StageFn stage_fn(DType dst, DType src);
StageFn complex_stage_fn(DType dst, DType src);  // stage_complex.cpp: one of them is complex

struct StageTable {
  StageFn fn[kDTypes][kDTypes];  // [dst][src]
};

}  // namespace mg::cpu
