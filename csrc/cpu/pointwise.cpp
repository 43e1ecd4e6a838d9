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
#include "pointwise_job.h"
#include "stage.h"

namespace mg::cpu {

void fail_zero_division(const Op& op) {
  fail(ErrorKind::Runtime, op.name,
       ": ZeroDivisionError: an integer tensor was divided by zero. Try floating point operands.");
}

namespace {

constexpr int64_t kGrain = kPointwiseGrain;

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

void set_number(Operand& o, const Value& v) {
  o.route = Route::Constant;
  o.dtype = v.kind == Kind::Float ? DType::Float64 : v.kind == Kind::Complex ? DType::Complex128 : DType::Int64;
  if (v.kind == Kind::Float) o.real = v.f;
  else if (v.kind == Kind::Complex) o.parts = v.z;
  else o.whole = v.as_int();
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
  const int64_t step = job.constants || job.stream ? job.block : end - begin, out_item = itemsize(job.out.dtype);
  alignas(64) char block[kBlockBytes];
  Stream stream;
  for (int64_t at = begin; at < end; at += step) {
    const void* in[kMaxInputs];
    const int64_t n = std::min(step, end - at);
    Ahead ahead;
    for (int k = 0; k < job.inputs; ++k) {
      const int64_t item = itemsize(job.wanted(k));
      const bool constant = job.in[k].route == Route::Constant;
      in[k] = constant ? job.constant_block[k] : job.in[k].data + at * item;
      if (job.stream && !constant) ahead.add(job.in[k].data + (at + n) * item, item, out_item);
    }
    char* const to = job.out.data + at * out_item;
    job.check(job.fn(job.stream ? block : to, in, n));
    if (job.stream) stream.copy(to, block, n * out_item, ahead);
  }
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
  job.stream = job.streams(out);
  for (int k = 0; k < job.inputs; ++k) job.stream &= job.in[k].data != job.out.data;  // in place the lines are there already
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
