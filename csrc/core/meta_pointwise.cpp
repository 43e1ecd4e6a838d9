// Shape and dtype rules of the pointwise families (one functor of csrc/scalar.h, any number of operands).
//
// Operands are the arguments of kind Tensor, Operand or Scalar. Tensors broadcast; tensors and Operand numbers take part in dtype
// promotion (PyTorch's result_type); Scalars (alpha, negative_slope …) never change the dtype. The result keeps the memory order of the
// first full-shape operand when that is dense but not row-major (transposed, channels_last), as PyTorch's TensorIterator does.
#include "layout.h"
#include "meta.h"

namespace mg {

constinit DType default_dtype = DType::Float32;

void Promotion::add(const Value& v) {
  if (v.is_tensor()) {
    const TensorImpl& t = *v.t;
    bool& seen = t.is_wrapped_number ? has_number : t.dim() ? has_dim : has_zero;
    DType& so_far = t.is_wrapped_number ? number : t.dim() ? dim : zero;
    so_far = seen ? promote(so_far, t.dtype) : t.dtype;
    seen = true;
  } else if (v.is_number()) {
    DType d = v.kind == Kind::Bool      ? DType::Bool
              : v.kind == Kind::Int     ? DType::Int64
              : v.kind == Kind::Complex ? to_complex(default_dtype)
                                        : default_dtype;
    number = has_number ? promote(number, d) : d;
    has_number = true;
  }
}

static int category(DType d) { return d == DType::Bool ? 0 : is_complex(d) ? 3 : is_floating(d) ? 2 : 1; }
static int category(const Value& number) {
  return number.kind == Kind::Complex ? 3 : number.kind == Kind::Float ? 2 : number.kind == Kind::Int ? 1 : 0;
}

// `low` of a higher category lends it to `high`; the width of floating and complex values is that of `high`.
static DType lend(DType high, DType low) {
  if (category(low) <= category(high)) return high;
  return is_floating(high) ? to_complex(high) : promote(high, low);
}

// A lower-priority class only matters when its category (bool < int < float < complex) is higher.
DType Promotion::result() const {
  DType d = dim;
  bool have = has_dim;
  if (has_zero) {
    d = have ? lend(d, zero) : zero;
    have = true;
  }
  if (has_number) {
    d = have ? lend(d, category(number) == 3 ? to_complex(default_dtype) : category(number) == 2 ? default_dtype : number) : number;
  }
  return d;
}

static bool is_operand(const Arg& a) {
  return a.kind == ArgKind::Tensor || a.kind == ArgKind::Operand || a.kind == ArgKind::Scalar;
}

// Dense, non-overlapping but permuted: some order of the dims is contiguous.
static bool dense_permuted(const TensorImpl& t) {
  if (t.contiguous) return false;
  int order[kMaxDims];
  int n = 0;
  for (int i = 0; i < t.dim(); ++i) {
    if (t.sizes[i] == 1) continue;
    int j = n++;
    for (; j > 0 && t.strides[order[j - 1]] > t.strides[i]; --j) order[j] = order[j - 1];
    order[j] = i;
  }
  int64_t step = 1;
  for (int j = 0; j < n; ++j) {
    if (t.strides[order[j]] != step) return false;
    step *= t.sizes[order[j]];
  }
  return true;
}

static void broadcast_all(const Op& op, const Value* args, OutSpec& out, const TensorImpl& first) {
  out.sizes = first.sizes;
  for (size_t k = 0; k < op.args.size(); ++k) {
    if (!args[k].is_tensor() || broadcast_into(out.sizes, args[k].t->sizes)) continue;
    std::string shapes;
    for (size_t j = 0; j < op.args.size(); ++j)
      if (args[j].is_tensor()) shapes += str(shapes.empty() ? "" : ", ", op.args[j].name, " ", args[j].t->sizes);
    fail(ErrorKind::Runtime, op.name, ": shapes cannot be broadcast together: got ", shapes,
         ", expected equal sizes or 1 in every dimension counted from the right. Try unsqueeze() or expand().");
  }
  for (size_t k = 0; k < op.args.size(); ++k) {
    if (!args[k].is_tensor() || args[k].t->sizes != out.sizes) continue;
    if (args[k].t->contiguous) return;
    if (dense_permuted(*args[k].t)) {
      out.has_strides = true;
      out.strides = args[k].t->strides;
      return;
    }
  }
}

// Fills sizes, device and the promoted dtype (in r.compute). Returns that dtype.
static DType infer(const Op& op, const Value* args, MetaResult& r) {
  const int n = int(op.args.size());
  OutSpec& out = r.out[0];
  TensorImpl* first = nullptr;
  bool plain = true;  // one dtype, one shape, one device, contiguous: no promotion, no broadcasting
  for (int k = 0; k < n; ++k) {
    const Value& v = args[k];
    if (v.is_tensor()) {
      if (first == nullptr) first = v.t;
      else plain = plain && v.t->dtype == first->dtype && v.t->device == first->device && v.t->sizes == first->sizes;
      plain = plain && v.t->contiguous;
    } else if (v.is_number() && op.args[k].kind == ArgKind::Operand) {
      plain = plain && first && category(first->dtype) >= category(v);
    }
  }
  MG_CHECK(first != nullptr, Type, op.name, ": expected at least one Tensor among the operands, got only numbers");
  if (plain) [[likely]] {
    out.device = first->device;
    out.sizes = first->sizes;
    r.plain = true;
    return r.compute = first->dtype;
  }
  Promotion p;
  for (int k = 0; k < n; ++k)
    if (is_operand(op.args[k]) && op.args[k].kind != ArgKind::Scalar) p.add(args[k]);
  out.device = common_device(op, args);
  broadcast_all(op, args, out, *first);
  return r.compute = p.result();
}

static void check_integer_alpha(const Op& op, const Value* args, DType d) {
  for (size_t k = 0; k < op.args.size(); ++k)
    if (op.args[k].kind == ArgKind::Scalar && args[k].kind == Kind::Float && !is_inexact(d)) [[unlikely]]
      fail(ErrorKind::Runtime, op.name, ": for integral input tensors, argument ", op.args[k].name,
           " must not be a floating point number: got ", args[k].f);
    else if (op.args[k].kind == ArgKind::Scalar && args[k].kind == Kind::Complex && !is_complex(d)) [[unlikely]]
      fail(ErrorKind::Runtime, op.name, ": for non-complex input tensors, argument ", op.args[k].name,
           " must not be a complex number");
}

static void meta_unary(const Op& op, const Value* args, MetaResult& r) { r.out[0].dtype = infer(op, args, r); }

// abs: the modulus of a complex tensor is real, everything else keeps its dtype.
static void meta_unary_modulus(const Op& op, const Value* args, MetaResult& r) {
  r.out[0].dtype = to_real(infer(op, args, r));
  MG_CHECK(r.compute != DType::Bool, Runtime, op.name, ": not supported for bool tensors.");
}

static void meta_unary_float(const Op& op, const Value* args, MetaResult& r);
static void meta_unary_float_modulus(const Op& op, const Value* args, MetaResult& r) {
  meta_unary_float(op, args, r);
  r.out[0].dtype = to_real(r.compute);
}

static void meta_unary_no_bool(const Op& op, const Value* args, MetaResult& r) {
  r.out[0].dtype = infer(op, args, r);
  MG_CHECK(r.compute != DType::Bool, Runtime, op.name, ": not supported for bool tensors. Try logical_not() or ~x.");
}

static void meta_unary_float(const Op& op, const Value* args, MetaResult& r) {
  infer(op, args, r);
  if (!is_inexact(r.compute)) {
    r.compute = default_dtype;
    r.plain = false;
  }
  r.out[0].dtype = r.compute;
}

static void meta_unary_float_only(const Op& op, const Value* args, MetaResult& r) {
  r.out[0].dtype = infer(op, args, r);
  MG_CHECK(is_inexact(r.compute), Runtime, op.name, ": not implemented for ", r.compute,
           ": expected a floating tensor. Try x.float().");
}

static void meta_unary_bool(const Op& op, const Value* args, MetaResult& r) {
  infer(op, args, r);
  r.out[0].dtype = DType::Bool;
}

static void meta_binary(const Op& op, const Value* args, MetaResult& r) {
  r.out[0].dtype = infer(op, args, r);
  check_integer_alpha(op, args, r.compute);
}

static void meta_binary_no_bool(const Op& op, const Value* args, MetaResult& r) {
  meta_binary(op, args, r);
  for (size_t k = 0; k < op.args.size(); ++k) {
    const bool boolean = (args[k].is_tensor() && args[k].t->dtype == DType::Bool) || args[k].kind == Kind::Bool;
    MG_CHECK(!boolean || op.args[k].kind == ArgKind::Scalar, Runtime, op.name,
             ": subtraction with a bool tensor is not supported. Try ^ or logical_xor(), or ~x to invert a mask.");
  }
}

static void meta_compare(const Op& op, const Value* args, MetaResult& r) {
  infer(op, args, r);
  r.out[0].dtype = DType::Bool;
}

static void meta_bitwise(const Op& op, const Value* args, MetaResult& r) {
  r.out[0].dtype = infer(op, args, r);
  MG_CHECK(!is_inexact(r.compute), Runtime, op.name, ": not implemented for ", r.compute,
           ": expected an integer or bool tensor");
}

static void meta_shift(const Op& op, const Value* args, MetaResult& r) {
  r.out[0].dtype = infer(op, args, r);
  MG_CHECK(is_integral(r.compute), Runtime, op.name, ": not implemented for ", r.compute, ": expected an integer tensor");
}

// where(condition, input, other): the mask does not promote.
static void meta_where(const Op& op, const Value* args, MetaResult& r) {
  MG_CHECK(args[0].is_tensor() && (args[0].t->dtype == DType::Bool || args[0].t->dtype == DType::UInt8), Runtime, op.name,
           ": expected condition to be a bool tensor: got ", args[0].is_tensor() ? dtype_name(args[0].t->dtype) : "a number");
  infer(op, args, r);
  Promotion p;
  p.add(args[1]);
  p.add(args[2]);
  r.out[0].dtype = r.compute = p.result();
  r.plain = false;
}

static void meta_no_bool_result(const Op& op, const Value* args, MetaResult& r) {
  meta_binary(op, args, r);
  MG_CHECK(r.compute != DType::Bool, Runtime, op.name, ": not implemented for bool. Try x.int().");
}

static void meta_float_result(const Op& op, const Value* args, MetaResult& r) {
  r.out[0].dtype = infer(op, args, r);
  MG_CHECK(is_inexact(r.compute), Runtime, op.name, ": not implemented for ", r.compute,
           ": expected floating tensors. Try x.float().");
}

// square(bool) counts: PyTorch computes it as pow(x, 2), which promotes bool with the integer 2.
static void meta_unary_square(const Op& op, const Value* args, MetaResult& r) {
  infer(op, args, r);
  if (r.compute == DType::Bool) {
    r.compute = DType::Int64;
    r.plain = false;
  }
  r.out[0].dtype = r.compute;
}

// frexp(input) -> mantissa, exponent
static void meta_frexp(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& x = *args[0].t;
  MG_CHECK(is_floating(x.dtype), Runtime, op.name, ": not implemented for ", x.dtype, ": expected a floating tensor. Try x.float().");
  for (int k = 0; k < 2; ++k) {
    r.out[k].sizes = x.sizes;
    r.out[k].device = x.device;
    r.out[k].dtype = k == 0 ? x.dtype : DType::Int32;
  }
}

MG_META("frexp", meta_frexp);
MG_META_POINTWISE("unary", meta_unary);
MG_META_POINTWISE("unary_modulus", meta_unary_modulus);
MG_META_POINTWISE("unary_float_modulus", meta_unary_float_modulus);
MG_META_POINTWISE("unary_no_bool", meta_unary_no_bool);
MG_META_POINTWISE("unary_float", meta_unary_float);
MG_META_POINTWISE("unary_float_only", meta_unary_float_only);
MG_META_POINTWISE("unary_bool", meta_unary_bool);
MG_META_POINTWISE("binary", meta_binary);
MG_META_POINTWISE("binary_no_bool", meta_binary_no_bool);
MG_META_POINTWISE("binary_float", meta_unary_float);
MG_META_POINTWISE("binary_num", meta_no_bool_result);
MG_META_POINTWISE("binary_float_only", meta_float_result);
MG_META_POINTWISE("ternary_num", meta_no_bool_result);
MG_META_POINTWISE("ternary_float_only", meta_float_result);
MG_META_POINTWISE("unary_square", meta_unary_square);
MG_META_POINTWISE("compare", meta_compare);
MG_META_POINTWISE("logical", meta_compare);
MG_META_POINTWISE("bitwise", meta_bitwise);
MG_META_POINTWISE("shift", meta_shift);
MG_META_POINTWISE("where", meta_where);
MG_META_POINTWISE("ternary", meta_binary);

}  // namespace mg
