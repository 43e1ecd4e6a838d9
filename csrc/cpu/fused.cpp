// Fused kernels on the CPU: the blocked interpreter, and the way to run generated code. The iteration space is cut into blocks and these into
// tasks by sizes alone, so results do not depend on the number of threads; sums over rows are kept per part of the rows and added in order.
#include <algorithm>
#include <limits>
#include <memory>

#include "../core/allocator.h"
#include "../core/parallel.h"
#include "fused_code.h"
#include "fused_kernel.h"
#include "reduce.h"
#include "stream.h"

namespace mg::cpu {

namespace {

constexpr int64_t kGrain = 32768;     // additions worth handing to another thread
constexpr int64_t kMostCalls = 128;   // of generated code, where rows are many: each waits for what it stored around the caches
constexpr int64_t kMostParts = 32;    // of the rows, each with sums of its own
constexpr int64_t kMostTotals = 256;  // parts where a part has nothing but totals
constexpr int64_t kPiece = 8192;      // columns of a long row that go to one part: whole blocks, and whole runs of a fold
constexpr int64_t kSummedRows = 64;   // rows added up in the elements' own type before they go to the wider one

// Memory of one task, kept by its thread.
class Scratch {
 public:
  char* take(size_t bytes) {
    if (bytes > size_) {
      if (data_ != nullptr) cpu_free(data_, size_);
      data_ = nullptr;
      size_ = 0;
      data_ = static_cast<char*>(cpu_alloc(bytes));
      size_ = bytes;
    }
    return data_;
  }
  ~Scratch() {
    if (data_ != nullptr) cpu_free(data_, size_);
  }

 private:
  char* data_ = nullptr;
  size_t size_ = 0;
};
thread_local Scratch scratch;

struct Block {
  int64_t row, rows, col, cols;
};

// Sums over rows: a tile in the elements' type, emptied into the wider one.
struct ColumnSum {
  char *tile, *total;
  int64_t waiting;  // rows in the tile
};

template <class T>
void empty_tile(ColumnSum& sum, int64_t cols) {
  T* tile = reinterpret_cast<T*>(sum.tile);
  Acc<T>* total = reinterpret_cast<Acc<T>*>(sum.total);
  for (int64_t c = 0; c < cols; ++c) {
    if constexpr (std::is_same_v<T, int64_t>) total[c] = int64_t(uint64_t(total[c]) + uint64_t(tile[c]));
    else total[c] += Acc<T>(tile[c]);
    tile[c] = 0;
  }
  sum.waiting = 0;
}
void empty_tile(ColumnSum& sum, DType d, int64_t cols) {
  if (d == DType::Float32) empty_tile<float>(sum, cols);
  else if (d == DType::Float64) empty_tile<double>(sum, cols);
  else empty_tile<int64_t>(sum, cols);
}

template <class A>
constexpr A nothing(Fold f) {  // what a total begins with
  if (f != Fold::Max && f != Fold::Min) return A(f == Fold::Prod);
  using Limits = std::numeric_limits<A>;
  if constexpr (Limits::has_infinity) return f == Fold::Max ? -Limits::infinity() : Limits::infinity();
  else return f == Fold::Max ? Limits::min() : Limits::max();
}

template <class T>
void fold_onto(Fold f, char* total, const char* in, int64_t rows, int64_t cols) {
  fold_fns<T>(f).onto(reinterpret_cast<Acc<T>*>(total), reinterpret_cast<const T*>(in), rows, cols);
}

template <class T>
void fold_rows(Fold f, char* out, const char* in, int64_t rows, int64_t cols) {
  Acc<T> acc[512];
  fold_fns<T>(f).rows(acc, reinterpret_cast<const T*>(in), rows, cols, cols, nullptr, 0);
  for (int64_t r = 0; r < rows; ++r) reinterpret_cast<T*>(out)[r] = T(acc[r]);
}

// Runs blocks one after the other: the table of pointers and what belongs to one task.
class Task {
 public:
  Task(const CpuFusedKernel& kernel, void* const* operands, ColumnSum* sums = nullptr, char* const* totals = nullptr)
      : k_(kernel), code_(kernel.list()), bases_(operands), sums_(sums), totals_(totals) {
    char* memory = scratch.take(size_t(code_.slots * code_.slot_bytes + code_.row_slots * code_.row_slot_bytes));
    for (int s = 0; s < code_.slots; ++s, memory += code_.slot_bytes) at_[code_.first_slot + s] = memory;
    for (int s = 0; s < code_.row_slots; ++s, memory += code_.row_slot_bytes) at_[code_.first_row_slot + s] = memory;
    for (size_t c = 0; c < code_.constants.size(); ++c) {
      char* p = code_.constants[c].get();
      at_[code_.first_constant + int(c)] = p + (-reinterpret_cast<intptr_t>(p) & 63);
    }
    block_ = {0, code_.block_rows, 0, code_.block_cols};
    if (code_.prologue.empty()) return;
    move_to(block_);
    for (const FusedInstruction& i : code_.prologue) run(i);
  }

  void block(const Block& b) {
    move_to(b);
    for (const FusedInstruction& i : code_.body) run(i);
  }

 private:
  void move_to(const Block& b) {
    block_ = b;
    for (int k = 0; k < k_.n_operands(); ++k) at_[k] = static_cast<char*>(bases_[k]) + k_.offset(k, b.row) + b.col * k_.inner(k);
  }

  // f(address of the operand at a row of the block, row's number in it, elements), or once for all of them where they follow each other
  template <class F>
  void each_row(int operand, F&& f) {
    if (block_.rows == 1) return f(at_[operand], 0, block_.cols);
    if (k_.flat(operand)) return f(at_[operand], 0, block_.rows * block_.cols);
    for (int64_t r = 0; r < block_.rows; ++r) f(static_cast<char*>(bases_[operand]) + k_.offset(operand, block_.row + r), r, block_.cols);
  }

  void run(const FusedInstruction& i) {
    using Code = FusedInstruction::Code;
    const int64_t n = i.rows ? block_.rows : block_.rows * block_.cols;
    switch (i.code) {
      case Code::Compute: {
        const void* in[4];
        for (int k = 0; k < i.n_in; ++k) in[k] = at_[i.in[k]];
        i.fn(at_[i.out], in, n);
        return;
      }
      case Code::Convert: return i.stage(at_[i.out], i.out_item, at_[i.in[0]], i.in_item, n);
      case Code::Gather: return gather(i);
      case Code::Scatter: return scatter(i);
      case Code::Stream: {
        stream_.copy(at_[i.operand], at_[i.in[0]], n * i.in_item);
        return;
      }
      case Code::Repeat:
        for (int64_t r = 0; r < block_.rows; ++r) i.stage(at_[i.out] + r * block_.cols * i.out_item, i.out_item, at_[i.in[0]] + r * i.in_item, 0, block_.cols);
        return;
      case Code::Fold:
        if (i.dtype == DType::Float32) fold_rows<float>(i.fold, at_[i.out], at_[i.in[0]], block_.rows, block_.cols);
        else if (i.dtype == DType::Float64) fold_rows<double>(i.fold, at_[i.out], at_[i.in[0]], block_.rows, block_.cols);
        else fold_rows<int64_t>(i.fold, at_[i.out], at_[i.in[0]], block_.rows, block_.cols);
        return;
      case Code::AddRows: return add_rows(i);
      case Code::FoldAll: {
        char* total = totals_[i.column];
        if (i.dtype == DType::Float32) fold_onto<float>(i.fold, total, at_[i.in[0]], block_.rows, block_.cols);
        else if (i.dtype == DType::Float64) fold_onto<double>(i.fold, total, at_[i.in[0]], block_.rows, block_.cols);
        else fold_onto<int64_t>(i.fold, total, at_[i.in[0]], block_.rows, block_.cols);
        return;
      }
    }
  }

  void gather(const FusedInstruction& i) {
    if (i.rows) {
      for (int64_t r = 0; r < block_.rows; ++r)
        i.stage(at_[i.out] + r * i.out_item, i.out_item, static_cast<char*>(bases_[i.operand]) + k_.offset(i.operand, block_.row + r), 0, 1);
      return;
    }
    each_row(i.operand, [&](char* p, int64_t r, int64_t n) { i.stage(at_[i.out] + r * block_.cols * i.out_item, i.out_item, p, k_.inner(i.operand), n); });
  }

  void scatter(const FusedInstruction& i) {
    if (i.rows) {
      for (int64_t r = 0; r < block_.rows; ++r)
        i.stage(static_cast<char*>(bases_[i.operand]) + k_.offset(i.operand, block_.row + r), i.out_item, at_[i.in[0]] + r * i.in_item, i.in_item, 1);
      return;
    }
    each_row(i.operand, [&](char* p, int64_t r, int64_t n) { i.stage(p, k_.inner(i.operand), at_[i.in[0]] + r * block_.cols * i.in_item, i.in_item, n); });
  }

  void add_rows(const FusedInstruction& i) {
    ColumnSum& sum = sums_[i.column];
    const PointwiseFn add = k_.adder(i.column);
    for (int64_t r = 0; r < block_.rows; ++r) {
      const void* in[2] = {sum.tile, at_[i.in[0]] + r * block_.cols * i.in_item};
      add(sum.tile, in, block_.cols);
      if (++sum.waiting == kSummedRows) empty_tile(sum, i.dtype, block_.cols);
    }
  }

  const CpuFusedKernel& k_;
  const FusedCodeList& code_;
  void* const* bases_;
  ColumnSum* sums_;
  char* const* totals_;
  Block block_{};
  char* at_[kMaxFusedTable];
  Stream stream_;
};

}  // namespace

CpuFusedKernel::CpuFusedKernel(FusedProgram p) : FusedKernel(std::move(p)) {
  runs_ = compile_fused(program, list_);
  const int axes = program.sizes.size();
  for (size_t k = 0; k < program.operands.size(); ++k) {
    const FusedOperand& o = program.operands[k];
    Walk w;
    w.item = itemsize(o.dtype);
    w.inner = o.strides.back() * w.item;
    w.flat = is_flat(program, int(k));
    w.row = w.flat ? program.cols() * w.inner : axes == 2 ? o.strides[0] * w.item : 0;
    w.single = w.flat || axes <= 2;
    walks_.push_back(w);
    flat_strides_.insert(flat_strides_.end(), o.strides.begin(), o.strides.end());
  }
  for (const FusedColumn& c : list_.columns) adders_.push_back(find_pointwise("add_unit")->fn[int(c.dtype)]);
  const int64_t rows = program.rows();
  units_ = list_.pieces ? rows * ((program.cols() - 1) / kPiece + 1) : (rows - 1) / list_.block_rows + 1;
  const int64_t most = !list_.columns.empty() ? kMostParts : !list_.totals.empty() ? kMostTotals : 1;
  parts_ = std::clamp<int64_t>(rows * program.cols() * list_.cost / (4 * kGrain), 1, std::min(most, units_));
}

int64_t CpuFusedKernel::far_offset(int k, int64_t row) const {
  const Dims& strides = program.operands[size_t(k)].strides;
  int64_t at = 0;
  for (int axis = program.sizes.size() - 2; axis >= 0; --axis) {
    at += row % program.sizes[axis] * strides[axis];
    row /= program.sizes[axis];
  }
  return at * walks_[size_t(k)].item;
}

void CpuFusedKernel::run(void* const* operands) const {
  if (!list_.columns.empty() || !list_.totals.empty()) return run_with_sums(operands);
  if (code != nullptr) return run_code(operands);
  const int64_t rows = program.rows(), cols = program.cols();
  const int64_t work = list_.block_rows * list_.block_cols * list_.cost, grain = std::max<int64_t>(kGrain / work, 1);
  if (list_.pieces) {
    const int64_t per_row = (cols - 1) / list_.block_cols + 1;
    parallel_for(0, rows * per_row, grain, [&](int64_t begin, int64_t end) {
      Task task(*this, operands);
      for (int64_t b = begin; b < end; ++b) {
        const int64_t col = b % per_row * list_.block_cols;
        task.block({b / per_row, 1, col, std::min(list_.block_cols, cols - col)});
      }
    });
    return;
  }
  parallel_for(0, (rows - 1) / list_.block_rows + 1, grain, [&](int64_t begin, int64_t end) {
    Task task(*this, operands);
    for (int64_t b = begin; b < end; ++b) task.block({b * list_.block_rows, std::min(list_.block_rows, rows - b * list_.block_rows), 0, cols});
  });
}

void CpuFusedKernel::run_code(void* const* operands) const {
  const int64_t rows = program.rows(), cols = program.cols();
  const int64_t* sizes = program.sizes.data();
  if (program.reduces() || rows >= 64 || cols <= kGrain / 4) {
    const int64_t grain = std::max<int64_t>({kGrain / (cols * list_.cost), rows / kMostCalls, 1});
    parallel_for(0, rows, grain, [&](int64_t r0, int64_t r1) { code(operands, sizes, flat_strides_.data(), r0, r1, 0, cols); });
    return;
  }
  const int64_t piece = std::max<int64_t>(kGrain / list_.cost, 2048) / 64 * 64, per_row = (cols - 1) / piece + 1;
  parallel_for(0, rows * per_row, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t col = b % per_row * piece;
      code(operands, sizes, flat_strides_.data(), b / per_row, b / per_row + 1, col, std::min(col + piece, cols));
    }
  });
}

// What a part of the space adds up: per column a total of 8 bytes and a tile, then a number per total, in one piece of memory.
struct CpuFusedKernel::Sums {
  std::vector<ColumnSum> columns;
  std::vector<char*> totals;
};

void CpuFusedKernel::run_with_sums(void* const* operands) const {
  const int64_t line = (program.cols() * 8 + 63) / 64 * 64, columns = int64_t(list_.columns.size()) * 2 * line;
  const int64_t each = columns + (int64_t(list_.totals.size()) * 8 + 63) / 64 * 64, per_part = (units_ - 1) / parts_ + 1;
  const size_t bytes = size_t(parts_ * each);
  char* memory = static_cast<char*>(cpu_alloc(bytes));
  struct Free {
    void* p;
    size_t n;
    ~Free() { cpu_free(p, n); }
  } freed{memory, bytes};
  std::memset(memory, 0, bytes);
  parallel_for(0, parts_, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      char* own = memory + part * each;
      Sums sums;
      for (size_t c = 0; c < list_.columns.size(); ++c) sums.columns.push_back({own + int64_t(2 * c + 1) * line, own + int64_t(2 * c) * line, 0});
      for (size_t k = 0; k < list_.totals.size(); ++k) {
        const FusedTotal& total = list_.totals[k];
        sums.totals.push_back(own + columns + int64_t(8 * k));
        if (total.wide == DType::Int64) *reinterpret_cast<int64_t*>(sums.totals[k]) = nothing<int64_t>(total.fold);
        else *reinterpret_cast<double*>(sums.totals[k]) = nothing<double>(total.fold);
      }
      const int64_t first = std::min(part * per_part, units_), last = std::min(first + per_part, units_);
      if (first < last) run_part(operands, sums, first, last);
    }
  });
  store_columns(operands, memory, each, line);
  for (size_t k = 0; k < list_.totals.size(); ++k) store_total(operands, list_.totals[k], memory + columns + int64_t(8 * k), each);
}

// Units [first, last) of the space: blocks of rows, or pieces of rows. Generated code adds to the tiles and the totals.
void CpuFusedKernel::run_part(void* const* operands, Sums& sums, int64_t first, int64_t last) const {
  const int64_t rows = program.rows(), cols = program.cols(), per_row = (cols - 1) / kPiece + 1;
  const auto empty_tiles = [&] {
    for (size_t c = 0; c < sums.columns.size(); ++c) empty_tile(sums.columns[c], list_.columns[c].dtype, cols);
  };
  const int64_t r0 = first * list_.block_rows, r1 = std::min(last * list_.block_rows, rows);
  if (code != nullptr) {
    std::vector<void*> at(operands, operands + n_operands());
    for (size_t c = 0; c < sums.columns.size(); ++c) at[size_t(list_.columns[c].operand)] = sums.columns[c].tile;
    for (size_t k = 0; k < sums.totals.size(); ++k) at[size_t(list_.totals[k].operand)] = sums.totals[k];
    const auto run = [&](int64_t row0, int64_t row1, int64_t col0, int64_t col1) {
      code(at.data(), program.sizes.data(), flat_strides_.data(), row0, row1, col0, col1);
    };
    for (int64_t u = first; u < last && list_.pieces; ++u) {
      const int64_t col = u % per_row * kPiece;
      run(u / per_row, u / per_row + 1, col, std::min(col + kPiece, cols));
    }
    for (int64_t r = r0; r < r1 && !list_.pieces; r += kSummedRows) {
      run(r, std::min(r + kSummedRows, r1), 0, cols);
      empty_tiles();
    }
    return;
  }
  Task task(*this, operands, sums.columns.data(), sums.totals.data());
  for (int64_t u = first; u < last && list_.pieces; ++u) {
    const int64_t col = u % per_row * kPiece, end = std::min(col + kPiece, cols);
    for (int64_t c = col; c < end; c += list_.block_cols) task.block({u / per_row, 1, c, std::min(list_.block_cols, end - c)});
  }
  for (int64_t r = r0; r < r1 && !list_.pieces; r += list_.block_rows) task.block({r, std::min(list_.block_rows, r1 - r), 0, cols});
  empty_tiles();
}

// The parts' sums in order; part k's lie at memory + k * each.
void CpuFusedKernel::store_columns(void* const* operands, char* memory, int64_t each, int64_t line) const {
  const int64_t cols = program.cols();
  for (size_t c = 0; c < list_.columns.size(); ++c) {
    const FusedColumn& column = list_.columns[c];
    const DType wide = column.dtype == DType::Int64 ? DType::Int64 : DType::Float64;
    char* first = memory + int64_t(2 * c) * line;
    const PointwiseFn add = parts_ > 1 ? find_pointwise("add_unit")->fn[int(wide)] : nullptr;
    for (int64_t part = 1; part < parts_; ++part) {
      const void* in[2] = {first, first + part * each};
      add(first, in, cols);
    }
    const FusedOperand& o = program.operands[size_t(column.operand)];
    stage_fn(o.dtype, wide)(static_cast<char*>(operands[column.operand]), inner(column.operand), first, itemsize(wide), cols);
  }
}

void CpuFusedKernel::store_total(void* const* operands, const FusedTotal& total, char* first, int64_t each) const {
  const auto merged = [&](auto* at) {
    auto all = *at;
    for (int64_t part = 1; part < parts_; ++part) all = merge_partials(total.fold, all, *reinterpret_cast<decltype(at)>(first + part * each));
    return all;
  };
  const FusedOperand& o = program.operands[size_t(total.operand)];
  char* out = static_cast<char*>(operands[total.operand]);
  if (total.wide == DType::Int64) {
    const int64_t all = merged(reinterpret_cast<int64_t*>(first));
    return stage_fn(o.dtype, total.wide)(out, 0, reinterpret_cast<const char*>(&all), 0, 1);
  }
  double all = merged(reinterpret_cast<double*>(first));
  if (total.mean) all /= double(program.rows() * program.cols());
  stage_fn(o.dtype, total.wide)(out, 0, reinterpret_cast<const char*>(&all), 0, 1);
}

// Null where the interpreter has no kernel for something.
static std::unique_ptr<FusedKernel> make_fused(FusedProgram program) {
  auto kernel = std::make_unique<CpuFusedKernel>(std::move(program));
  if (!kernel->runs()) return nullptr;
  return kernel;
}
[[maybe_unused]] static const bool registered = (register_fused_factory(DeviceType::CPU, make_fused), true);

}  // namespace mg::cpu
