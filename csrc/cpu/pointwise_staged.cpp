// Pointwise kernels over layouts: operands that are strided, broadcast or of another dtype, in the order of a LoopPlan.
//
// With long inner rows a kernel call stays inside one row, and what lies densely along it is read (or written) in
// place: `x + bias` copies nothing. With short rows, blocks go across them and everything that is not linear over the
// whole plan passes through L1 buffers. An operand that runs along another dim than the output (x + y.T) is brought
// into the output's order first, by tiles.
#include "../core/layout.h"
#include "../core/parallel.h"
#include "copy.h"
#include "pointwise_job.h"
#include "stage.h"

namespace mg::cpu {

namespace {

constexpr int64_t kLongRow = 32;                // elements that make a kernel call per row cheaper than gathering
constexpr int64_t kTransposedBytes = 32 << 10;  // a smaller operand is gathered from L1, whatever its strides

// Walks the elements of a plan in order, in pieces that lie in one inner row.
class Pieces {
 public:
  Pieces(const LoopPlan& plan, int64_t start) : plan_(plan), inner_(plan.inner()) {
    int64_t row = start / inner_;
    col_ = start % inner_;
    plan.row_pointers(row, ptr_);
    for (int i = plan.ndim - 2; i >= 0; --i) {
      at_[i] = row % plan.sizes[i];
      row /= plan.sizes[i];
    }
  }
  int64_t length(int64_t limit) const { return std::min(limit, inner_ - col_); }
  char* pointer(int k) const { return ptr_[k] + col_ * plan_.inner_stride(k); }
  void advance(int64_t n) {
    col_ += n;
    if (col_ < inner_) return;
    col_ = 0;
    for (int i = plan_.ndim - 2; i >= 0; --i) {
      const bool carry = ++at_[i] == plan_.sizes[i];
      const int64_t steps = carry ? 1 - plan_.sizes[i] : 1;
      for (int k = 0; k < plan_.operands; ++k) ptr_[k] += steps * plan_.strides[k][i];
      if (!carry) return;
      at_[i] = 0;
    }
  }

 private:
  const LoopPlan& plan_;
  const int64_t inner_;
  int64_t col_ = 0;
  char* ptr_[LoopPlan::kMaxOperands];
  int64_t at_[kMaxDims];
};

// True when operand k of the plan lies densely in the plan's order, so that element i is at i * item.
bool is_linear(const LoopPlan& plan, int k, int64_t item) {
  int64_t step = item;
  for (int i = plan.ndim - 1; i >= 0; --i) {
    if (plan.strides[k][i] != step) return false;
    step *= plan.sizes[i];
  }
  return true;
}

// True when operand k is dense along another dim than the plan's inner one, and too large to be gathered from cache.
bool is_transposed(const LoopPlan& plan, int k, int64_t item, const TensorImpl& t) {
  const int64_t inner = plan.inner_stride(k);
  if (plan.ndim < 2 || inner == item || inner == 0 || t.numel * item <= kTransposedBytes) return false;
  for (int d = 0; d + 1 < plan.ndim; ++d)
    if (plan.strides[k][d] == item && plan.sizes[d] >= 4) return true;
  return false;
}

// A copy of t whose dims follow each other in memory as those of `out` do.
Tensor in_order_of(const TensorImpl& t, const TensorImpl& out, DType dtype) {
  const int extra = out.dim() - t.dim();
  int order[kMaxDims];  // the dims of t, slowest of `out` first
  for (int d = 0; d < t.dim(); ++d) {
    int at = d;
    for (; at > 0 && out.strides[order[at - 1] + extra] < out.strides[d + extra]; --at) order[at] = order[at - 1];
    order[at] = d;
  }
  Dims strides(t.dim());
  int64_t step = 1;
  for (int i = t.dim() - 1; i >= 0; --i) {
    strides[order[i]] = step;
    step *= t.sizes[order[i]];
  }
  const Tensor memory = empty(Dims{step}, dtype);
  const Tensor copy = alias(*memory, t.sizes, strides, 0);
  strided_copy(*copy, t);
  return copy;
}

struct StagedJob {
  Job& job;
  LoopPlan plan;  // operand 0: output; then the staged and direct inputs, in order
  int slot[kMaxInputs];
  StageFn gather[kMaxInputs], scatter = nullptr;
  bool row_input[kMaxInputs], row_output;  // dense along a row, in the kernel's dtype
  bool stream;
  Tensor copies[kMaxInputs];

  StagedJob(Job& j, const TensorImpl& out) : job(j), plan(out.sizes) {
    make_plan(out);
    bool changed = false;
    for (int k = 0; k < job.inputs; ++k) {
      Operand& o = job.in[k];
      if (o.route == Route::Constant || !is_transposed(plan, slot[k], itemsize(o.dtype), *o.tensor)) continue;
      o.dtype = job.wanted(k);
      copies[k] = in_order_of(*o.tensor, out, o.dtype);
      o.tensor = copies[k].get();
      o.data = o.tensor->data();
      changed = true;
    }
    if (changed) {
      plan = LoopPlan(out.sizes);
      make_plan(out);
    }
    choose_routes(out);
  }

  void make_plan(const TensorImpl& out) {
    plan.add(out);
    for (int k = 0; k < job.inputs; ++k) {
      if (job.in[k].route == Route::Constant) continue;
      slot[k] = plan.operands;
      plan.add(*job.in[k].tensor);
    }
    plan.finish();
  }

  void choose_routes(const TensorImpl& out) {
    const DType made = job.out_dtype();
    stream = job.streams(out);
    for (int k = 0; k < job.inputs; ++k) {
      Operand& o = job.in[k];
      if (o.route == Route::Constant) continue;
      const DType wanted = job.wanted(k);
      const int64_t item = itemsize(wanted);
      const bool readable = readable_as(o.dtype, wanted);
      o.route = readable && is_linear(plan, slot[k], item) ? Route::Direct : Route::Staged;
      row_input[k] = readable && plan.inner_stride(slot[k]) == item;
      gather[k] = stage_fn(wanted, o.dtype);
      stream &= o.data != job.out.data;
    }
    row_output = job.out.dtype == made && plan.inner_stride(0) == itemsize(made);
    job.out.route = row_output && is_linear(plan, 0, itemsize(made)) ? Route::Direct : Route::Staged;
    scatter = stage_fn(job.out.dtype, made);
    stream &= row_output;
  }

  // Rows: every kernel call lies in one row.
  void run_rows(int64_t begin, int64_t end) const {
    alignas(64) char buffers[kMaxInputs][kBlockBytes], out_buffer[kBlockBytes];
    const char* repeated[kMaxInputs] = {};  // the element that fills a buffer, for operands constant along rows
    int64_t filled[kMaxInputs] = {};
    const int64_t out_item = itemsize(job.out_dtype());
    Stream out_stream;
    Pieces from(plan, begin);
    for (int64_t at = begin; at < end;) {
      const int64_t n = from.length(std::min(job.block, end - at));
      const void* in[kMaxInputs];
      Ahead ahead;
      for (int k = 0; k < job.inputs; ++k) {
        if (job.in[k].route == Route::Constant) {
          in[k] = job.constant_block[k];
          continue;
        }
        const char* p = from.pointer(slot[k]);
        const int64_t item = itemsize(job.wanted(k)), step = plan.inner_stride(slot[k]);
        in[k] = p;
        if (row_input[k]) {
          if (stream) ahead.add(p + n * item, item, out_item);  // mostly the next row follows
          continue;
        }
        in[k] = buffers[k];
        if (step == 0 && repeated[k] == p && filled[k] >= n) continue;
        gather[k](buffers[k], item, p, step, n);
        repeated[k] = p;
        filled[k] = step == 0 ? n : 0;
      }
      char* to = from.pointer(0);
      const bool direct = row_output && !stream;
      job.check(job.fn(direct ? to : out_buffer, in, n));
      if (stream)
        out_stream.copy(to, out_buffer, n * out_item, ahead);
      else if (!direct)
        scatter(to, plan.inner_stride(0), out_buffer, out_item, n);
      from.advance(n);
      at += n;
    }
  }

  void gather_block(Pieces& from, int64_t n, char (*buffers)[kBlockBytes]) const {
    for (int64_t done = 0; done < n;) {
      const int64_t piece = from.length(n - done);
      for (int k = 0; k < job.inputs; ++k) {
        if (job.in[k].route != Route::Staged) continue;
        const int64_t item = itemsize(job.wanted(k));
        gather[k](buffers[k] + done * item, item, from.pointer(slot[k]), plan.inner_stride(slot[k]), piece);
      }
      from.advance(piece);
      done += piece;
    }
  }
  void scatter_block(Pieces& to, int64_t n, const char* buffer) const {
    const int64_t item = itemsize(job.out_dtype());
    for (int64_t done = 0; done < n;) {
      const int64_t piece = to.length(n - done);
      scatter(to.pointer(0), plan.inner_stride(0), buffer + done * item, item, piece);
      to.advance(piece);
      done += piece;
    }
  }

  // Short rows: blocks across rows.
  void run_blocks(int64_t begin, int64_t end) const {
    alignas(64) char buffers[kMaxInputs][kBlockBytes], out_buffer[kBlockBytes];
    Pieces from(plan, begin), to(plan, begin);
    bool any_gather = false;
    for (int k = 0; k < job.inputs; ++k) any_gather |= job.in[k].route == Route::Staged;
    const bool out_direct = job.out.route == Route::Direct;
    for (int64_t at = begin; at < end; at += job.block) {
      const int64_t n = std::min(job.block, end - at);
      if (any_gather) gather_block(from, n, buffers);
      const void* in[kMaxInputs];
      for (int k = 0; k < job.inputs; ++k) {
        const Route route = job.in[k].route;
        in[k] = route == Route::Constant ? job.constant_block[k]
                : route == Route::Staged ? buffers[k]
                                         : job.in[k].data + at * itemsize(job.wanted(k));
      }
      job.check(job.fn(out_direct ? job.out.data + at * itemsize(job.out.dtype) : out_buffer, in, n));
      if (!out_direct) scatter_block(to, n, out_buffer);
    }
  }
};

}  // namespace

void run_staged(Job& job, const TensorImpl& out) {
  const StagedJob staged(job, out);
  const bool rows = staged.plan.inner() >= kLongRow;
  parallel_for(0, job.n, job.grain(),
               [&](int64_t begin, int64_t end) { rows ? staged.run_rows(begin, end) : staged.run_blocks(begin, end); });
}

}  // namespace mg::cpu
