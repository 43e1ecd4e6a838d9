// Meta of ops that make tensors out of numbers, and of the random ops. Creation ops have no tensor argument: dtype and
// device come from their own arguments (default: default_dtype, CPU); the random in-place ops keep what they write
// into.
#include <cmath>

#include "backend_module.h"
#include "layout.h"
#include "meta.h"

namespace mg {

static DType dtype_or(const Value& v, DType otherwise) { return v.none() ? otherwise : v.dtype; }

static void place(const Op& op, const Value& dtype, DType otherwise, const Value& device, MetaResult& r) {
  r.out[0].dtype = r.compute = dtype_or(dtype, otherwise);
  r.out[0].device = device.none() ? thread_state.default_device : device.device;
  check_device(r.out[0].device);
  r.out[0].device = settle_index(r.out[0].device);
  checked_numel(r.out[0].sizes, op.name.c_str());
}

static DType number_dtype(const Value& v) {
  return v.kind == Kind::Bool      ? DType::Bool
         : v.kind == Kind::Int     ? DType::Int64
         : v.kind == Kind::Complex ? to_complex(default_dtype)
                                   : default_dtype;
}

// (size: ints, dtype: dtype?, device: device?)
static void meta_create_empty(const Op& op, const Value* args, MetaResult& r) {
  r.out[0].sizes = args[0].as_dims();
  place(op, args[1], default_dtype, args[2], r);
}

// (size: ints, stride: ints, dtype: dtype?, device: device?)
static void meta_create_strided(const Op& op, const Value* args, MetaResult& r) {
  OutSpec& out = r.out[0];
  out.sizes = args[0].as_dims();
  out.strides = args[1].as_dims();
  out.has_strides = true;
  MG_CHECK(out.sizes.size() == out.strides.size(), Runtime, op.name, ": mismatch in length of strides and shape: got ",
           out.sizes, " and ", out.strides);
  for (int64_t s : out.strides)
    MG_CHECK(s >= 0, Runtime, op.name, ": negative strides are not supported: got ", out.strides);
  place(op, args[2], default_dtype, args[3], r);
}

// (size: ints, value: scalar, dtype: dtype?, device: device?)
static void meta_create_full(const Op& op, const Value* args, MetaResult& r) {
  r.out[0].sizes = args[0].as_dims();
  place(op, args[2], number_dtype(args[1]), args[3], r);
  int64_t numel = 1;
  for (int64_t s : r.out[0].sizes) numel *= s;
  check_fits(op.name, args[1], r.out[0].dtype, numel != 1);  // one element of a half type becomes infinite, as in PyTorch
}

// (start: scalar, end: scalar, step: scalar, dtype: dtype?, device: device?)
static void meta_arange(const Op& op, const Value* args, MetaResult& r) {
  const double start = args[0].as_double(), end = args[1].as_double(), step = args[2].as_double();
  MG_CHECK(step != 0, Runtime, op.name, ": step must be nonzero");
  MG_CHECK(std::isfinite(start) && std::isfinite(end) && !std::isnan(step), Runtime, op.name,
           ": unsupported range: ", start, " -> ", end);
  MG_CHECK((step > 0) ? end >= start : end <= start, Runtime, op.name,
           ": upper bound and lower bound inconsistent with step sign: got start ", start, ", end ", end, ", step ",
           step);
  const bool floats = args[0].kind == Kind::Float || args[1].kind == Kind::Float || args[2].kind == Kind::Float;
  if (floats) {
    const double n = std::ceil((end - start) / step);
    MG_CHECK(n < 0x1p62, Runtime, op.name, ": too many elements: ", n);
    r.out[0].sizes = Dims{int64_t(n)};
  } else {
    const __int128 span = __int128(args[1].as_int()) - args[0].as_int(), by = args[2].as_int();
    r.out[0].sizes = Dims{int64_t(span / by + (span % by != 0))};
  }
  place(op, args[3], floats ? default_dtype : DType::Int64, args[4], r);
}

// (start: scalar, end: scalar, steps: int, dtype: dtype?, device: device?, ...)
static void meta_linspace(const Op& op, const Value* args, MetaResult& r) {
  MG_CHECK(args[2].as_int() >= 0, Runtime, op.name, ": number of steps must be non-negative: got ", args[2].as_int());
  r.out[0].sizes = Dims{args[2].as_int()};
  const bool complex = args[0].kind == Kind::Complex || args[1].kind == Kind::Complex;
  place(op, args[3], complex ? to_complex(default_dtype) : default_dtype, args[4], r);
  MG_CHECK(!complex || is_complex(r.out[0].dtype), Runtime, op.name, ": complex ends need a complex dtype: got ",
           r.out[0].dtype);
}

// (n: int, m: int, dtype: dtype?, device: device?)
static void meta_eye(const Op& op, const Value* args, MetaResult& r) {
  MG_CHECK(args[0].as_int() >= 0, Runtime, op.name, ": n must be greater or equal to 0, got ", args[0].as_int());
  MG_CHECK(args[1].as_int() >= 0, Runtime, op.name, ": m must be greater or equal to 0, got ", args[1].as_int());
  r.out[0].sizes = Dims{args[0].as_int(), args[1].as_int()};
  place(op, args[2], default_dtype, args[3], r);
}

// --- random
// -----------------------------------------------------------------------------------------------------------

static void like_input(const Value* args, MetaResult& r) {
  r.out[0].dtype = r.compute = args[0].t->dtype;
  r.out[0].device = args[0].t->device;
  r.out[0].sizes = args[0].t->sizes;
}

static void check_floating(const Op& op, const TensorImpl& t) {
  MG_CHECK(is_floating(t.dtype), NotImplemented, op.name, ": not implemented for ", t.dtype,
           ": expected a floating tensor. Try x.float().");
}

// (input!, from: float, to: float)
static void meta_uniform(const Op& op, const Value* args, MetaResult& r) {
  like_input(args, r);
  if (!is_complex(args[0].t->dtype)) check_floating(op, *args[0].t);
  const double from = args[1].as_double(), to = args[2].as_double();
  MG_CHECK(from <= to, Runtime, op.name, ": expects to return a [from, to) range, but found from=", from, " > to=", to);
  MG_CHECK(std::isfinite(to - from), Runtime, op.name, ": the range to - from must be finite: got from=", from,
           ", to=", to);
}

// (input!, mean: float, std: float); log_normal_ alike
static void meta_normal(const Op& op, const Value* args, MetaResult& r) {
  like_input(args, r);
  if (!is_complex(args[0].t->dtype)) check_floating(op, *args[0].t);
  const bool log = op.name == "log_normal_";
  MG_CHECK(args[2].as_double() >= 0 && (!log || args[2].as_double() > 0), Runtime, op.name, ": expects std ",
           log ? ">" : ">=", " 0.0, but found std=", args[2].as_double());
}

// (count, prob): broadcast, floating, of one dtype
static void meta_binomial(const Op& op, const Value* args, MetaResult& r) {
  like_input(args, r);
  check_floating(op, *args[0].t);
  MG_CHECK(args[1].t->dtype == args[0].t->dtype, Runtime, op.name, ": count and prob must have one dtype: got ",
           args[0].t->dtype, " and ", args[1].t->dtype);
  MG_CHECK(broadcast_into(r.out[0].sizes, args[1].t->sizes), Runtime, op.name, ": count of shape ", args[0].t->sizes,
           " and prob of shape ", args[1].t->sizes, " cannot be broadcast together");
}

// (input!, lambd: float)
static void meta_exponential(const Op& op, const Value* args, MetaResult& r) {
  like_input(args, r);
  check_floating(op, *args[0].t);
  MG_CHECK(args[1].as_double() > 0, Runtime, op.name, ": expects lambd > 0.0, but found lambd=", args[1].as_double());
}

// (input!, median: float, sigma: float)
static void meta_cauchy(const Op& op, const Value* args, MetaResult& r) {
  like_input(args, r);
  check_floating(op, *args[0].t);
  MG_CHECK(args[2].as_double() > 0, Runtime, op.name, ": expects sigma > 0.0, but found sigma=", args[2].as_double());
}

// (input!, p: float)
static void meta_geometric(const Op& op, const Value* args, MetaResult& r) {
  like_input(args, r);
  MG_CHECK(args[0].t->dtype != DType::Bool, Runtime, op.name, ": not implemented for bool");
  MG_CHECK(args[1].as_double() > 0 && args[1].as_double() < 1, Runtime, op.name,
           ": expects p to be in (0, 1), but got p=", args[1].as_double());
}

// (input!, low: int, high: int): integers of [low, high)
static void meta_randint(const Op& op, const Value* args, MetaResult& r) {
  like_input(args, r);
  MG_CHECK(args[1].as_int() < args[2].as_int(), Runtime, op.name,
           ": expects 'from' to be less than 'to', but got from=", args[1].as_int(), " >= to=", args[2].as_int());
}

// (input!, p: operand)
static void meta_bernoulli_(const Op& op, const Value* args, MetaResult& r) {
  like_input(args, r);
  if (!args[1].is_tensor()) {
    MG_CHECK(args[1].as_double() >= 0 && args[1].as_double() <= 1, Runtime, op.name,
             ": expects p to be in [0, 1], but got p=", args[1].as_double());
    return;
  }
  check_floating(op, *args[1].t);
  Dims joint = args[0].t->sizes;
  MG_CHECK(broadcast_into(joint, args[1].t->sizes) && joint == args[0].t->sizes, Runtime, op.name, ": p of shape ",
           args[1].t->sizes, " does not broadcast to ", args[0].t->sizes);
}

// (input): probabilities or rates
static void meta_random_of(const Op& op, const Value* args, MetaResult& r) {
  like_input(args, r);
  check_floating(op, *args[0].t);
}

// (mean, std): broadcast, floating
static void meta_normal_of(const Op& op, const Value* args, MetaResult& r) {
  like_input(args, r);
  check_floating(op, *args[0].t);
  check_floating(op, *args[1].t);
  r.out[0].dtype = r.compute = promote(args[0].t->dtype, args[1].t->dtype);
  MG_CHECK(broadcast_into(r.out[0].sizes, args[1].t->sizes), Runtime, op.name, ": mean of shape ", args[0].t->sizes,
           " and std of shape ", args[1].t->sizes, " cannot be broadcast together");
}

// (n: int, dtype: dtype?, device: device?)
static void meta_randperm(const Op& op, const Value* args, MetaResult& r) {
  MG_CHECK(args[0].as_int() >= 0, Runtime, op.name, ": n must be non-negative, got ", args[0].as_int());
  r.out[0].sizes = Dims{args[0].as_int()};
  place(op, args[1], DType::Int64, args[2], r);
}

// (input, num_samples: int, replacement: bool)
static void meta_multinomial(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& t = *args[0].t;
  MG_CHECK(t.dim() == 1 || t.dim() == 2, Runtime, op.name, ": probability distribution must be 1 or 2 dim, got shape ",
           t.sizes);
  check_floating(op, t);
  const int64_t n = args[1].as_int();
  MG_CHECK(n > 0, Runtime, op.name, ": cannot sample num_samples <= 0 samples: got ", n);
  MG_CHECK(args[2].as_int() || n <= t.sizes.back(), Runtime, op.name, ": cannot sample ", n, " of ", t.sizes.back(),
           " categories without replacement. Try replacement=True.");
  like_input(args, r);
  r.out[0].dtype = DType::Int64;
  r.out[0].sizes.back() = n;
}

// (input, p: float) -> out, mask
static void meta_dropout(const Op& op, const Value* args, MetaResult& r) {
  like_input(args, r);
  check_floating(op, *args[0].t);
  MG_CHECK(args[1].as_double() >= 0 && args[1].as_double() <= 1, Value, op.name,
           ": dropout probability has to be between 0 and 1, but got ", args[1].as_double());
  r.out[1] = r.out[0];
  r.out[1].dtype = DType::Bool;
}

// (g, mask, scale: float)
static void meta_masked_scale(const Op& op, const Value* args, MetaResult& r) {
  like_input(args, r);
  check_floating(op, *args[0].t);
  MG_CHECK(args[1].t->dtype == DType::Bool, Runtime, op.name, ": expected a bool mask: got ", args[1].t->dtype);
  MG_CHECK(args[0].t->sizes == args[1].t->sizes, Runtime, op.name, ": sizes differ: ", args[0].t->sizes, " and ",
           args[1].t->sizes);
}

MG_META("create_empty", meta_create_empty);
MG_META("create_strided", meta_create_strided);
MG_META("create_full", meta_create_full);
MG_META("arange", meta_arange);
MG_META("linspace", meta_linspace);
MG_META("eye", meta_eye);
MG_META("uniform", meta_uniform);
MG_META("normal", meta_normal);
MG_META("binomial", meta_binomial);
MG_META("exponential", meta_exponential);
MG_META("cauchy", meta_cauchy);
MG_META("geometric", meta_geometric);
MG_META("randint", meta_randint);
MG_META("bernoulli_", meta_bernoulli_);
MG_META("random_of", meta_random_of);
MG_META("normal_of", meta_normal_of);
MG_META("randperm", meta_randperm);
MG_META("multinomial", meta_multinomial);
MG_META("dropout", meta_dropout);
MG_META("masked_scale", meta_masked_scale);

}  // namespace mg
