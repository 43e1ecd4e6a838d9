// The kernel of every pointwise op: brings operands into the shape that the contiguous kernels (pointwise_table.h)
// want, and runs them.
//
// Three ways an operand reaches a kernel:
//   direct    same dtype, walked in the output's order: the kernel reads the tensor itself
//   constant  a number or a one-element tensor: one block filled once, read again for every block
//   staged    anything else (strided, broadcast rows, other dtype, float16): gathered and converted block by block into
//   L1 (stage.h)
// The output is direct or staged. If nothing is staged no loop plan is built: that is the path of small tensors and of
// most large ones. Blocks hold kBlockBytes per operand. Work is cut by element ranges that depend on the size alone;
// every element is computed alone, so results never depend on the cut. The operands are the op's Tensor, Operand and
// Scalar arguments, in order.
#include "../core/layout.h"
#include "../core/op.h"
#include "../core/parallel.h"
#include "pointwise_table.h"
#include "stage.h"

namespace mg::cpu {

namespace {

constexpr int kMaxInputs = 4;
constexpr int64_t kBlockBytes = 4096;
constexpr int64_t kGrain = 32768;  // elements of an addition worth handing to another thread

// What is known about an op before its first call; hangs on Op::pointwise.
struct Entry {
  const PointwiseKernel* row = nullptr;
  const PointwiseKernel* unit = nullptr;  // for a last operand of 1: add_unit for add
  const PointwiseKernel* powers[5] = {};  // pow only: kernels for the exponents of kPowers
  const Entry* complex = nullptr;         // the same for complex operands
  int inputs = 0;
  int arg[kMaxInputs];
};

// Exponents with kernels of their own; PyTorch replaces the same ones, so pow(-0.0, 0.5) is sqrt's -0.0 here too.
struct Power {
  double exponent;
  const char* name;
};
constexpr Power kPowers[5] = {{2, "square"}, {3, "cube"}, {0.5, "sqrt"}, {-0.5, "rsqrt"}, {-1, "reciprocal"}};

void fill_rows(Entry& e, const Op& op, const PointwiseKernel* (*find)(const char*)) {
  e.row = find(op.name.c_str());
  e.unit = find((op.name + "_unit").c_str());
  if (op.name == "pow")
    for (int k = 0; k < 5; ++k) e.powers[k] = find(kPowers[k].name);
}

// Operands first, then at most an alpha of 1; float and double, where meta gives the operands' dtype or bool.
const PlainKernels* plain_kernels(const Op& op, const Entry& e) {
  const bool alpha = e.unit != nullptr;
  const int operands = e.inputs - alpha;
  if (e.row->mask || e.powers[0] != nullptr || op.n_args != e.inputs || op.n_out != 1 || operands > 3) return nullptr;
  for (int k = 0; k < op.n_args; ++k) {
    const bool scalar = op.kinds[k] == ArgKind::Scalar, last = k + 1 == op.n_args;
    if (e.arg[k] != k || (scalar && !last) || (alpha && last && !scalar)) return nullptr;
  }
  const PointwiseKernel& row = alpha ? *e.unit : *e.row;
  auto* plain = new PlainKernels;
  plain->fn[int(DType::Float32)] = row.fn[int(DType::Float32)];
  plain->fn[int(DType::Float64)] = row.fn[int(DType::Float64)];
  plain->operands = operands;
  plain->unit_last = alpha;
  plain->boolean = row.result == PointwiseResult::BOOL;
  return plain;
}

const Entry& make_entry(const Op& op) {
  auto* e = new Entry;  // lives as long as the op: for ever
  fill_rows(*e, op, find_pointwise);
  MG_CHECK(e->row != nullptr, NotImplemented, op.name, ": no cpu kernel: csrc/scalar.h has no line for it");
  for (size_t k = 0; k < op.args.size(); ++k) {
    const ArgKind kind = op.args[k].kind;
    if (kind != ArgKind::Tensor && kind != ArgKind::Operand && kind != ArgKind::Scalar) continue;
    MG_INTERNAL(e->inputs < kMaxInputs, op.name, " has more operands than a pointwise kernel takes");
    e->arg[e->inputs++] = int(k);
  }
  MG_INTERNAL(e->inputs == e->row->arity, op.name, " has ", e->inputs, " operands, its line in csrc/scalar.h ",
              int(e->row->arity));
  auto* complex = new Entry(*e);
  fill_rows(*complex, op, find_complex_pointwise);
  e->complex = complex;
  if (const PlainKernels* plain = plain_kernels(op, *e)) const_cast<Op&>(op).plain = plain;
  // Two threads may both get here; they store equal entries.
  __atomic_store_n(const_cast<const void**>(&op.pointwise), e, __ATOMIC_RELEASE);
  return *e;
}

inline const Entry& entry_of(const Op& op) {
  const void* e = __atomic_load_n(&op.pointwise, __ATOMIC_ACQUIRE);
  return e != nullptr ? *static_cast<const Entry*>(e) : make_entry(op);
}

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

[[noreturn, gnu::cold]] void fail_zero_division(const Op& op) {
  fail(ErrorKind::Runtime, op.name,
       ": ZeroDivisionError: an integer tensor was divided by zero. Try floating point operands.");
}

struct Job {
  const Op& op;
  const PointwiseKernel* row;
  PointwiseFn fn;
  DType compute;           // never float16 or bfloat16
  int64_t item, n, block;  // bytes per element, elements, elements per block
  int inputs;
  Operand out, in[kMaxInputs];
  bool staged = false, constants = false;
  const char* constant_block[kMaxInputs];  // filled for Route::Constant

  DType wanted(int k) const { return row->mask && k == 0 ? DType::Bool : compute; }
  DType out_dtype() const {
    return row->result == PointwiseResult::SAME ? compute
           : row->result == PointwiseResult::BOOL ? DType::Bool
                                                  : to_real(compute);
  }
  int64_t grain() const { return std::max<int64_t>(kGrain / (row->cost * (staged ? 2 : 1)), block) / block * block; }

  void check(int result) const {
    if (result != 0) [[unlikely]]
      fail_zero_division(op);
  }
};

void set_number(Operand& o, const Value& v) {
  o.route = Route::Constant;
  o.dtype = v.kind == Kind::Float ? DType::Float64 : v.kind == Kind::Complex ? DType::Complex128 : DType::Int64;
  if (v.kind == Kind::Float) o.real = v.f;
  else if (v.kind == Kind::Complex) o.parts = v.z;
  else o.whole = v.as_int();
}

// A mask is read as bytes: any nonzero one is true, so uint8 needs no staging either.
bool readable_as(DType stored, DType wanted) {
  return stored == wanted || (wanted == DType::Bool && stored == DType::UInt8);
}

void set_tensor(Operand& o, TensorImpl& t, DType wanted, const TensorImpl& out) {
  o.tensor = &t;
  o.dtype = t.dtype;
  o.data = t.data();
  if (t.numel == 1 && out.numel != 1) o.route = Route::Constant;
  else if (t.contiguous && out.contiguous && t.numel == out.numel && readable_as(t.dtype, wanted))
    o.route = Route::Direct;
  else o.route = Route::Staged;
}

// Drops the last operand where a simpler kernel does without it: x + 1 * y, x ** 2. Returns the row.
const PointwiseKernel* choose_row(const Entry& e, const Value* args, DType compute) {
  if (e.unit == nullptr && e.powers[0] == nullptr) return e.row;
  const Value& last = args[e.arg[e.inputs - 1]];
  if (!last.is_number() || last.kind == Kind::Complex) return e.row;
  const double x = last.as_double();
  if (e.unit != nullptr) return x == 1 ? e.unit : e.row;
  if (x < 0 && !is_inexact(compute)) [[unlikely]]
    fail(ErrorKind::Runtime, "pow: Integers to negative integer powers are not allowed. Try x.float() ** ", x, ".");
  for (int k = 0; k < 5; ++k)
    if (kPowers[k].exponent == x) return e.powers[k];
  return e.row;
}

// Fills `buffers` (kBlockBytes each) with the constants, once; every thread reads them.
void fill_constants(Job& job, char (*buffers)[kBlockBytes]) {
  for (int k = 0; k < job.inputs; ++k) {
    const Operand& o = job.in[k];
    if (o.route != Route::Constant) continue;
    const char* source = o.tensor != nullptr                ? o.data
                         : o.dtype == DType::Complex128 ? reinterpret_cast<const char*>(o.parts)
                                                        : reinterpret_cast<const char*>(&o.whole);
    const DType wanted = job.wanted(k);
    stage_fn(wanted, o.dtype)(buffers[k], itemsize(wanted), source, 0, std::min(job.n, job.block));
    job.constant_block[k] = buffers[k];
  }
}

// --- nothing staged

void run_direct(const Job& job, int64_t begin, int64_t end) {
  const int64_t step = job.constants ? job.block : end - begin, out_item = itemsize(job.out.dtype);
  for (int64_t at = begin; at < end; at += step) {
    const void* in[kMaxInputs];
    for (int k = 0; k < job.inputs; ++k)
      in[k] =
          job.in[k].route == Route::Constant ? job.constant_block[k] : job.in[k].data + at * itemsize(job.wanted(k));
    job.check(job.fn(job.out.data + at * out_item, in, std::min(step, end - at)));
  }
}

// --- staged

// Walks the elements of a plan in order, in pieces that lie in one inner row.
class Pieces {
 public:
  Pieces(const LoopPlan& plan, int64_t start) : plan_(plan), inner_(plan.inner()) {
    int64_t row = start / inner_;
    col_ = start % inner_;
    plan.row_pointers(row, ptr_);
    for (int i = plan.ndim - 2; i >= 0; --i) {
      at_[i] = row % plan.sizes[i];
      row /= plan.sizes[i];
    }
  }
  int64_t length(int64_t limit) const { return std::min(limit, inner_ - col_); }
  char* pointer(int k) const { return ptr_[k] + col_ * plan_.inner_stride(k); }
  void advance(int64_t n) {
    col_ += n;
    if (col_ < inner_) return;
    col_ = 0;
    for (int i = plan_.ndim - 2; i >= 0; --i) {
      const bool carry = ++at_[i] == plan_.sizes[i];
      const int64_t steps = carry ? 1 - plan_.sizes[i] : 1;
      for (int k = 0; k < plan_.operands; ++k) ptr_[k] += steps * plan_.strides[k][i];
      if (!carry) return;
      at_[i] = 0;
    }
  }

 private:
  const LoopPlan& plan_;
  const int64_t inner_;
  int64_t col_ = 0;
  char* ptr_[LoopPlan::kMaxOperands];
  int64_t at_[kMaxDims];
};

// True when operand k of the plan lies densely in the plan's order, so that element i is at i * item.
bool is_linear(const LoopPlan& plan, int k, int64_t item) {
  int64_t step = item;
  for (int i = plan.ndim - 1; i >= 0; --i) {
    if (plan.strides[k][i] != step) return false;
    step *= plan.sizes[i];
  }
  return true;
}

struct StagedJob {
  Job& job;
  LoopPlan plan;  // operand 0: output; then the staged and direct inputs, in order
  int slot[kMaxInputs];
  StageFn gather[kMaxInputs], scatter = nullptr;

  StagedJob(Job& j, const TensorImpl& out) : job(j), plan(out.sizes) {
    plan.add(out);
    for (int k = 0; k < job.inputs; ++k) {
      if (job.in[k].route == Route::Constant) continue;
      slot[k] = plan.operands;
      plan.add(*job.in[k].tensor);
    }
    plan.finish();
    for (int k = 0; k < job.inputs; ++k) {
      Operand& o = job.in[k];
      if (o.route == Route::Constant) continue;
      const DType wanted = job.wanted(k);
      o.route =
          readable_as(o.dtype, wanted) && is_linear(plan, slot[k], itemsize(wanted)) ? Route::Direct : Route::Staged;
      gather[k] = stage_fn(wanted, o.dtype);
    }
    const DType made = job.out_dtype();
    job.out.route = job.out.dtype == made && is_linear(plan, 0, itemsize(made)) ? Route::Direct : Route::Staged;
    scatter = stage_fn(job.out.dtype, made);
  }

  void gather_block(Pieces& from, int64_t n, char (*buffers)[kBlockBytes]) const {
    for (int64_t done = 0; done < n;) {
      const int64_t piece = from.length(n - done);
      for (int k = 0; k < job.inputs; ++k) {
        if (job.in[k].route != Route::Staged) continue;
        const int64_t item = itemsize(job.wanted(k));
        gather[k](buffers[k] + done * item, item, from.pointer(slot[k]), plan.inner_stride(slot[k]), piece);
      }
      from.advance(piece);
      done += piece;
    }
  }
  void scatter_block(Pieces& to, int64_t n, const char* buffer) const {
    const int64_t item = itemsize(job.out_dtype());
    for (int64_t done = 0; done < n;) {
      const int64_t piece = to.length(n - done);
      scatter(to.pointer(0), plan.inner_stride(0), buffer + done * item, item, piece);
      to.advance(piece);
      done += piece;
    }
  }

  void run(int64_t begin, int64_t end) const {
    alignas(64) char buffers[kMaxInputs][kBlockBytes], out_buffer[kBlockBytes];
    Pieces from(plan, begin), to(plan, begin);
    bool any_gather = false;
    for (int k = 0; k < job.inputs; ++k) any_gather |= job.in[k].route == Route::Staged;
    const bool out_direct = job.out.route == Route::Direct;
    for (int64_t at = begin; at < end; at += job.block) {
      const int64_t n = std::min(job.block, end - at);
      if (any_gather) gather_block(from, n, buffers);
      const void* in[kMaxInputs];
      for (int k = 0; k < job.inputs; ++k) {
        const Route route = job.in[k].route;
        in[k] = route == Route::Constant ? job.constant_block[k]
                : route == Route::Staged ? buffers[k]
                                         : job.in[k].data + at * itemsize(job.wanted(k));
      }
      job.check(job.fn(out_direct ? job.out.data + at * itemsize(job.out.dtype) : out_buffer, in, n));
      if (!out_direct) scatter_block(to, n, out_buffer);
    }
  }
};

void run_staged(Job& job, const TensorImpl& out) {
  const StagedJob staged(job, out);
  parallel_for(0, job.n, job.grain(), [&](int64_t begin, int64_t end) { staged.run(begin, end); });
}

[[noreturn, gnu::cold]] void fail_dtype(const Invocation& inv) {
  fail(is_complex(inv.compute) ? ErrorKind::NotImplemented : ErrorKind::Runtime, inv.op.name,
       ": not implemented on the cpu for ", inv.compute,
       ". Try converting with .to(dtype).");
}
[[noreturn, gnu::cold]] void fail_none(const Invocation& inv, int arg) {
  fail(ErrorKind::Type, inv.op.name, ": argument ", inv.op.args[size_t(arg)].name,
       " must be a Tensor or a number, got None");
}

void set_up(Job& job, Invocation& inv, const Entry& e, const TensorImpl& out) {
  job.item = itemsize(job.compute);
  job.block = kBlockBytes / job.item;
  job.out.data = out.data();
  job.out.dtype = out.dtype;
  job.staged = !out.contiguous || out.dtype != job.out_dtype();
  for (int k = 0; k < job.inputs; ++k) {
    const Value& v = inv.args[e.arg[k]];
    if (v.is_tensor()) set_tensor(job.in[k], *v.t, job.wanted(k), out);
    else if (v.is_number()) set_number(job.in[k], v);
    else fail_none(inv, e.arg[k]);
    job.staged |= job.in[k].route == Route::Staged;
    job.constants |= job.in[k].route == Route::Constant;
  }
}

// Small tensors that need nothing done to them: one kernel call. False if there is a number among the operands.
bool run_small(Invocation& inv, const Entry& e, const PointwiseKernel* row, PointwiseFn fn, const TensorImpl& out) {
  const void* in[kMaxInputs];
  for (int k = 0; k < row->arity; ++k) {
    const Value& v = inv.args[e.arg[k]];
    if (!v.is_tensor()) return false;
    in[k] = v.t->data();
  }
  if (fn(out.data(), in, out.numel) != 0) [[unlikely]]
    fail_zero_division(inv.op);
  return true;
}

void run_pointwise(Invocation& inv, const Entry& e) {
  const TensorImpl& out = inv.out();
  const bool low = inv.compute == DType::Float16 || inv.compute == DType::BFloat16;
  const DType compute = low ? DType::Float32 : inv.compute;
  const PointwiseKernel* row = choose_row(e, inv.args, compute);
  const PointwiseFn fn = row->fn[int(compute)];
  if (fn == nullptr) [[unlikely]]
    fail_dtype(inv);
  if (inv.plain && !low && out.contiguous && out.numel <= kGrain / 8 && run_small(inv, e, row, fn, out)) return;
  if (out.numel == 0) return;
  // clang-format off
  Job job{.op = inv.op, .row = row, .fn = fn, .compute = compute, .item = 0, .n = out.numel, .block = 0, .inputs = row->arity,
          .out = {}, .in = {}, .constant_block = {}};
  // clang-format on
  set_up(job, inv, e, out);
  alignas(64) char constants[kMaxInputs][kBlockBytes];
  if (job.constants) fill_constants(job, constants);
  if (job.staged) return run_staged(job, out);
  parallel_for(0, job.n, job.grain(), [&](int64_t begin, int64_t end) { run_direct(job, begin, end); });
}

void pointwise(Invocation& inv) { run_pointwise(inv, entry_of(inv.op)); }

void complex_pointwise(Invocation& inv) {
  const Entry& e = *entry_of(inv.op).complex;
  if (e.row == nullptr) fail_dtype(inv);
  run_pointwise(inv, e);
}

MG_KERNEL("pointwise", CPU, pointwise);
MG_KERNEL_COMPLEX("pointwise", CPU, complex_pointwise);

}  // namespace

}  // namespace mg::cpu
