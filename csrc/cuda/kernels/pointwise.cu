// The kernel of every pointwise op: finds the op's row, brings operands into the form of a PointwiseCall (pointwise.h), runs it.
#include "pointwise.h"

#include <cstring>
#include <unordered_map>

namespace mg::cuda {
namespace {

// What is known about an op after its first call.
struct Entry {
  const PointwiseRow* row = nullptr;
  const PointwiseRow* unit = nullptr;  // for a last operand of 1: add_unit for add
  const PointwiseRow* powers[5] = {};  // pow only
  int inputs = 0;
  int arg[kMaxInputs];
};
// Exponents with rows of their own, the same as on the CPU.
struct Power {
  double exponent;
  const char* name;
};
constexpr Power kPowers[5] = {{2, "square"}, {3, "cube"}, {0.5, "sqrt"}, {-0.5, "rsqrt"}, {-1, "reciprocal"}};

const PointwiseRow* find_row(const std::string& name, bool complex) {
  const auto in = [&](const PointwiseRow* row) -> const PointwiseRow* {
    for (; row->name != nullptr; ++row)
      if (name == row->name) return row;
    return nullptr;
  };
  if (complex) return in(complex_rows);
  for (const PointwiseRow* table : {unary_float_rows, unary_rows, binary_float_rows, binary_rows, ternary_rows, special_rows})
    if (const PointwiseRow* row = in(table)) return row;
  return nullptr;
}

Entry make_entry(const Op& op, bool complex) {
  Entry e;
  e.row = find_row(op.name, complex);
  if (e.row == nullptr) return e;
  e.unit = find_row(op.name + "_unit", complex);
  if (op.name == "pow")
    for (int k = 0; k < 5; ++k) e.powers[k] = find_row(kPowers[k].name, complex);
  for (size_t k = 0; k < op.args.size(); ++k) {
    const ArgKind kind = op.args[k].kind;
    if (kind != ArgKind::Tensor && kind != ArgKind::Operand && kind != ArgKind::Scalar) continue;
    MG_INTERNAL(e.inputs < kMaxInputs, op.name, " has more operands than a pointwise kernel takes");
    e.arg[e.inputs++] = int(k);
  }
  MG_INTERNAL(e.inputs == e.row->arity, op.name, " has ", e.inputs, " operands, its row ", int(e.row->arity));
  return e;
}
const Entry& entry_of(const Op& op, bool complex) {
  thread_local std::unordered_map<const Op*, Entry> entries[2];
  const auto found = entries[complex].find(&op);
  return found != entries[complex].end() ? found->second : entries[complex].emplace(&op, make_entry(op, complex)).first->second;
}

// Drops the last operand where a simpler row does without it: x + 1 * y, x ** 2.
const PointwiseRow* choose_row(const Entry& e, const Value* args, DType compute) {
  if (e.unit == nullptr && e.powers[0] == nullptr) return e.row;
  const Value& last = args[e.arg[e.inputs - 1]];
  if (!last.is_number() || last.kind == Kind::Complex) return e.row;
  const double x = last.as_double();
  if (e.unit != nullptr) return x == 1 ? e.unit : e.row;
  if (x < 0 && !is_inexact(compute))
    fail(ErrorKind::Runtime, "pow: Integers to negative integer powers are not allowed. Try x.float() ** ", x, ".");
  for (int k = 0; k < 5; ++k)
    if (kPowers[k].exponent == x) return e.powers[k];
  return e.row;
}

PointwiseClass class_of(DType compute) {
  return is_complex(compute)             ? kComplex
         : compute == DType::Float64     ? kDouble
         : is_floating(compute)          ? kFloat
                                         : kInt;
}

// A number in the type computed in, as the CPU's kernels see it: cut or rounded to the compute dtype.
complex128 number_in(const Value& v, DType compute) {
  if (is_complex(compute)) {
    const complex128 z = v.as_complex();
    return compute == DType::Complex64 ? convert<complex128>(convert<complex64>(z)) : z;
  }
  if (is_floating(compute)) return {compute == DType::Float64 ? v.as_double() : double(float(v.as_double())), 0};
  int64_t whole = 0;
  dispatch(compute, [&](auto tag) {
    using T = decltype(tag);
    if constexpr (std::is_integral_v<T>) whole = v.kind == Kind::Float ? int64_t(convert<T>(v.f)) : int64_t(convert<T>(v.as_int()));
  });
  return {std::bit_cast<double>(whole), 0};
}

// A number on the CPU among operands on the device.
Value host_number(const TensorImpl& t, complex128& room) {
  Value v(0);
  if (is_complex(t.dtype)) {
    room = t.dtype == DType::Complex64 ? convert<complex128>(*static_cast<const complex64*>(static_cast<const void*>(t.data())))
                                       : *static_cast<const complex128*>(static_cast<const void*>(t.data()));
    return Value(&room);
  }
  if (is_floating(t.dtype)) return Value(read_double(t));
  return Value(read_int(t));
}

bool same_order(const TensorImpl& a, const TensorImpl& b) { return a.contiguous ? b.contiguous : a.strides == b.strides; }
bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

// Memory without gaps or repetitions, in some order of the dims.
bool is_dense(const TensorImpl& t) {
  if (t.contiguous) return true;
  if (has_internal_overlap(t)) return false;
  int64_t last = 0;
  for (int d = 0; d < t.dim(); ++d) last += (t.sizes[d] - 1) * t.strides[d];
  return last + 1 == t.numel;
}

// Whether `t` can be an operand of the dense kernel for `compute`.
bool fits_dense(const TensorImpl& t, const TensorImpl& out, DType compute, bool mask) {
  if (t.sizes != out.sizes || !same_order(out, t) || !aligned(t.data())) return false;
  if (mask) return t.dtype == DType::Bool || t.dtype == DType::UInt8;
  if (t.dtype == compute) return true;
  const auto float_group = [](DType d) { return d == DType::Float32 || d == DType::Float16 || d == DType::BFloat16; };
  return float_group(t.dtype) && float_group(compute);
}

struct Prepared {
  PointwiseCall call;
  const TensorImpl* tensors[kMaxInputs];
};
void prepare(Prepared& p, Invocation& inv, const Entry& e, const PointwiseRow& row) {
  const TensorImpl& out = inv.out();
  PointwiseCall& call = p.call;
  call.out = out.data();
  call.out_dtype = out.dtype;
  call.compute = inv.compute;
  call.n = out.numel;
  call.note = fault_note(inv.op);
  const DType result = row.result == PointwiseResult::BOOL ? DType::Bool : inv.compute;
  call.dense = row.has_dense && out.dtype == result && is_dense(out) && aligned(out.data());
  for (int k = 0; k < row.arity; ++k) {
    const Value& v = inv.args[e.arg[k]];
    Source& s = call.in[k];
    p.tensors[k] = nullptr;
    complex128 room;
    if (v.is_tensor() && v.t->device.type == DeviceType::CUDA) {
      s = {v.t->data(), v.t->dtype, false, {}};
      p.tensors[k] = v.t;
      call.dense = call.dense && fits_dense(*v.t, out, inv.compute, row.mask && k == 0);
    } else if (v.is_tensor() || v.is_number()) {
      s = {nullptr, inv.compute, true, number_in(v.is_tensor() ? host_number(*v.t, room) : v, inv.compute)};
    } else {
      fail(ErrorKind::Type, inv.op.name, ": argument ", inv.op.args[size_t(e.arg[k])].name, " must be a Tensor or a number, got None");
    }
  }
}

void run_row(Invocation& inv, bool complex) {
  const Entry& e = entry_of(inv.op, complex);
  const PointwiseRow* row = e.row == nullptr ? nullptr : choose_row(e, inv.args, inv.compute);
  const PointwiseRun run = row == nullptr ? nullptr : row->run[class_of(inv.compute)];
  if (run == nullptr) fail(ErrorKind::NotImplemented, inv.op.name, ": no cuda kernel for ", inv.compute, ". Try converting with .to(dtype).");
  // No bool arithmetic in 64 bits turns ~1 into 0.
  static const PointwiseRow* const logical_not = find_row("logical_not", false);
  if (inv.compute == DType::Bool && std::strcmp(row->name, "bitwise_not") == 0) row = logical_not;
  const TensorImpl& out = inv.out();
  if (out.numel == 0) return;
  Prepared p;
  prepare(p, inv, e, *row);
  LoopPlan plan(out.sizes);
  if (!p.call.dense) {
    plan.add(out);
    for (int k = 0; k < row->arity; ++k) {
      if (p.tensors[k] != nullptr) plan.add(*p.tensors[k]);
      else plan.add_scalar(nullptr);
    }
    plan.finish();
  }
  p.call.plan = &plan;
  row->run[class_of(inv.compute)](p.call);
}

void pointwise_cuda(Invocation& inv) { run_row(inv, false); }
void complex_pointwise_cuda(Invocation& inv) { run_row(inv, true); }
MG_CUDA_KERNEL("pointwise", pointwise_cuda);
MG_CUDA_KERNEL_COMPLEX("pointwise", complex_pointwise_cuda);

}  // namespace
}  // namespace mg::cuda
