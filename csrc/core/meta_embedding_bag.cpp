// Shapes of the sums and maxima behind embedding_bag. Kernels: ../cpu/embedding_bag.cpp.
#include "meta.h"

namespace mg {

namespace {

void check_bags(const Op& op, const Value* args) {
  const TensorImpl &w = *args[0].t, &indices = *args[1].t, &starts = *args[2].t;
  MG_CHECK(w.dim() == 2 && is_floating(w.dtype) && indices.dim() == 1 && starts.dim() == 1 && starts.sizes[0] >= 1 &&
               is_integral(indices.dtype) && is_integral(starts.dtype),
           Runtime, op.name, ": expected weight (rows, width), indices and starts: got ", w.sizes, ", ", indices.sizes,
           " and ", starts.sizes, ".");
}

// _bag_sum(weight, indices, starts, scale?, padding_idx)
void meta_bag_sum(const Op& op, const Value* args, MetaResult& r) {
  check_bags(op, args);
  const TensorImpl& w = *args[0].t;
  if (args[3].is_tensor())
    MG_CHECK(args[3].t->sizes == args[1].t->sizes && args[3].t->dtype == w.dtype, Runtime, op.name,
             ": expected one factor of weight's dtype per index: got ", args[3].t->sizes, " ", args[3].t->dtype, ".");
  r.out[0].sizes = Dims{args[2].t->sizes[0] - 1, w.sizes[1]};
  r.out[0].dtype = r.compute = w.dtype;
  r.out[0].device = common_device(op, args);
}

// _bag_argmax(weight, indices, starts, padding_idx)
void meta_bag_argmax(const Op& op, const Value* args, MetaResult& r) {
  check_bags(op, args);
  r.out[0].sizes = Dims{args[2].t->sizes[0] - 1, args[0].t->sizes[1]};
  r.out[0].dtype = r.compute = DType::Int64;
  r.out[0].device = common_device(op, args);
}

}  // namespace

MG_META("bag_sum", meta_bag_sum);
MG_META("bag_argmax", meta_bag_argmax);

}  // namespace mg
