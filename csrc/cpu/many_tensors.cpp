// The CPU's row of core/many_tensors.h: optimizer steps (optim.h) and clipping (clip.h) over the pieces of all tensors.
#include "../core/many_tensors.h"

#include "clip.h"
#include "optim.h"

namespace mg::cpu {

namespace {

ManyTensors parameters_of(std::span<const StepRow> rows) {
  ManyTensors all;
  for (const StepRow& row : rows) all.add(row[0]);
  return all;
}
ManyTensors all_of(TensorSpan tensors) {
  ManyTensors all;
  for (TensorImpl* t : tensors) all.add(t);
  return all;
}

// f(row's number, its columns from `begin` on, elements) for every piece, in the dtype of the parameter.
template <class F>
void each_piece(std::span<const StepRow> rows, F&& f) {
  const ManyTensors all = parameters_of(rows);
  all.each([&](size_t k, int64_t begin, int64_t end, int64_t) {
    auto typed = [&]<class T>(T) {
      T* at[2 + kRuleColumns];
      for (size_t c = 0; c < std::size(at); ++c) at[c] = rows[k][c] ? rows[k][c]->ptr<T>() + begin : nullptr;
      f(k, at, end - begin);
    };
    if (rows[k][0]->dtype == DType::Float32) typed(float{});
    else typed(double{});
  });
}

void sgd(std::span<const StepRow> rows, std::span<const SgdStep> steps) {
  const OptimTable& table = optim_table();
  each_piece(rows, [&]<class T>(size_t k, T* const* at, int64_t n) { table.of<T>().sgd(at, n, steps[k]); });
}
void adam(std::span<const StepRow> rows, std::span<const AdamStep> steps) {
  const OptimTable& table = optim_table();
  each_piece(rows, [&]<class T>(size_t k, T* const* at, int64_t n) { table.of<T>().adam(at, n, steps[k]); });
}
void rule(Rule r, std::span<const StepRow> rows, std::span<const RuleStep> steps) {
  const OptimTable& table = optim_table();
  each_piece(rows, [&]<class T>(size_t k, T* const* at, int64_t n) { table.of<T>().rule[int(r)](at, n, steps[k]); });
}

void norm(TensorSpan tensors, bool maximum, const TensorImpl& out) {
  const double value = norm_of_all(all_of(tensors), maximum);
  if (out.dtype == DType::Float32) *out.ptr<float>() = float(value);
  else *out.ptr<double>() = value;
}
void scale(TensorSpan tensors, const TensorImpl& factor) {
  if (const double by = read_double(factor); by != 1.0) scale_all(all_of(tensors), by);
}
void clamp(TensorSpan tensors, double low, double high) { clamp_all(all_of(tensors), low, high); }
void unscale(TensorSpan tensors, const TensorImpl& factor, const TensorImpl& found) {
  if (!unscale_all(all_of(tensors), read_double(factor))) *found.ptr<float>() = 1.0f;
}

constexpr ManyTensorKernels kernels{false, sgd, adam, rule, nullptr, nullptr, norm, scale, clamp, unscale};
[[maybe_unused]] const bool registered = (many_tensor_kernels(DeviceType::CPU) = &kernels, true);

}  // namespace

}  // namespace mg::cpu
