// add and mul, strided and promoted: the example of AUTHORING, and the way until the pointwise driver is there.
#include "../kernel.h"

namespace mg::cuda {
namespace {

template <class T, class A, class B, class C, bool product>
__global__ void add_kernel(T* out, const A* a, const B* b, C alpha, Offsets<3> offsets) {
  MG_GRID_LOOP(i, offsets.count) {
    int64_t at[3];
    offsets.get(i, at);
    const C x = convert<C>(*byte_at(a, at[1])), y = convert<C>(*byte_at(b, at[2]));
    if constexpr (product) *byte_at(out, at[0]) = convert<T>(C(x * y));
    else *byte_at(out, at[0]) = convert<T>(C(x + alpha * y));
  }
}

// Operands in the compute dtype, on the output's device; a number becomes a 0-d tensor.
Tensor operand(const Value& v, DType compute, Device device) {
  if (v.is_tensor()) return staged(*v.t, compute, device);
  Tensor number = empty({}, compute, device);
  static OpRef fill_op{"fill_"};
  return invoke(fill_op, number, v);
}

template <bool product>
void add_cuda(Invocation& inv) {
  const Device device = inv.out().device;
  const Tensor a = operand(inv.args[0], inv.compute, device), b = operand(inv.args[1], inv.compute, device);
  const StagedOut out(inv.outs[0], inv.compute);
  LoopPlan plan(inv.out().sizes);
  plan.add(reinterpret_cast<char*>(out.ptr<char>()), inv.out().sizes, contiguous_strides(inv.out().sizes), itemsize(inv.compute));
  plan.add(*a);
  plan.add(*b);
  plan.finish();
  const double alpha = product ? 1 : scalar_value(inv.args[2]);
  dispatch_real(inv.compute, [&](auto tag) {
    using T = decltype(tag);
    using C = compute_t<T>;
    with_offsets<3>(plan, [&](const Offsets<3>& offsets, char* const* base) {
      launch_items(add_kernel<T, T, T, C, product>, offsets.count, reinterpret_cast<T*>(base[0]), reinterpret_cast<const T*>(base[1]),
                   reinterpret_cast<const T*>(base[2]), convert<C>(alpha), offsets);
    });
  });
  out.commit();
}

MG_CUDA_KERNEL("add", add_cuda<false>);
MG_CUDA_KERNEL("mul", add_cuda<true>);

}  // namespace
}  // namespace mg::cuda
