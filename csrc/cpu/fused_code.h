// The blocked interpreter's form of a fused program (core/fused.h): a list of instructions on blocks that stay in L1, each one call of a
// kernel that eager code uses too: PointwiseFn, StageFn, the folds of reduce_table.h.
//
// A block is `block_rows` whole rows, or a piece of one row where rows are long and nothing is summed along them. Pointers stand in a table:
// first the operands' (at the block), then scratch slots, then rows' slots, then constants. What depends on no row (a bias, a
// number) is brought into the form that kernels want once per task, by the prologue.
#pragma once
#include <memory>
#include <vector>

#include "../core/fused.h"
#include "pointwise_table.h"
#include "reduce_table.h"
#include "stage.h"

namespace mg::cpu {

struct FusedInstruction {
  enum class Code : uint8_t {
    Compute,  // fn(out, in …)
    Convert,  // stage(out <- in), both dense
    Gather,   // stage(out <- operand)
    Scatter,  // stage(operand <- in)
    Stream,   // in -> operand around the caches, both dense
    Repeat,   // a number per row, repeated along it
    Fold,     // each row of `in` -> a number
    AddRows,  // rows of `in` added to the columns' sums number `column`
    FoldAll,  // all of `in` onto total number `column`
  };
  Code code = Code::Compute;
  bool rows = false;  // on one number per row instead of the block's elements
  PointwiseFn fn = nullptr;
  StageFn stage = nullptr;
  Fold fold = Fold::Sum;
  DType dtype = DType::Float32;  // Fold, AddRows, FoldAll: of what is added up
  int out = -1, in[4] = {-1, -1, -1, -1}, n_in = 0, operand = -1, column = -1;
  int64_t out_item = 0, in_item = 0;
};

struct FusedColumn {
  int operand;
  DType dtype;  // of the sums' tiles
};

struct FusedTotal {
  int operand;
  DType wide;  // of partial results: Float64 or Int64
  Fold fold;
  bool mean;
};

struct FusedCodeList {
  std::vector<FusedInstruction> prologue, body;
  std::vector<FusedColumn> columns;
  std::vector<FusedTotal> totals;
  std::vector<std::unique_ptr<char[]>> constants;
  int64_t block_rows = 1, block_cols = 1;
  bool pieces = false;  // blocks are pieces of a row
  int slots = 0, row_slots = 0;
  int64_t slot_bytes = 0, row_slot_bytes = 0;
  int64_t cost = 1;  // of an element, in additions
  // Index of the table's parts.
  int first_slot = 0, first_row_slot = 0, first_constant = 0, table = 0;
};

constexpr int kMaxFusedTable = 192;

/// False where the interpreter has no kernel for something.
bool compile_fused(const FusedProgram& program, FusedCodeList& code);

/// Operand k's elements lie as the iteration goes: number i at i * inner stride.
bool is_flat(const FusedProgram& program, int operand);

/// Generated code stores around the caches (stream.h): the operands are more than those hold.
bool is_large(const FusedProgram& program);

}  // namespace mg::cpu
