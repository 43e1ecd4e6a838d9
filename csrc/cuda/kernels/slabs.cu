// See slabs.h.
#include "slabs.h"

#include "copy.h"

namespace mg::cuda {
namespace {

__global__ void add_index_kernel(int64_t* keys, const int64_t* index, int64_t n, int64_t size, int64_t stride, bool wrap, FaultNote note) {
  MG_GRID_LOOP(k, n) {
    const int64_t at = index[k], place = wrap && at < 0 ? at + size : at;
    if (place < 0 || place >= size) {
      note_fault(note, kIndexFault, at, size);
      keys[k] = -1;
    } else if (keys[k] >= 0) {
      keys[k] += place * stride;
    }
  }
}

template <class B>
__global__ void gather_kernel(char* dst, const char* src, const int64_t* keys, int64_t n, int64_t step, Offsets<2> slab) {
  MG_GRID_LOOP(i, n * slab.count) {
    const int64_t k = i / slab.count, key = keys[k];
    int64_t at[2];
    slab.get(i - k * slab.count, at);
    *reinterpret_cast<B*>(dst + k * step + at[0]) = key < 0 ? B{} : *reinterpret_cast<const B*>(src + key + at[1]);
  }
}

// Whether position s of the sorted keys begins a run.
MG_DEVICE bool starts_run(const int64_t* keys, int64_t s) { return keys[s] >= 0 && (s == 0 || keys[s - 1] != keys[s]); }

template <class B>
__global__ void assign_kernel(char* dst, const char* src, const int64_t* keys, const int64_t* order, int64_t n, int64_t step, Offsets<2> slab) {
  MG_GRID_LOOP(i, n * slab.count) {
    const int64_t s = i / slab.count, key = keys[s];
    if (key < 0 || (s + 1 < n && keys[s + 1] == key)) continue;  // the last of a run wins
    int64_t at[2];
    slab.get(i - s * slab.count, at);
    *reinterpret_cast<B*>(dst + key + at[0]) = *reinterpret_cast<const B*>(src + order[s] * step + at[1]);
  }
}

// --- reductions

template <class T>
using accumulate_t = std::conditional_t<is_low_precision<T>, float, T>;

template <class A>
MG_DEVICE A combined(Reduce reduce, A a, A v) {
  if constexpr (is_complex_element<A>) {
    return reduce == Reduce::Mul ? A{a.re * v.re - a.im * v.im, a.re * v.im + a.im * v.re} : A{a.re + v.re, a.im + v.im};
  } else if constexpr (std::is_same_v<A, bool>) {
    return reduce == Reduce::Add || reduce == Reduce::Max ? a || v : a && v;
  } else if constexpr (std::is_integral_v<A>) {  // wraps
    if (reduce == Reduce::Add) return A(uint64_t(a) + uint64_t(v));
    if (reduce == Reduce::Mul) return A(uint64_t(a) * uint64_t(v));
    return (reduce == Reduce::Max) == (v > a) ? v : a;
  } else {
    if (reduce == Reduce::Add) return a + v;
    if (reduce == Reduce::Mul) return a * v;
    const bool wins = reduce == Reduce::Max ? v > a : v < a;
    return wins || v != v ? v : a;
  }
}
template <class A>
MG_DEVICE A scaled(A v, double scale) {
  if constexpr (is_complex_element<A>) {
    using R = decltype(A::re);
    return A{v.re * R(scale), v.im * R(scale)};
  } else if constexpr (std::is_same_v<A, bool>) {
    return v && scale != 0;
  } else if constexpr (std::is_integral_v<A>) {
    return A(uint64_t(v) * uint64_t(int64_t(scale)));
  } else {
    return v * A(scale);
  }
}
template <class A>
MG_DEVICE A divided(A v, int64_t count) {
  if (count <= 1) return v;
  if constexpr (is_complex_element<A>) {
    using R = decltype(A::re);
    return A{v.re / R(count), v.im / R(count)};
  } else if constexpr (std::is_integral_v<A>) {
    return A(int64_t(v) / count - (int64_t(v) % count < 0));
  } else {
    return v / A(count);
  }
}

template <class T>
__global__ void reduce_kernel(char* dst, const char* src, const int64_t* keys, const int64_t* order, int64_t n, int64_t step, Offsets<2> slab,
                              ScatterRule rule) {
  using A = accumulate_t<T>;
  MG_GRID_LOOP(i, n * slab.count) {
    const int64_t s = i / slab.count;
    if (!starts_run(keys, s)) continue;
    const int64_t key = keys[s];
    int64_t at[2];
    slab.get(i - s * slab.count, at);
    T* const to = reinterpret_cast<T*>(dst + key + at[0]);
    A sum{};
    int64_t count = 0;
    if (rule.include_self) sum = convert<A>(*to), count = 1;
    for (int64_t r = s; r < n && keys[r] == key; ++r, ++count) {
      A v = convert<A>(*reinterpret_cast<const T*>(src + order[r] * step + at[1]));
      if (rule.scale != 1) v = scaled(v, rule.scale);
      sum = count == 0 ? v : combined(rule.reduce, sum, v);
    }
    *to = convert<T>(rule.mean ? divided(sum, count) : sum);
  }
}

__global__ void count_up_kernel(int64_t* out, int64_t n) { MG_GRID_LOOP(i, n) out[i] = i; }

}  // namespace

Tensor new_keys(int64_t n, Device device) {
  const Tensor keys = workspace(n, DType::Int64, device);
  fill(*keys, Value(0));
  return keys;
}

void add_index(const Op& op, const Tensor& keys, const Tensor& index, int64_t size, int64_t stride_bytes, bool wrap) {
  const Tensor at = staged(*index, DType::Int64, keys.device());
  launch_items(add_index_kernel, keys.numel(), keys.ptr<int64_t>(), static_cast<const int64_t*>(at.ptr<int64_t>()), keys.numel(), size, stride_bytes,
               wrap, fault_note(op));
}

void slab_gather(const LoopPlan& plan, const Tensor& keys, int64_t step, int64_t item) {
  if (keys.numel() == 0) return;
  dispatch_bits(item, [&](auto bits) {
    with_offsets<2>(plan, [&](const Offsets<2>& slab, char* const* base) {
      launch_items(gather_kernel<decltype(bits)>, keys.numel() * slab.count, base[0], static_cast<const char*>(base[1]),
                   static_cast<const int64_t*>(keys.ptr<int64_t>()), keys.numel(), step, slab);
    });
  });
}

Sorted sorted_keys(const Tensor& keys) {
  const int64_t n = keys.numel();
  if (n <= 1) {
    const Tensor order = workspace(n, DType::Int64, keys.device());
    launch_items(count_up_kernel, n, order.ptr<int64_t>(), n);
    return {keys, order};
  }
  static OpRef sort_op{"_sort"};
  const Value args[] = {Value(keys), Value(0), Value(false)};
  Tensor outs[2];
  call(*sort_op, args, outs);
  return {outs[0], outs[1]};
}

void slab_scatter(const LoopPlan& plan, const Tensor& keys, int64_t step, DType dtype, const ScatterRule& rule) {
  const int64_t n = keys.numel();
  if (plan.numel == 0 || n == 0) return;
  MG_CHECK(!is_complex(dtype) || rule.reduce == Reduce::Assign || rule.reduce == Reduce::Add || rule.reduce == Reduce::Mul, NotImplemented,
           "scatter: complex numbers have no order: expected sum or prod");
  const Sorted sorted = sorted_keys(keys);
  const int64_t *key = sorted.keys.ptr<int64_t>(), *order = sorted.order.ptr<int64_t>();
  if (rule.reduce == Reduce::Assign)
    return dispatch_bits(itemsize(dtype), [&](auto bits) {
      with_offsets<2>(plan, [&](const Offsets<2>& slab, char* const* base) {
        launch_items(assign_kernel<decltype(bits)>, n * slab.count, base[0], static_cast<const char*>(base[1]), key, order, n, step, slab);
      });
    });
  dispatch_any(dtype, [&](auto tag) {
    with_offsets<2>(plan, [&](const Offsets<2>& slab, char* const* base) {
      launch_items(reduce_kernel<decltype(tag)>, n * slab.count, base[0], static_cast<const char*>(base[1]), key, order, n, step, slab, rule);
    });
  });
}

// Whether every number of one real dtype fits the other (check_fits), so that nobody has to look at it.
static bool always_fits(DType from, DType to) {
  to = to_real(to);
  if (from == to || from == DType::Bool || to == DType::Bool) return true;
  const bool half = to == DType::Float16;
  if (!is_inexact(from)) return is_inexact(to) ? !half || itemsize(from) <= 2 : to != DType::UInt8 && itemsize(from) < itemsize(to);
  if (!is_inexact(to)) return false;
  return from == DType::Float16 || (!half && itemsize(from) < itemsize(to));
}

Tensor number_tensor(const Op& op, const Value& v, DType dtype, Device device) {
  if (v.is_tensor()) {
    if (!is_complex(v.t->dtype) && !always_fits(v.t->dtype, dtype))
      check_fits(op.name, is_inexact(v.t->dtype) ? Value(read_double(*v.t)) : Value(read_int(*v.t)), dtype);
    return staged(*v.t, dtype, device);
  }
  const Tensor one = empty(Dims{}, dtype, device);
  fill(*one, v);
  return one;
}

}  // namespace mg::cuda
