// One run of a pointwise kernel: its operands and how they reach it. Made by pointwise.cpp; pointwise_staged.cpp runs
// those with layouts.
#pragma once
#include "../core/op.h"
#include "pointwise_table.h"
#include "stream.h"

namespace mg::cpu {

constexpr int kMaxInputs = 4;
constexpr int64_t kBlockBytes = 4096;
constexpr int64_t kPointwiseGrain = 32768;  // elements of an addition worth handing to another thread

enum class Route : uint8_t { Direct, Constant, Staged };

struct Operand {
  Route route = Route::Direct;
  const TensorImpl* tensor = nullptr;  // null: a number
  DType dtype = DType::Float32;        // as stored; a number is held as double or int64
  char* data = nullptr;
  union {
    double real;
    int64_t whole;
    const complex128* parts;
  };
};

[[noreturn, gnu::cold]] void fail_zero_division(const Op& op);

struct Job {
  const Op& op;
  const PointwiseKernel* row;
  PointwiseFn fn;
  DType compute;           // never float16 or bfloat16
  int64_t item, n, block;  // bytes per element, elements, elements per block
  int inputs;
  Operand out, in[kMaxInputs];
  bool staged = false, constants = false, stream = false;
  const char* constant_block[kMaxInputs];  // filled for Route::Constant

  DType wanted(int k) const { return row->mask && k == 0 ? DType::Bool : compute; }
  DType out_dtype() const {
    return row->result == PointwiseResult::SAME   ? compute
           : row->result == PointwiseResult::BOOL ? DType::Bool
                                                  : to_real(compute);
  }
  int64_t grain() const {
    return std::max<int64_t>(kPointwiseGrain / (row->cost * (staged ? 2 : 1)), block) / block * block;
  }

  // Worth storing around the caches (stream.h): large, and not a function of one operand that computes more than it
  // moves.
  bool streams(const TensorImpl& to) const {
    return to.numel * itemsize(to.dtype) >= kStreamBytes && (row->cost == 1 || inputs > 1);
  }

  void check(int result) const {
    if (result != 0) [[unlikely]]
      fail_zero_division(op);
  }
};

// A mask is read as bytes: any nonzero one is true, so uint8 needs no staging either.
inline bool readable_as(DType stored, DType wanted) {
  return stored == wanted || (wanted == DType::Bool && stored == DType::UInt8);
}

// The layout path: some operand is strided, broadcast by rows or of another dtype, or the output is.
void run_staged(Job& job, const TensorImpl& out);

}  // namespace mg::cpu
