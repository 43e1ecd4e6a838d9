// Copies between any two layouts and dtypes of equal shape. Everything that moves elements on the CPU ends here.
#pragma once
#include "../core/layout.h"
#include "../core/value.h"

namespace mg::cpu {

// n elements; strides in bytes (0 for the source repeats one element).
using RowFn = void (*)(char* dst, int64_t dst_stride, const char* src, int64_t src_stride, int64_t n);
RowFn row_copier(DType dst, DType src);

void strided_copy(const TensorImpl& dst, const TensorImpl& src);  // equal sizes
void plan_copy(LoopPlan& plan, DType dst, DType src);             // operand 0 <- operand 1 of a finished plan
void fill(const TensorImpl& dst, double real, int64_t integer);   // `real` for floating dst, else `integer`
void fill(const TensorImpl& dst, const Value& number);            // a boxed Python number, of any kind

}  // namespace mg::cpu
