// Work on many tensors in one call: optimizer steps, gradient clipping, unscaling. Not ops (they record nothing and have no shapes to
// infer), but kernels of a device all the same: each backend fills a row. csrc/python/bind_optim.cpp and bind_clip.cpp are the callers and
// check before they call: dense contiguous tensors of one shape per row, all on one device, none in two places.
#pragma once
#include <array>
#include <span>

#include "optim_steps.h"
#include "tensor.h"

namespace mg {

struct Invocation;

// Parameter, gradient, and up to three tensors of state, null where a step has none.
using StepRow = std::array<TensorImpl*, 2 + kRuleColumns>;
using TensorSpan = std::span<TensorImpl* const>;

// Counters on the device ("capturable"): the constants of a step are worked out there, so that no number of them is frozen into a captured
// graph. One-element tensors of one dtype, float32 or float64, which the kernel advances.
struct DeviceCounters {
  TensorSpan steps, products;  // products: NAdam's running ones, else empty
  const TensorImpl* lr;        // a number on the device in place of the one in the options, or null
};

struct ManyTensorKernels {
  bool half_types;  // float16 and bfloat16 too, computed in float32
  // steps[k] belongs to rows[k].
  void (*sgd)(std::span<const StepRow> rows, std::span<const SgdStep> steps);
  void (*adam)(std::span<const StepRow> rows, std::span<const AdamStep> steps);
  void (*rule)(Rule rule, std::span<const StepRow> rows, std::span<const RuleStep> steps);
  // The same with counters on the device; null where there are none. `options`: of prepare_rule.
  void (*counted_adam)(std::span<const StepRow> rows, const AdamStep& options, const DeviceCounters& counters);
  void (*counted_rule)(Rule rule, std::span<const StepRow> rows, std::span<const double> options, const DeviceCounters& counters);
  // Tensors of one dtype. norm: into a 0-d `out` of that dtype, the 2-norm or the largest magnitude.
  void (*norm)(TensorSpan tensors, bool maximum, const TensorImpl& out);
  void (*scale)(TensorSpan tensors, const TensorImpl& factor);  // a number on the same device
  void (*clamp)(TensorSpan tensors, double low, double high);
  // tensors *= factor; found (float32) becomes 1 if an element was not finite.
  void (*unscale)(TensorSpan tensors, const TensorImpl& factor, const TensorImpl& found);
};

const ManyTensorKernels*& many_tensor_kernels(DeviceType type);  // null: the device has none
bool has_many_tensor_kernels(const TensorImpl& t);               // its device, for its dtype

// `norm` as an op over a list, `_total_norm(tensors, largest)`: what a traced function's clipping becomes. The kernel of every device.
void total_norm(Invocation& inv);

}  // namespace mg
