// gather and the scatter family: one index per element. Duplicate targets can only lie along `dim`, so everything else
// runs in parallel and `dim` is walked in order: results are the same on every run and for every number of threads.
#include <cmath>

#include "convert.h"
#include "copy.h"
#include "indices.h"
#include "reduce_into.h"
#include "rows.h"

namespace mg::cpu {

namespace {

template <class W>
void gather_row(char* dst, int64_t ds, const char* index, int64_t is, const char* src, int64_t ss, int64_t dim_step,
                int64_t n) {
  constexpr int64_t item = sizeof(W);
  const int64_t* at = reinterpret_cast<const int64_t*>(index);
  W* d = reinterpret_cast<W*>(dst);
  const W* s = reinterpret_cast<const W*>(src);
  const int64_t step = dim_step / item;
  if (ds == item && is == 8 && ss == 0 && step == 1) {
    for (int64_t i = 0; i < n; ++i) d[i] = s[at[i]];
  } else if (ds == item && is == 8 && ss == item) {
    for (int64_t i = 0; i < n; ++i) d[i] = s[i + at[i] * step];
  } else {
    ds /= item, is /= 8, ss /= item;
    for (int64_t i = 0; i < n; ++i) d[i * ds] = s[i * ss + at[i * is] * step];
  }
}

// gather(input, dim, index)
void gather_cpu(Invocation& inv) {
  const Tensor in = at_least_1d(inv.in(0)), out = at_least_1d(inv.out());
  const int d = wrapped(inv.i(1), *in);
  Tensor index = checked_indices(inv.op, inv.in(2), in.size(d), d, false);
  if (out.numel() == 0) return;
  index = at_least_1d(*index);
  const int64_t item = itemsize(in.dtype()), dim_step = in.strides()[d] * item;
  Dims strides = in.strides();
  strides[d] = 0;
  LoopPlan plan(out.sizes());
  plan.add(*out);
  plan.add(*index);
  plan.add(in->data(), out.sizes(), strides, item);
  plan.finish();
  const auto row = item == 1    ? gather_row<uint8_t>
                   : item == 2  ? gather_row<uint16_t>
                   : item == 4  ? gather_row<uint32_t>
                   : item == 16 ? gather_row<complex128>
                                : gather_row<uint64_t>;
  for_rows(plan, [&](char** p, int64_t n) {
    row(p[0], plan.inner_stride(0), p[1], plan.inner_stride(1), p[2], plan.inner_stride(2), dim_step, n);
  });
}

// One scatter pass: target and index (checked) are at least 1-d; a null src stands for `constant`.
struct ScatterPass {
  TensorImpl& target;
  const TensorImpl& index;
  const TensorImpl* src;  // same dtype as the target
  const void* constant;
  int d;

  template <class T, Reduce reduce>
  void run() const {
    Dims sizes = index.sizes, t = target.strides, i = index.strides, s = src ? src->strides : Dims(index.dim());
    const int64_t n = sizes[d], td = t[d] * int64_t(sizeof(T)), id = i[d] * 8, sd = s[d] * int64_t(sizeof(T));
    for (Dims* v : {&sizes, &t, &i, &s}) v->erase(d);
    LoopPlan plan(sizes);  // the columns: every dim but d
    plan.add(target.data(), sizes, t, sizeof(T));
    plan.add(index.data(), sizes, i, 8);
    plan.add(src ? src->data() : static_cast<char*>(const_cast<void*>(constant)), sizes, s, sizeof(T));
    plan.finish();
    constexpr int64_t item = sizeof(T);
    const int64_t tc = plan.inner_stride(0) / item, ic = plan.inner_stride(1) / 8, sc = plan.inner_stride(2) / item;
    const int64_t step = td / item, ik = id / 8, sk = sd / item;
    const bool dim_inner =
        std::abs(ik) < std::abs(ic);  // the inner loop walks what is closer in memory, dim or columns
    for_rows(
        plan,
        [&](char** p, int64_t columns) {
          T* to = reinterpret_cast<T*>(p[0]);
          const int64_t* at = reinterpret_cast<const int64_t*>(p[1]);
          const T* from = reinterpret_cast<const T*>(p[2]);
          if (dim_inner) {
            for (int64_t c = 0; c < columns; ++c)
              line<T, reduce>(to + c * tc, 0, at + c * ic, ik, from + c * sc, sk, step, n);
          } else {
            for (int64_t k = 0; k < n; ++k) line<T, reduce>(to, tc, at + k * ik, ic, from + k * sk, sc, step, columns);
          }
        },
        n);
  }

  // Element strides; the usual ones are compile-time constants.
  template <class T, Reduce reduce>
  static void line(T* to, int64_t ts, const int64_t* at, int64_t is, const T* from, int64_t fs, int64_t step,
                   int64_t n) {
    if (ts == 0 && is == 1 && fs == 1 && step == 1) {
      for (int64_t i = 0; i < n; ++i) reduce_into<reduce>(to[at[i]], from[i]);
    } else if (ts == 1 && is == 1 && fs == 1) {
      for (int64_t i = 0; i < n; ++i) reduce_into<reduce>(to[i + at[i] * step], from[i]);
    } else {
      for (int64_t i = 0; i < n; ++i) reduce_into<reduce>(to[i * ts + at[i * is] * step], from[i * fs]);
    }
  }

  void run(Reduce reduce) const {
    if (index.numel == 0) return;
    dispatch_reduce(target.dtype, reduce, [&]<class T, Reduce r>() { run<T, r>(); });
  }
};

void scatter_into(Invocation& inv, const ScatterRule& rule) {
  const int d = wrapped(inv.i(1), *at_least_1d(inv.in(0)));
  const Tensor checked = checked_indices(inv.op, inv.in(2), at_least_1d(inv.in(0)).size(d), d, false);
  const Tensor index = at_least_1d(*checked);
  TensorImpl& out = inv.out();
  if (inv.outs[0].get() != inv.args[0].t) strided_copy(out, inv.in(0));
  if (index.numel() == 0) return;
  const bool low = out.dtype == DType::Float16 || out.dtype == DType::BFloat16;
  const bool widen = low && (rule.reduce == Reduce::Add || rule.reduce == Reduce::Mul);  // round once, not at every addition
  const Tensor wide = widen ? to_contiguous(out, DType::Float32) : inv.outs[0];
  const Tensor target = at_least_1d(*wide);
  const Value& v = inv.args[3];
  Tensor src, constant;
  if (v.is_tensor())
    src = at_least_1d(*cast(Tensor(v.t), target.dtype()));
  else
    fill(*(constant = empty(Dims{}, target.dtype())), v);
  const ScatterPass pass{*target, *index, src.get(), constant ? constant->data() : nullptr, d};
  if (rule.reduce != Reduce::Assign && !rule.include_self) {
    const Tensor identity = identity_of(rule.reduce, target.dtype());
    ScatterPass{*target, *index, nullptr, identity->data(), d}.run(Reduce::Assign);
  }
  pass.run(rule.reduce);
  if (rule.mean) {
    const Tensor counts = empty(target.sizes(), DType::Int64);
    fill(*counts, 0, rule.include_self ? 1 : 0);
    const int64_t one = 1;
    ScatterPass{*counts, *index, nullptr, &one, d}.run(Reduce::Add);
    divide_by_counts(*target, *counts);
  }
  if (widen) strided_copy(out, *wide);
}

// _scatter(input, dim, index, src: operand)
void scatter_cpu(Invocation& inv) { scatter_into(inv, {}); }
// scatter_add(input, dim, index, src)
void scatter_add_cpu(Invocation& inv) { scatter_into(inv, {.reduce = Reduce::Add}); }
// scatter_reduce(input, dim, index, src, reduce, include_self)
void scatter_reduce_cpu(Invocation& inv) {
  const std::string_view how = inv.args[4].str;
  scatter_into(inv, {.reduce = reduce_named(how), .include_self = inv.b(5), .mean = how == "mean"});
}

}  // namespace

MG_KERNEL("gather", CPU, gather_cpu);
MG_KERNEL("_scatter", CPU, scatter_cpu);
MG_KERNEL("_scatter_", CPU, scatter_cpu);
MG_KERNEL("scatter_add", CPU, scatter_add_cpu);
MG_KERNEL("scatter_add_", CPU, scatter_add_cpu);
MG_KERNEL("scatter_reduce", CPU, scatter_reduce_cpu);
MG_KERNEL("scatter_reduce_", CPU, scatter_reduce_cpu);

}  // namespace mg::cpu
