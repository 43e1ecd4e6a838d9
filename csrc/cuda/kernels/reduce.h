// Any-axes reductions, the device's part. A Rule (passed by value) says what is folded:
//
//   using A                                   accumulator: 4-byte words, trivially copyable
//   A identity()
//   void add(A&, const C* x, int n, int64_t at)   n <= 8 elements of the line, numbers at … at + n
//   A merge(A, A)
//   void write(int64_t k, A)                  the result of output number k
//   static constexpr int kUnroll              optional: packs per thread at a time
//
// The input is read once: length * outputs * itemsize bytes, plus pieces * outputs partial results where lines are cut.
#pragma once
#include "reduce_plan.h"

namespace mg::cuda {

template <class C, class S, class Rule>
__device__ typename Rule::A fold_serial(const char* base, const ReducePlan& plan, const Rule& rule, int64_t r0, int64_t r1) {
  constexpr int kChunk = 8;
  typename Rule::A a = rule.identity();
  const int64_t width = plan.rsize[plan.nr - 1], step = plan.rin[plan.nr - 1];
  for (int64_t r = r0; r < r1;) {
    const int64_t off = plan.nr == 1 ? r : r % width, end = plan.nr == 1 ? r1 : (width - off < r1 - r ? r + width - off : r1);
    const char* p = base + plan.folded_offset(r);
    for (; r + kChunk <= end; r += kChunk) {
      C x[kChunk];
#pragma unroll
      for (int k = 0; k < kChunk; ++k, p += step) x[k] = convert<C>(*reinterpret_cast<const S*>(p));
      rule.add(a, x, kChunk, r);
    }
    for (; r < end; ++r, p += step) {
      const C x = convert<C>(*reinterpret_cast<const S*>(p));
      rule.add(a, &x, 1, r);
    }
  }
  return a;
}

template <class C, class S, int V, class Rule>
__device__ void fold_pack(typename Rule::A& a, const char* p, const Rule& rule, int64_t r) {
  C x[V];
  if constexpr (V == 1) {
    x[0] = convert<C>(*reinterpret_cast<const S*>(p));
  } else {
    const Pack<S, V> pack = *reinterpret_cast<const Pack<S, V>*>(p);
#pragma unroll
    for (int k = 0; k < V; ++k) x[k] = convert<C>(pack.v[k]);
  }
  rule.add(a, x, V, r);
}

// How many packs a thread has on their way. Rules that compute much per pack say kUnroll = 1: the code is smaller, and others hide their waits.
template <class Rule>
constexpr int unroll_of() {
  if constexpr (requires { Rule::kUnroll; }) return Rule::kUnroll;
  else return 4;
}

// The share of one of `width` threads.
template <class C, class S, int V, class Rule>
__device__ typename Rule::A fold_shared(const char* base, const ReducePlan& plan, const Rule& rule, int64_t r0, int64_t r1, int lane,
                                        int width) {
  typename Rule::A a = rule.identity();
  [[maybe_unused]] constexpr int kUnroll = unroll_of<Rule>();  // g++ knows no #pragma unroll
  int64_t r = r0 + int64_t(lane) * V;
  if (plan.nr == 1) {
#pragma unroll kUnroll
    for (; r < r1; r += int64_t(width) * V) fold_pack<C, S, V>(a, base + r * plan.rin[0], rule, r);
  } else {  // not unrolled: its divisions are most of the code
#pragma unroll 1
    for (; r < r1; r += int64_t(width) * V) fold_pack<C, S, V>(a, base + plan.folded_offset(r), rule, r);
  }
  return a;
}

template <class Rule>
__device__ void finish(const ReducePlan& plan, const Rule& rule, typename Rule::A* partials, int64_t k, int64_t piece,
                       typename Rule::A a) {
  if (partials != nullptr) partials[piece * plan.outputs + k] = a;
  else rule.write(plan.output_index(k), a);
}

template <class C, class S, class Rule>
__global__ void reduce_serial_kernel(const char* x, ReducePlan plan, Rule rule, typename Rule::A* partials) {
  MG_GRID_LOOP(i, plan.outputs * plan.pieces) {
    const int64_t piece = plan.pieces == 1 ? 0 : i / plan.outputs, k = i - piece * plan.outputs;
    const int64_t r0 = piece * plan.piece, r1 = r0 + plan.piece < plan.length ? r0 + plan.piece : plan.length;
    finish(plan, rule, partials, k, piece, fold_serial<C, S>(x + plan.input_offset(k), plan, rule, r0, r1));
  }
}

// A team per output (and piece): a warp each, or, where blocks have one row, the block.
template <class C, class S, int V, class Rule>
__global__ void reduce_team_kernel(const char* x, ReducePlan plan, Rule rule, typename Rule::A* partials) {
  const int64_t item = int64_t(blockIdx.x) * blockDim.y + threadIdx.y;
  if (item >= plan.outputs * plan.pieces) return;  // whole warps
  const int64_t k = plan.pieces == 1 ? item : item / plan.pieces, piece = item - k * plan.pieces;
  const int64_t r0 = piece * plan.piece, r1 = r0 + plan.piece < plan.length ? r0 + plan.piece : plan.length;
  typename Rule::A a = fold_shared<C, S, V>(x + plan.input_offset(k), plan, rule, r0, r1, int(threadIdx.x), int(blockDim.x));
  const auto merge = [&rule](typename Rule::A one, typename Rule::A other) { return rule.merge(one, other); };
  a = blockDim.x == 32 ? warp_reduce(a, merge) : block_reduce(a, merge);
  if (threadIdx.x == 0) finish(plan, rule, partials, k, piece, a);
}

template <class Rule>
__global__ void reduce_pieces_kernel(ReducePlan plan, Rule rule, const typename Rule::A* partials) {
  const int64_t k = int64_t(blockIdx.x) * blockDim.y + threadIdx.y;
  if (k >= plan.outputs) return;
  typename Rule::A a = rule.identity();
  for (int64_t p = threadIdx.x; p < plan.pieces; p += 32) a = rule.merge(a, partials[p * plan.outputs + k]);
  a = warp_reduce(a, [&rule](typename Rule::A one, typename Rule::A other) { return rule.merge(one, other); });
  if (threadIdx.x == 0) rule.write(plan.output_index(k), a);
}

// Neighbours of the last folded dim can be read V at a time.
template <class S, int V>
bool reads_packs(const ReducePlan& p, const char* x) {
  if (p.rin[p.nr - 1] != int64_t(sizeof(S)) || p.rsize[p.nr - 1] % V != 0 || !aligned16(x)) return false;
  for (int d = 0; d < p.nr - 1; ++d)
    if (p.rin[d] % 16 != 0) return false;
  for (int d = 0; d < p.nk; ++d)
    if (p.kin[d] % 16 != 0) return false;
  return true;
}

// Folds x, of element type S, as numbers of type C.
template <class C, class S, class Rule>
void reduce(const TensorImpl& in, ReducePlan plan, const Rule& rule) {
  if (plan.outputs == 0) return;
  using A = typename Rule::A;
  const char* x = in.data();
  const ReduceWay way = choose_way(plan);
  Tensor room;
  A* partials = nullptr;
  if (plan.pieces > 1) {
    room = workspace(plan.pieces * plan.outputs * int64_t(sizeof(A)), DType::UInt8, in.device);
    partials = reinterpret_cast<A*>(room.ptr<char>());
  }
  constexpr int V = kVector<S> < 8 ? kVector<S> : 8;
  const bool packs = reads_packs<S, V>(plan, x);
  const dim3 warps(32, unsigned(std::min<int64_t>(plan.outputs, kWarpsPerBlock)));
  const dim3 warp_blocks(unsigned((plan.outputs + warps.y - 1) / warps.y));
  if (way == ReduceWay::Serial) {
    launch_items(reduce_serial_kernel<C, S, Rule>, plan.outputs * plan.pieces, x, plan, rule, partials);
  } else {
    const auto kernel = packs ? reduce_team_kernel<C, S, V, Rule> : reduce_team_kernel<C, S, 1, Rule>;
    if (way == ReduceWay::Warp) launch(kernel, warp_blocks, warps, 0, current_stream(), x, plan, rule, partials);
    else launch_blocks(kernel, plan.outputs * plan.pieces, threads_for_row(plan.piece / 8), 0, x, plan, rule, partials);
  }
  if (plan.pieces > 1) launch(reduce_pieces_kernel<Rule>, warp_blocks, warps, 0, current_stream(), plan, rule, static_cast<const A*>(partials));
}

// A result of any real dtype.
struct AnyOut {
  char* data;
  DType dtype;
  template <class A>
  MG_DEVICE void write(int64_t k, A v) const {
    switch (dtype) {
      case DType::Float32: reinterpret_cast<float*>(data)[k] = convert<float>(v); return;
      case DType::Float64: reinterpret_cast<double*>(data)[k] = convert<double>(v); return;
      case DType::Float16: reinterpret_cast<__half*>(data)[k] = convert<__half>(v); return;
      case DType::BFloat16: reinterpret_cast<__nv_bfloat16*>(data)[k] = convert<__nv_bfloat16>(v); return;
      case DType::Int64: reinterpret_cast<int64_t*>(data)[k] = convert<int64_t>(v); return;
      case DType::Int32: reinterpret_cast<int32_t*>(data)[k] = convert<int32_t>(v); return;
      case DType::Int16: reinterpret_cast<int16_t*>(data)[k] = convert<int16_t>(v); return;
      case DType::Int8: reinterpret_cast<int8_t*>(data)[k] = convert<int8_t>(v); return;
      case DType::UInt8: reinterpret_cast<uint8_t*>(data)[k] = convert<uint8_t>(v); return;
      case DType::Bool: reinterpret_cast<bool*>(data)[k] = convert<bool>(v); return;
      default: return;
    }
  }
};

// f(C{}, S{}, input): the types to compute in and to read, for an op that computes in `compute`; other inputs are converted first.
template <class F>
void for_inputs(const Tensor& x, DType compute, F&& f) {
  const DType d = x.dtype();
  if (compute == DType::Float64) return f(double{}, double{}, cast(x, DType::Float64));
  if (is_floating(compute)) {
    if (d == DType::Float16) return f(float{}, __half{}, x);
    if (d == DType::BFloat16) return f(float{}, __nv_bfloat16{}, x);
    return f(float{}, float{}, cast(x, DType::Float32));
  }
  if (d == DType::Bool || d == DType::UInt8) return f(int64_t{}, uint8_t{}, x);
  if (d == DType::Int32) return f(int64_t{}, int32_t{}, x);
  f(int64_t{}, int64_t{}, cast(x, DType::Int64));
}

}  // namespace mg::cuda
