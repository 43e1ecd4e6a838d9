// Masks and counts: nonzero, masked_fill, bincount, and the index behind repeat_interleave. The sizes of nonzero,
// bincount and repeat_interleave depend on the data: their kernels replace the empty output that call() made.
#include "convert.h"
#include "copy.h"
#include "indices.h"
#include "isa.h"
#include "mask_table.h"
#include "rows.h"

#include <limits>

#define MG_EXTERN_MASK(ns)               \
  namespace mg::cpu::ns {                \
  extern const MaskTable mask_functions; \
  }
MG_EXTERN_MASK(portable)
MG_EXTERN_MASK(avx2)
MG_EXTERN_MASK(avx512)

namespace mg::cpu {

const MaskTable& mask_table() {
  static const MaskTable& table = MG_PICK(mask_functions);
  return table;
}

namespace {

constexpr int64_t kPiece = 512;

// _nonzero(input): counted per block, then every block writes its rows from its own start.
void nonzero_cpu(Invocation& inv) {
  const TensorImpl& in = inv.in(0);
  const int dims = in.dim();
  const Tensor mask = to_contiguous(in, DType::Bool);
  const bool* on = mask.ptr<bool>();
  const int64_t blocks = (in.numel + kRowGrain - 1) / kRowGrain;
  std::vector<int64_t> start(size_t(blocks) + 1, 0);
  parallel_chunks(blocks, [&](int64_t b) {
    int64_t n = 0;
    for (int64_t i = b * kRowGrain, end = std::min(i + kRowGrain, in.numel); i < end; ++i) n += on[i];
    start[size_t(b) + 1] = n;
  });
  for (size_t b = 0; b < size_t(blocks); ++b) start[b + 1] += start[b];
  inv.outs[0] = empty(Dims{start.back(), dims}, DType::Int64);
  int64_t* out = inv.out().ptr<int64_t>();
  const int64_t inner = dims ? in.sizes[dims - 1] : 1;
  parallel_chunks(blocks, [&](int64_t b) {
    int64_t* row = out + start[size_t(b)] * dims;
    const int64_t end = std::min((b + 1) * kRowGrain, in.numel);
    for (int64_t i = b * kRowGrain; i < end;) {  // a piece of one row of the last dim
      int64_t found[kPiece], n = 0, at[kMaxDims];
      const int64_t first = i % inner, length = std::min({inner - first, end - i, kPiece});
      for (int64_t k = 0; k < length; ++k) {  // no branch: a random mask would mispredict every other one
        found[n] = first + k;
        n += on[i + k];
      }
      for (int64_t d = dims - 2, rest = i / inner; d >= 0; --d) {
        at[d] = rest % in.sizes[int(d)];
        rest /= in.sizes[int(d)];
      }
      for (int64_t k = 0; k < n && dims > 0; ++k) {
        row = std::copy(at, at + dims - 1, row);
        *row++ = found[k];
      }
      i += length;
    }
  });
}

void fill_dense(uint8_t* d, const uint8_t* s, const bool* m, uint8_t v, int64_t n) {
  mask_table().fill8(d, s, m, v, n);
}
void fill_dense(uint16_t* d, const uint16_t* s, const bool* m, uint16_t v, int64_t n) {
  mask_table().fill16(d, s, m, v, n);
}
void fill_dense(uint32_t* d, const uint32_t* s, const bool* m, uint32_t v, int64_t n) {
  mask_table().fill32(d, s, m, v, n);
}
void fill_dense(uint64_t* d, const uint64_t* s, const bool* m, uint64_t v, int64_t n) {
  mask_table().fill64(d, s, m, v, n);
}

void fill_dense(complex128* d, const complex128* s, const bool* m, complex128 v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) d[i] = m[i] ? v : s[i];
}

template <class W>
void masked_row(char* dst, int64_t ds, const char* src, int64_t ss, const char* mask, int64_t ms, W value, int64_t n) {
  if (ds == int64_t(sizeof(W)) && ss == ds && ms == 1)
    return fill_dense(reinterpret_cast<W*>(dst), reinterpret_cast<const W*>(src), reinterpret_cast<const bool*>(mask),
                      value, n);
  for (int64_t i = 0; i < n; ++i)
    *reinterpret_cast<W*>(dst + i * ds) = mask[i * ms] ? value : *reinterpret_cast<const W*>(src + i * ss);
}

// masked_fill(input, mask, value)
void masked_fill_cpu(Invocation& inv) {
  TensorImpl& out = inv.out();
  const Value& v = inv.args[2];
  Tensor value = empty(Dims{}, out.dtype);
  MG_CHECK(!v.is_tensor() || !is_complex(v.t->dtype) || is_complex(out.dtype), Runtime, inv.op.name,
           ": a complex value cannot be converted to ", out.dtype, " without overflow");
  check_tensor_fits(inv.op, v, out.dtype);
  if (v.is_tensor())
    strided_copy(*value, *v.t);
  else
    fill(*value, v);
  LoopPlan plan(out.sizes);
  plan.add(out);
  plan.add(inv.in(0));
  plan.add(inv.in(1));
  plan.finish();
  auto run = [&]<class W>() {
    const W fill_with = *value.ptr<W>();
    for_rows(plan, [&](char** p, int64_t n) {
      masked_row<W>(p[0], plan.inner_stride(0), p[1], plan.inner_stride(1), p[2], plan.inner_stride(2), fill_with, n);
    });
  };
  switch (itemsize(out.dtype)) {
    case 1:
      return run.operator()<uint8_t>();
    case 2:
      return run.operator()<uint16_t>();
    case 4:
      return run.operator()<uint32_t>();
    case 16:
      return run.operator()<complex128>();
    default:
      return run.operator()<uint64_t>();
  }
}

// bincount(input, weights?, minlength)
void bincount_cpu(Invocation& inv) {
  const Tensor in = to_contiguous(inv.in(0), DType::Int64);
  const int64_t* at = in.ptr<int64_t>();
  int64_t bins = inv.i(2);
  for (int64_t i = 0; i < in.numel(); ++i) {
    MG_CHECK(at[i] >= 0, Runtime, inv.op.name, ": only supports 1-d non-negative integral inputs: got ", at[i],
             " at position ", i);
    MG_CHECK(at[i] < std::numeric_limits<int64_t>::max(), Runtime, inv.op.name, ": too many bins for the value ", at[i]);
    bins = std::max(bins, at[i] + 1);
  }
  inv.outs[0] = empty(Dims{bins}, inv.out().dtype);
  fill_zero(inv.outs[0]);
  if (!inv.has(1)) {
    for (int64_t i = 0; i < in.numel(); ++i) ++inv.out().ptr<int64_t>()[at[i]];
    return;
  }
  const Tensor weights = to_contiguous(inv.in(1), inv.out().dtype);
  dispatch(weights.dtype(), [&](auto tag) {
    using T = decltype(tag);
    if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>)
      for (int64_t i = 0; i < in.numel(); ++i) inv.out().ptr<T>()[at[i]] += weights.ptr<T>()[i];
  });
}

// _repeat_index(repeats)
void repeat_index_cpu(Invocation& inv) {
  const Tensor repeats = to_contiguous(inv.in(0), DType::Int64);
  const int64_t* times = repeats.ptr<int64_t>();
  int64_t total = 0;
  for (int64_t i = 0; i < repeats.numel(); ++i) {
    MG_CHECK(times[i] >= 0, Runtime, "repeat_interleave: repeats can not be negative: got ", times[i], " at position ",
             i);
    MG_CHECK(!__builtin_add_overflow(total, times[i], &total), Runtime,
             "repeat_interleave: the sum of repeats overflows");
  }
  inv.outs[0] = empty(Dims{total}, DType::Int64);
  int64_t* out = inv.out().ptr<int64_t>();
  for (int64_t i = 0; i < repeats.numel(); ++i) out = std::fill_n(out, times[i], i);
}

}  // namespace

MG_KERNEL("_nonzero", CPU, nonzero_cpu);
MG_KERNEL("masked_fill", CPU, masked_fill_cpu);
MG_KERNEL("masked_fill_", CPU, masked_fill_cpu);
MG_KERNEL("bincount", CPU, bincount_cpu);
MG_KERNEL("_repeat_index", CPU, repeat_index_cpu);

}  // namespace mg::cpu
