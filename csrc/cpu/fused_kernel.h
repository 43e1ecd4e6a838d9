// A fused program on the CPU, see fused.cpp.
#pragma once
#include "fused_code.h"

namespace mg::cpu {

class CpuFusedKernel final : public FusedKernel {
 public:
  explicit CpuFusedKernel(FusedProgram p);
  void run(void* const* operands) const override;
  bool runs() const { return runs_; }

  const FusedCodeList& list() const { return list_; }
  int n_operands() const { return int(walks_.size()); }
  int64_t inner(int k) const { return walks_[size_t(k)].inner; }  // bytes
  bool flat(int k) const { return walks_[size_t(k)].flat; }
  PointwiseFn adder(int column) const { return adders_[size_t(column)]; }
  int64_t offset(int k, int64_t row) const {  // of a row's first element, in bytes
    const Walk& w = walks_[size_t(k)];
    return w.single ? row * w.row : far_offset(k, row);
  }

 private:
  struct Walk {
    int64_t item, inner, row;
    bool flat, single;  // single: rows follow each other at one distance
  };
  int64_t far_offset(int k, int64_t row) const;
  void run_code(void* const* operands) const;
  struct Sums;
  void run_with_sums(void* const* operands) const;
  void run_part(void* const* operands, Sums& sums, int64_t first, int64_t last) const;
  void store_columns(void* const* operands, char* memory, int64_t each, int64_t line) const;
  void store_total(void* const* operands, const FusedTotal& total, char* first, int64_t each) const;

  FusedCodeList list_;
  std::vector<Walk> walks_;
  std::vector<int64_t> flat_strides_;
  std::vector<PointwiseFn> adders_;
  int64_t units_ = 1, parts_ = 1;
  bool runs_ = false;
};

}  // namespace mg::cpu
