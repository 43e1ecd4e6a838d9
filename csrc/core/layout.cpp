// See layout.h. All of this is integer arithmetic on shapes; nothing touches data.
#include "layout.h"

namespace mg {

Dims contiguous_strides(const Dims& sizes) {
  Dims strides;
  strides.resize_uninitialized(sizes.size());
  int64_t step = 1;
  for (int i = sizes.size() - 1; i >= 0; --i) {
    strides[i] = step;
    step *= std::max<int64_t>(sizes[i], 1);
  }
  return strides;
}

bool is_contiguous(const Dims& sizes, const Dims& strides) {
  int64_t step = 1;
  for (int64_t s : sizes)
    if (s == 0) return true;
  for (int i = sizes.size() - 1; i >= 0; --i) {
    if (sizes[i] != 1 && strides[i] != step) return false;
    step *= sizes[i];
  }
  return true;
}

// Also 5-d NDHWC (channels_last_3d).
bool is_channels_last(const Dims& sizes, const Dims& strides) {
  const int n = sizes.size();
  if ((n != 4 && n != 5) || strides[1] == 0) return false;
  int64_t least = 0;
  for (int i = 0; i < n; ++i) {
    const int d = i == 0 ? 1 : i + 1 == n ? 0 : n - i;  // fastest to slowest: channels, columns, rows …, images
    if (sizes[d] == 0 || strides[d] < least) return false;
    if (d == 0 && least == strides[1]) return false;  // ambiguous N111 or contiguous: PyTorch calls it contiguous
    least = strides[d];
    if (sizes[d] > 1) least *= sizes[d];
  }
  return true;
}

int64_t checked_numel(const Dims& sizes, const char* op) {
  int64_t n = 1;
  for (int64_t s : sizes) {
    MG_CHECK(s >= 0, Runtime, op, ": negative dimension ", s, " in shape ", sizes);
    MG_CHECK(!__builtin_mul_overflow(n, s, &n), Runtime, op, ": shape ", sizes, " has more than 2**63 elements");
  }
  return n;
}

bool broadcast_into(Dims& shape, const Dims& other) {
  const int n = other.size();
  while (shape.size() < n) shape.insert(0, 1);
  const int lead = shape.size() - n;
  for (int i = 0; i < n; ++i) {
    int64_t &a = shape[lead + i], b = other[i];
    if (a == b || b == 1) continue;
    if (a != 1) return false;
    a = b;
  }
  return true;
}

Dims broadcast_strides(const Dims& sizes, const Dims& strides, const Dims& shape) {
  Dims out(shape.size());
  const int lead = shape.size() - sizes.size();
  for (int i = 0; i < sizes.size(); ++i) out[lead + i] = sizes[i] == 1 && shape[lead + i] != 1 ? 0 : strides[i];
  return out;
}

int64_t wrap_dim(int64_t dim, int ndim, const char* op) {
  const int64_t n = std::max(ndim, 1);
  MG_CHECK(dim >= -n && dim < n, Index, op, ": dim out of range: got ", dim, ", expected a value in [", -n, ", ", n - 1,
           "] for a ", ndim, "-d tensor");
  return dim < 0 ? dim + n : dim;
}

bool view_strides(const TensorImpl& t, const Dims& shape, Dims& out) {
  out.resize_uninitialized(shape.size());
  if (t.contiguous || t.numel == 0) {
    out = contiguous_strides(shape);
    return true;
  }
  // Walk both shapes from the right; each maximal run of t that is linear in memory may be cut into view dims freely.
  int view_dim = shape.size() - 1;
  int64_t base_stride = t.dim() ? t.strides.back() : 1, run = 1, filled = 1;
  for (int d = t.dim() - 1; d >= 0; --d) {
    run *= t.sizes[d];
    if (d != 0 && (t.sizes[d - 1] == 1 || t.strides[d - 1] == run * base_stride)) continue;
    while (view_dim >= 0 && (filled < run || shape[view_dim] == 1)) {
      out[view_dim] = filled * base_stride;
      filled *= shape[view_dim];
      --view_dim;
    }
    if (filled != run) return false;
    if (d > 0) {
      base_stride = t.strides[d - 1];
      run = filled = 1;
    }
  }
  return view_dim == -1;
}

Dims infer_shape(std::span<const int64_t> shape, int64_t numel, const char* op) {
  Dims out(shape);
  int unknown = -1;
  int64_t known = 1;
  for (int i = 0; i < out.size(); ++i) {
    if (out[i] == -1) {
      MG_CHECK(unknown < 0, Runtime, op, ": only one dimension can be inferred: got shape ", out);
      unknown = i;
    } else {
      MG_CHECK(out[i] >= 0, Runtime, op, ": invalid shape dimension ", out[i]);
      MG_CHECK(!__builtin_mul_overflow(known, out[i], &known), Runtime, op, ": shape ", out, " overflows");
    }
  }
  if (unknown >= 0) {
    MG_CHECK(known != 0, Runtime, op, ": cannot reshape ", numel, " elements into ", out,
             ": the unspecified dimension can be any value and is ambiguous");
    MG_CHECK(numel % known == 0, Runtime, op, ": shape ", out, " is invalid for input of size ", numel);
    out[unknown] = numel / known;
  } else {
    MG_CHECK(known == numel, Runtime, op, ": shape ", out, " is invalid for input of size ", numel);
  }
  return out;
}

bool has_internal_overlap(const TensorImpl& t) {
  if (t.contiguous) return false;
  for (int i = 0; i < t.dim(); ++i)
    if (t.strides[i] == 0 && t.sizes[i] > 1) return true;
  return false;
}

void check_in_bounds(const Dims& sizes, const Dims& strides, int64_t offset, const TensorImpl& base, const char* op) {
  MG_CHECK(offset >= 0, Runtime, op, ": negative storage offset ", offset);
  MG_CHECK(sizes.size() == strides.size(), Runtime, op, ": size ", sizes, " and stride ", strides, " differ in length");
  checked_numel(sizes, op);
  int64_t last = offset;
  for (int64_t stride : strides) MG_CHECK(stride >= 0, Runtime, op, ": negative strides are not supported: got ", strides);
  for (int i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == 0) return;
    int64_t span;
    MG_CHECK(!__builtin_mul_overflow(sizes[i] - 1, strides[i], &span) && !__builtin_add_overflow(last, span, &last), Runtime,
             op, ": size ", sizes, " and stride ", strides, " overflow");
  }
  const int64_t available = int64_t(base.storage->nbytes) / itemsize(base.dtype);
  MG_CHECK(last < available, Runtime, op, ": size ", sizes, ", stride ", strides, ", storage offset ", offset,
           " need a storage of more than ", last, " elements, this one has ", available);
}

LoopPlan::LoopPlan(const Dims& shape) {
  MG_CHECK(shape.size() <= kMaxDims, Runtime, "tensors have at most ", kMaxDims, " dimensions: got ", shape.size());
  ndim = shape.size();
  numel = 1;
  for (int i = 0; i < ndim; ++i) {
    sizes[i] = shape[i];
    numel *= shape[i];
  }
}

void LoopPlan::add(char* data, const Dims& op_sizes, const Dims& op_strides, int64_t item) {
  MG_INTERNAL(operands < kMaxOperands, "too many operands in a LoopPlan");
  int64_t* s = strides[operands];
  const int lead = ndim - op_sizes.size();
  for (int i = 0; i < lead; ++i) s[i] = 0;
  for (int i = lead; i < ndim; ++i) s[i] = op_sizes[i - lead] == 1 ? 0 : op_strides[i - lead] * item;
  base[operands++] = data;
}

void LoopPlan::add_scalar(const void* value) {
  MG_INTERNAL(operands < kMaxOperands, "too many operands in a LoopPlan");
  for (int i = 0; i < ndim; ++i) strides[operands][i] = 0;
  base[operands++] = static_cast<char*>(const_cast<void*>(value));
}

void LoopPlan::finish() {
  int kept = 0;  // drop dims of size 1
  for (int i = 0; i < ndim; ++i) {
    if (sizes[i] == 1) continue;
    sizes[kept] = sizes[i];
    for (int k = 0; k < operands; ++k) strides[k][kept] = strides[k][i];
    ++kept;
  }
  ndim = kept;
  // Insertion sort by falling stride of operand 0, then of the others: the last dim becomes the fastest.
  auto slower = [&](int a, int b) {
    for (int k = 0; k < operands; ++k) {
      if (strides[k][a] == strides[k][b] || strides[k][a] == 0 || strides[k][b] == 0) continue;
      return strides[k][a] > strides[k][b];
    }
    return true;  // keep the order
  };
  for (int i = 1; i < ndim; ++i) {
    for (int j = i; j > 0 && !slower(j - 1, j); --j) {
      std::swap(sizes[j - 1], sizes[j]);
      for (int k = 0; k < operands; ++k) std::swap(strides[k][j - 1], strides[k][j]);
    }
  }
  int last = 0;  // merge neighbours that every operand walks linearly
  for (int i = 1; i < ndim; ++i) {
    bool linear = true;
    for (int k = 0; k < operands; ++k) linear &= strides[k][last] == strides[k][i] * sizes[i];
    if (linear) {
      sizes[last] *= sizes[i];
      for (int k = 0; k < operands; ++k) strides[k][last] = strides[k][i];
    } else {
      ++last;
      sizes[last] = sizes[i];
      for (int k = 0; k < operands; ++k) strides[k][last] = strides[k][i];
    }
  }
  if (ndim > 0) ndim = last + 1;
}

int64_t LoopPlan::rows() const {
  int64_t r = 1;
  for (int i = 0; i + 1 < ndim; ++i) r *= sizes[i];
  return r;
}

void LoopPlan::row_pointers(int64_t row, char** out) const {
  for (int k = 0; k < operands; ++k) out[k] = base[k];
  for (int i = ndim - 2; i >= 0; --i) {
    const int64_t at = row % sizes[i];
    row /= sizes[i];
    for (int k = 0; k < operands; ++k) out[k] += at * strides[k][i];
  }
}

}  // namespace mg
