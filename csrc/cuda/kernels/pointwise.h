// Rows and calls of the pointwise ops on the device: what the driver (pointwise.cu) and the lists (pointwise_<arity>.cu) share.
//
// The kernels behind csrc/scalar.h: each line becomes a functor, and each functor two kernels per type it computes in:
//
//   dense    every operand is a number or walked in the output's order, element by element: kUnroll elements a thread, moved as words of
//            up to 16 bytes
//   strided  anything else: broadcast, permuted, stepped, of another dtype
//
// Types computed in: float (float16, bfloat16, float32), double, int64 (all integers and bool: what wraps is cut when stored, which gives
// what arithmetic in the narrow type gives) and complex128. Storage dtypes are looked at in the kernel, once for kUnroll elements: that
// is what keeps the number of kernels, and nvcc's time, in bounds. The lists are cut into pointwise_<arity>.cu; pointwise.cu drives.
#pragma once
#include "../../scalar_math.h"
#include "../kernel.h"
#include "faults.h"

namespace mg::cuda {

constexpr int kMaxInputs = 4;
enum class PointwiseResult : uint8_t { SAME, BOOL, REAL };
enum PointwiseClass : uint8_t { kFloat, kDouble, kInt, kComplex, kPointwiseClasses };

// An operand as a kernel sees it.
struct Source {
  const char* data;
  DType dtype;
  bool constant;     // `number` holds it, in the type computed in
  complex128 number;  // re: float or double; re as bits: int64
};

struct PointwiseCall {
  char* out;
  DType out_dtype, compute;
  bool dense;
  int64_t n;
  Source in[kMaxInputs];
  const LoopPlan* plan;  // of the strided form: output, inputs (constants have stride 0)
  FaultNote note;
};
using PointwiseRun = void (*)(const PointwiseCall&);

struct PointwiseRow {
  const char* name;
  uint8_t arity;
  PointwiseResult result;
  bool mask;     // operand 0 is bool (where)
  bool divides;  // integers must not be divided by zero
  bool has_dense;
  PointwiseRun run[kPointwiseClasses];  // null: not computed in this type
};

// Tables, each ended by a row without a name.
extern const PointwiseRow unary_float_rows[], unary_rows[], binary_float_rows[], binary_rows[], ternary_rows[], special_rows[], complex_rows[];

}  // namespace mg::cuda
