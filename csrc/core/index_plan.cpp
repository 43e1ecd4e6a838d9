// See index_plan.h.
#include "index_plan.h"

namespace mg {

Reduce reduce_named(std::string_view name) {
  return name == "prod" ? Reduce::Mul : name == "amax" ? Reduce::Max : name == "amin" ? Reduce::Min : Reduce::Add;
}

Tensor at_least_1d(const TensorImpl& t) { return t.dim() ? Tensor(const_cast<TensorImpl*>(&t)) : alias(t, Dims{1}, Dims{1}, t.offset); }

LoopPlan plan_without(const TensorImpl& dst, const TensorImpl& src, int d) {
  Dims sizes = dst.sizes, dst_strides = dst.strides, src_strides = src.strides;
  if (dst.dim() > 0) {
    sizes.erase(d);
    dst_strides.erase(d);
  }
  if (src.dim() > 0) src_strides.erase(d);
  LoopPlan plan(sizes);
  plan.add(dst.data(), sizes, dst_strides, itemsize(dst.dtype));
  plan.add(src.data(), sizes, src_strides, itemsize(src.dtype));
  plan.finish();
  return plan;
}

static int64_t product(const Dims& sizes) {
  int64_t n = 1;
  for (int64_t s : sizes) n *= s;
  return n;
}
int64_t IndexPlan::joint_count() const { return product(joint); }
int64_t IndexPlan::result_count() const { return product(result); }

IndexPlan plan_index(const Op& op, const TensorImpl& t, const Value& indices) {
  IndexPlan plan;
  MG_CHECK(indices.len <= t.dim(), Index, op.name, ": too many indices for tensor of dimension ", t.dim(), ": got ",
           indices.len);
  int last = -1;
  bool split = false;
  for (int k = 0; k < t.dim(); ++k) {
    const TensorImpl* index = k < indices.len ? indices.tensors[k] : nullptr;
    if (index == nullptr) {
      plan.kept.push_back(k);
      continue;
    }
    MG_CHECK(index->dtype == DType::Int64 || index->dtype == DType::Int32, Index, op.name,
             ": tensors used as indices must be int64 or int32: got ", index->dtype,
             ". Bool masks go through x[mask].");
    if (!broadcast_into(plan.joint, index->sizes)) {
      std::string shapes;
      for (int j = 0; j < indices.len; ++j)
        if (indices.tensors[j]) shapes += str(shapes.empty() ? "" : ", ", indices.tensors[j]->sizes);
      fail(ErrorKind::Index, op.name, ": shape mismatch: indexing tensors could not be broadcast together with shapes ",
           shapes);
    }
    if (!plan.any)
      plan.at = plan.kept.size();
    else
      split = split || k != last + 1;
    last = k;
    plan.any = true;
  }
  if (split) plan.at = 0;
  for (int k = 0; k < plan.kept.size() + 1; ++k) {
    if (k == plan.at && plan.any)
      for (int64_t s : plan.joint) plan.result.push_back(s);
    if (k < plan.kept.size()) plan.result.push_back(t.sizes[int(plan.kept[k])]);
  }
  return plan;
}

Tensor joint_index(const Tensor& index, const IndexPlan& plan) {
  return contiguous(alias(*index, plan.joint, broadcast_strides(index.sizes(), index.strides(), plan.joint), index->offset));
}

Tensor values_for(const Tensor& values, const IndexPlan& plan) {
  if (values.numel() == 1) return alias(*values, plan.result, Dims(plan.result.size()), values->offset);
  return contiguous(alias(*values, plan.result, broadcast_strides(values.sizes(), values.strides(), plan.result), values->offset));
}

LoopPlan advanced_plan(const TensorImpl& t, const TensorImpl& dense, const IndexPlan& plan, bool write_dense) {
  Dims sizes, indexed, linear;
  for (int j = 0; j < plan.kept.size(); ++j) {
    const int d = int(plan.kept[j]), at = j < plan.at ? j : j + plan.joint.size();
    sizes.push_back(t.sizes[d]);
    indexed.push_back(t.strides[d]);
    linear.push_back(dense.strides[at]);
  }
  LoopPlan loop(sizes);
  const int64_t item = itemsize(t.dtype);
  if (write_dense) loop.add(dense.data(), sizes, linear, item);
  loop.add(t.data(), sizes, indexed, item);
  if (!write_dense) loop.add(dense.data(), sizes, linear, item);
  loop.finish();
  return loop;
}

int64_t joint_step(const TensorImpl& dense, const IndexPlan& plan) {
  if (plan.joint.empty() || dense.numel <= 1) return 0;
  int64_t step = 0;  // the fastest joint dim of size > 1; a stretched (stride-0) tensor gives 0
  for (int j = plan.joint.size() - 1; j >= 0 && step == 0; --j)
    if (plan.joint[j] > 1) step = dense.strides[plan.at + j];
  return step * itemsize(dense.dtype);
}

}  // namespace mg
