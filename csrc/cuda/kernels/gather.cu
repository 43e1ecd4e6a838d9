// gather and the scatter family: one index per element. Several values for one target can only lie along `dim`. Where there are many
// columns (everything but dim), a thread walks each of them in order, as on the CPU; otherwise targets are sorted (slabs.h). Either way
// the results are the same in every run.
#include "copy.h"
#include "slabs.h"

namespace mg::cuda {
namespace {

template <class B>
__global__ void gather_kernel(char* out, const char* index, const char* in, Offsets<3> offsets, int64_t size, int64_t step, FaultNote note) {
  MG_GRID_LOOP(i, offsets.count) {
    int64_t at[3];
    offsets.get(i, at);
    const int64_t place = *reinterpret_cast<const int64_t*>(index + at[1]);
    B value{};
    if (place < 0 || place >= size) note_fault(note, kElementFault, place, size);
    else value = *reinterpret_cast<const B*>(in + at[2] + place * step);
    *reinterpret_cast<B*>(out + at[0]) = value;
  }
}

// gather(input, dim, index)
void gather_cuda(Invocation& inv) {
  const Tensor in = at_least_1d(inv.in(0)), out = at_least_1d(inv.out());
  if (out.numel() == 0) return;
  const int d = wrapped(inv.i(1), *in);
  const Tensor index = at_least_1d(*staged(inv.in(2), DType::Int64));
  const int64_t item = itemsize(in.dtype()), step = in.strides()[d] * item;
  Dims strides = in.strides();
  strides[d] = 0;
  LoopPlan plan(out.sizes());
  plan.add(*out);
  plan.add(*index);
  plan.add(in->data(), out.sizes(), strides, item);
  plan.finish();
  dispatch_bits(item, [&](auto bits) {
    with_offsets<3>(plan, [&](const Offsets<3>& offsets, char* const* base) {
      launch_items(gather_kernel<decltype(bits)>, offsets.count, base[0], static_cast<const char*>(base[1]), static_cast<const char*>(base[2]), offsets,
                   in.size(d), step, fault_note(inv.op));
    });
  });
}

// --- scatter

// Offsets of the targets of all index positions, in the order of the index.
__global__ void target_keys_kernel(char* keys, const char* index, Offsets<3> offsets, int64_t origin, int64_t size, int64_t step,
                                   FaultNote note) {
  MG_GRID_LOOP(i, offsets.count) {
    int64_t at[3];
    offsets.get(i, at);
    const int64_t place = *reinterpret_cast<const int64_t*>(index + at[1]);
    const bool wrong = place < 0 || place >= size;
    if (wrong) note_fault(note, kElementFault, place, size);
    *reinterpret_cast<int64_t*>(keys + at[0]) = wrong ? -1 : origin + at[2] + place * step;
  }
}

// A thread per column: its values in order.
template <class B>
__global__ void assign_columns_kernel(char* target, const char* index, const char* src, Offsets<3> columns, int64_t n, int64_t size, int64_t step,
                                      int64_t index_step, int64_t src_step, FaultNote note) {
  MG_GRID_LOOP(c, columns.count) {
    int64_t at[3];
    columns.get(c, at);
    for (int64_t k = 0; k < n; ++k) {
      const int64_t place = *reinterpret_cast<const int64_t*>(index + at[1] + k * index_step);
      if (place < 0 || place >= size) note_fault(note, kElementFault, place, size);
      else *reinterpret_cast<B*>(target + at[0] + place * step) = *reinterpret_cast<const B*>(src + at[2] + k * src_step);
    }
  }
}

struct Scatter {
  const Op& op;
  Tensor target, index, src;  // at least 1-d; src has the target's dtype and at least the sizes of the index
  int d;

  Dims without_d(Dims v) const {
    v.erase(d);
    return v;
  }
  bool many_columns() const {
    const int64_t length = index.size(d);
    return length == 1 || index.numel() / length >= 256 * length;
  }
  void assign_by_columns() const {
    const int64_t item = itemsize(target.dtype());
    LoopPlan plan(without_d(index.sizes()));
    plan.add(target->data(), without_d(index.sizes()), without_d(target.strides()), item);
    plan.add(index->data(), without_d(index.sizes()), without_d(index.strides()), 8);
    plan.add(src->data(), without_d(index.sizes()), without_d(src.strides()), item);
    plan.finish();
    dispatch_bits(item, [&](auto bits) {
      with_offsets<3>(plan, [&](const Offsets<3>& columns, char* const* base) {
        launch_items(assign_columns_kernel<decltype(bits)>, columns.count, base[0], static_cast<const char*>(base[1]), static_cast<const char*>(base[2]),
                     columns, index.size(d), target.size(d), target.strides()[d] * item, index.strides()[d] * 8, src.strides()[d] * item, fault_note(op));
      });
    });
  }
  void run(const ScatterRule& rule) const {
    if (rule.reduce == Reduce::Assign && many_columns()) return assign_by_columns();
    const int64_t item = itemsize(target.dtype());
    const Tensor keys = workspace(index.numel(), DType::Int64, target.device());
    Dims strides = target.strides();
    strides[d] = 0;
    LoopPlan plan(index.sizes());
    plan.add(keys->data(), index.sizes(), contiguous_strides(index.sizes()), 8);
    plan.add(*index);
    plan.add(target->data(), index.sizes(), strides, item);
    plan.finish();
    with_offsets<3>(plan, [&](const Offsets<3>& offsets, char* const* base) {
      // Operand 2 is not read: its offsets are the keys.
      launch_items(target_keys_kernel, offsets.count, base[0], static_cast<const char*>(base[1]), offsets, base[2] - target->data(), target.size(d),
                   target.strides()[d] * item, fault_note(op));
    });
    const Tensor values = to_contiguous(*alias(*src, index.sizes(), src.strides(), src->offset), src.dtype());
    LoopPlan one(Dims{});
    one.add(target->data(), Dims{}, Dims{}, item);
    one.add(values->data(), Dims{}, Dims{}, item);
    one.finish();
    slab_scatter(one, keys, item, target.dtype(), rule);
  }
};

void scatter_into(Invocation& inv, const ScatterRule& rule) {
  TensorImpl& out = inv.out();
  if (inv.outs[0].get() != inv.args[0].t) copy_on_device(out, inv.in(0));
  if (inv.in(2).numel == 0) return;
  const Tensor target = at_least_1d(out), index = at_least_1d(*staged(inv.in(2), DType::Int64));
  const Value& v = inv.args[3];
  Tensor src;
  if (v.is_tensor() && (v.t->dim() > 0 || inv.in(2).dim() == 0) && v.t->device == out.device) {
    src = at_least_1d(*cast(Tensor(v.t), out.dtype));
  } else {
    const Tensor number = number_tensor(inv.op, v, out.dtype, out.device);
    src = alias(*number, index.sizes(), Dims(index->dim()), number->offset);
  }
  Scatter{inv.op, target, index, src, wrapped(inv.i(1), *target)}.run(rule);
}

// _scatter(input, dim, index, src: operand)
void scatter_cuda(Invocation& inv) { scatter_into(inv, {}); }
// scatter_add(input, dim, index, src)
void scatter_add_cuda(Invocation& inv) { scatter_into(inv, {.reduce = Reduce::Add}); }
// scatter_reduce(input, dim, index, src, reduce, include_self)
void scatter_reduce_cuda(Invocation& inv) {
  const std::string_view how = inv.args[4].str;
  scatter_into(inv, {.reduce = reduce_named(how), .include_self = inv.b(5), .mean = how == "mean"});
}

MG_CUDA_KERNEL("gather", gather_cuda);
MG_CUDA_KERNEL("_scatter", scatter_cuda);
MG_CUDA_KERNEL("_scatter_", scatter_cuda);
MG_CUDA_KERNEL("scatter_add", scatter_add_cuda);
MG_CUDA_KERNEL("scatter_add_", scatter_add_cuda);
MG_CUDA_KERNEL("scatter_reduce", scatter_reduce_cuda);
MG_CUDA_KERNEL("scatter_reduce_", scatter_reduce_cuda);
MG_CUDA_KERNEL_COMPLEX("gather", nullptr);
MG_CUDA_KERNEL_COMPLEX("_scatter", nullptr);
MG_CUDA_KERNEL_COMPLEX("_scatter_", nullptr);
MG_CUDA_KERNEL_COMPLEX("scatter_add", nullptr);
MG_CUDA_KERNEL_COMPLEX("scatter_add_", nullptr);
MG_CUDA_KERNEL_COMPLEX("scatter_reduce", nullptr);
MG_CUDA_KERNEL_COMPLEX("scatter_reduce_", nullptr);

}  // namespace
}  // namespace mg::cuda
