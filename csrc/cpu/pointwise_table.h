// The contiguous kernels of every pointwise op: one row per line of csrc/scalar.h, one function per dtype it computes
// in.
//
// A kernel reads n elements from each in[k] and writes n to out; out may be exactly one of the inputs, no other
// overlap. float16 and bfloat16 have none: they are staged through float (pointwise.cpp). The result is 1 if an integer
// was divided by zero (nothing is written then).
#pragma once
#include "../core/dtype.h"
#include "isa.h"

namespace mg::cpu {

using PointwiseFn = int (*)(void* out, const void* const* in, int64_t n);

enum class PointwiseResult : uint8_t { SAME, BOOL, REAL };  // REAL: the parts' dtype of a complex one

struct PointwiseKernel {
  const char* name;
  uint8_t arity;
  PointwiseResult result;
  bool mask;                // operand 0 is bool (where)
  bool can_fail;            // integer division
  uint8_t cost;             // rough time of an element relative to an addition
  PointwiseFn fn[kDTypes];  // null: not computed in this dtype
};

// The row for this machine's instruction set (see isa.h), or null.
const PointwiseKernel* find_pointwise(const char* name);
const PointwiseKernel* find_complex_pointwise(const char* name);  // complex_pointwise.cpp

// One table per source file and instruction set, each ended by a row without a name.
struct PointwiseTables {
  const PointwiseKernel *unary, *binary, *ternary, *special;
};
PointwiseTables pointwise_tables(Isa isa);  // for tests

}  // namespace mg::cpu
