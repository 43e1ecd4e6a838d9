// A fused kernel as data: what several pointwise calls and reductions of rows do in one pass over memory. Made by csrc/graph/fuse.cpp;
// run by the blocked interpreter (csrc/cpu/fused.cpp) or by code generated for it (minigrad/compiler/codegen: LLVM, Triton, C).
//
// The iteration space is `rows` x `cols`: the last axis is the inner one, a row is one setting of the others. Axes are merged as far as all
// operands allow, so a program of contiguous operands without reductions has one axis. A program is straight-line code in SSA form: step
// k gives register k. A register holds one number per element (Element), per row (Row: what a reduction gave, or an operand that
// is constant along the inner axis), per column (Column), or one for the whole space (Total); the last two are there to be stored only.
//
//   layer_norm's heart, x: f32[64, 384]        %0 = load x        %1 = sum %0 (Row)     %2 = const 1/384   %3 = mul %1 %2 (Row)
//                                              %4 = sub %0 %3     %5 = mul %4 %4        ...
//
// Steps are typed: what an Apply takes is of its `compute` dtype already (or a 16-bit float where that is float32; where's mask is bool),
// Casts do the rest. The steps of an Element program may take Row registers: they are repeated along the row. A row made by Reduce has the
// accumulation's dtype: float32, float64 or int64, and so has what it takes (or a 16-bit float); a mean is a sum and a true_divide.
//
// Memory: operands may be one memory only if they are the same elements in the same order and aliasable() says so.
//
// Bits: a pointwise step gives what the op gives eagerly: computed in `compute`, and rounded to `dtype` (float16 and bfloat16 compute in
// float and are rounded after each step; registers of them may hold floats). Reductions accumulate in float for 16-bit floats and float,
// double for double, int64 for integers, in an order that depends on sizes alone, never on the number of threads.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "op.h"

namespace mg {

// A line of csrc/scalar.h.
struct ScalarRow {
  const char* name;
  int arity;
  char classes;  // F, N, A or I, as there
  bool boolean;  // the result
  bool mask;     // where
  bool divides;  // integers: may not divide by zero
  bool computes_in(DType d) const {
    if (d == DType::Float32 || d == DType::Float64) return classes != 'I';
    return d == DType::Bool ? classes == 'A' || classes == 'I' : is_integral(d) && classes != 'F';
  }
};

enum class FusedLevel : uint8_t { Element, Row, Column, Total };

struct FusedStep {
  enum class Kind : uint8_t {
    Load,        // operand `operand`, converted to `dtype` (a comparison's mask: Bool)
    Constant,    // `number`, as `dtype` (never a 16-bit float)
    Apply,       // pointwise op on registers `args`
    Cast,        // args[0] converted to `dtype`, by the rules of Tensor.to
    Reduce,      // args[0] over the inner axis -> Row; op: sum, prod, amax or amin (NaN wins)
    ReduceRows,  // args[0] over all rows -> Column; op: sum
    ReduceAll,   // args[0] over rows and columns -> Total; op: sum, mean, amax or amin (NaN wins)
    Store,       // args[0] into operand `operand`, converted to its dtype
  };
  Kind kind = Kind::Load;
  FusedLevel level = FusedLevel::Element;
  const Op* op = nullptr;           // Apply, Reduce, ReduceRows, ReduceAll
  const ScalarRow* row = nullptr;   // Apply: the line of csrc/scalar.h to be computed, on the first row->arity of `args`; most often the op's
                                    // own, add_unit for an add with alpha 1, square, sqrt … for a pow with such an exponent
  DType dtype = DType::Float32;     // of the register
  DType compute = DType::Float32;   // Apply: what the op calculates in; never a 16-bit float
  std::vector<int> args;            // registers, in the order of the op's operands (numbers are Constant registers)
  int operand = -1;
  OwnedValue number;
};

struct FusedOperand {
  DType dtype = DType::Float32;
  Dims strides;  // in elements, one per axis of the space; 0: constant along it. The inner one is 0, 1 or anything
  bool written = false;
};

struct FusedProgram {
  Dims sizes;                          // of the iteration space, the inner axis last; never empty, none 0
  std::vector<FusedOperand> operands;  // inputs first, then outputs
  std::vector<FusedStep> steps;
  int n_inputs = 0;

  int64_t cols() const { return sizes[sizes.size() - 1]; }
  int64_t rows() const {
    int64_t n = 1;
    for (int k = 0; k + 1 < sizes.size(); ++k) n *= sizes[k];
    return n;
  }
  bool reduces() const {  // along an axis
    for (const FusedStep& s : steps)
      if (s.kind == FusedStep::Kind::Reduce || s.kind == FusedStep::Kind::ReduceRows) return true;
    return false;
  }
};

/// Printed one step a line, as above; with `sizes` and strides. The text without sizes (`structure`) is the key of caches of code.
std::string to_string(const FusedProgram& program);
std::string structure(const FusedProgram& program);
/// Whether output operand `out` may lie exactly where input operand `in` lies: nothing needs the input after the result is there.
bool aliasable(const FusedProgram& program, int in, int out);

// Generated code of one program. It depends on the program's structure (dtypes, steps, which inner strides are 0, 1 or other), not on sizes:
//   operands[k]   address of operand k's first element; for a Column result: of `cols` partial results of its accumulation dtype,
//                 which the code adds to (the runner zeroes them, calls it for at most 64 rows and adds the results in order);
//                 for a Total: of one partial result, float64 or int64, which the code goes on from and leaves (a mean: the sum)
//   sizes         the program's sizes          strides   operand after operand, one per axis, in elements
//   rows, columns to do: [row0, row1) x [col0, col1); all columns (0, cols) where the program reduces() along an axis
using FusedCode = void (*)(void* const* operands, const int64_t* sizes, const int64_t* strides, int64_t row0, int64_t row1, int64_t col0, int64_t col1);

// Runs a program on tensors whose data pointers it is given. One per program and backend; made once, called every step.
struct FusedKernel {
  FusedProgram program;
  FusedCode code = nullptr;     // null: the interpreter
  std::shared_ptr<void> alive;  // what keeps `code` in memory

  /// operands: addresses of first elements, in the program's order.
  virtual void run(void* const* operands) const = 0;
  explicit FusedKernel(FusedProgram p) : program(std::move(p)) {}
  virtual ~FusedKernel() = default;
};

/// The kernel of a program for a device type, or null when that device's backend has none (then the calls stay as they are).
std::unique_ptr<FusedKernel> make_fused_kernel(FusedProgram program, DeviceType device);
using FusedFactory = std::unique_ptr<FusedKernel> (*)(FusedProgram);
void register_fused_factory(DeviceType device, FusedFactory factory);  // at start, beside the code
bool has_fused_factory(DeviceType device);

}  // namespace mg
