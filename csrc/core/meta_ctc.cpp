// Shapes of ctc_loss. The lengths are data: the kernel (../cpu/ctc.cpp) checks them.
#include "meta.h"

namespace mg {

namespace {

constexpr const char* kName = "ctc_loss";

DType wide(DType d) { return d == DType::Float64 ? DType::Float64 : DType::Float32; }

// What forward and backward share: log_probs, targets, input_lengths, target_lengths are arguments k … k + 3.
void check_sequences(const Op& op, const Value* args, int k, int64_t blank) {
  const TensorImpl &lp = *args[k].t, &targets = *args[k + 1].t;
  MG_CHECK(is_floating(lp.dtype), Runtime, kName, ": log_probs must be floating: got ", lp.dtype, ".");
  MG_CHECK(lp.dim() == 3, Runtime, kName, ": expected log_probs (T, N, C): got ", lp.sizes, ".");
  MG_CHECK(is_integral(targets.dtype) && (targets.dim() == 1 || targets.dim() == 2), Runtime, kName,
           ": expected integer targets (N, S) or (sum of lengths): got ", targets.dtype, " ", targets.sizes, ".");
  MG_CHECK(targets.dim() == 1 || targets.sizes[0] == lp.sizes[1], Runtime, kName,
           ": targets and log_probs differ in batch size: got ", targets.sizes, " and ", lp.sizes, ".");
  for (int j = k + 2; j < k + 4; ++j)
    MG_CHECK(is_integral(args[j].t->dtype) && args[j].t->sizes == Dims{lp.sizes[1]}, Runtime, kName, ": expected ",
             op.args[size_t(j)].name, " to hold one integer per sample: got ", args[j].t->dtype, " ", args[j].t->sizes,
             " for batch size ", lp.sizes[1], ".");
  MG_CHECK(blank >= 0 && blank < lp.sizes[2], Runtime, kName, ": blank must be in label range: got ", blank,
           ", expected 0 <= blank < ", lp.sizes[2], ".");
}

// _ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, max_target_length) -> out, log_alpha
void meta_ctc_loss(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& lp = *args[0].t;
  const int64_t longest = args[5].as_int();
  check_sequences(op, args, 0, args[4].as_int());
  MG_CHECK(longest >= 0 && longest < int64_t(1) << 40, Runtime, kName, ": max_target_length is out of range: got ", longest);
  r.compute = wide(lp.dtype);
  r.out[0].sizes = Dims{lp.sizes[1]};
  r.out[0].dtype = lp.dtype;
  r.out[1].sizes = Dims{lp.sizes[1], lp.sizes[0], 2 * longest + 1};
  r.out[1].dtype = r.compute;
  r.out[0].device = r.out[1].device = common_device(op, args);
}

// _ctc_loss_backward(g, log_probs, targets, input_lengths, target_lengths, out, log_alpha, blank, …)
void meta_ctc_loss_backward(const Op& op, const Value* args, MetaResult& r) {
  check_sequences(op, args, 1, args[7].as_int());
  const TensorImpl &lp = *args[1].t, &alpha = *args[6].t;
  const Dims batch{lp.sizes[1]};
  MG_CHECK(args[0].t->sizes == batch && args[5].t->sizes == batch, Runtime, kName, ": got a gradient of shape ", args[0].t->sizes,
           " and losses of shape ", args[5].t->sizes, " for batch size ", lp.sizes[1]);
  MG_CHECK(alpha.dim() == 3 && alpha.sizes[0] == lp.sizes[1] && alpha.sizes[1] == lp.sizes[0], Runtime, kName,
           ": log_alpha has the wrong shape: got ", alpha.sizes);
  r.compute = wide(lp.dtype);
  r.out[0].sizes = lp.sizes;
  r.out[0].dtype = lp.dtype;
  r.out[0].device = common_device(op, args);
}

}  // namespace

MG_META("ctc_loss", meta_ctc_loss);
MG_META("ctc_loss_backward", meta_ctc_loss_backward);

}  // namespace mg
