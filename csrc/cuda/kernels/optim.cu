// The CUDA row of core/many_tensors.h: optimizer steps, gradient norms, clipping and unscaling over many tensors in one launch (one per
// kMost tensors: their addresses travel as a kernel argument, which a graph can hold). Blocks take pieces of fixed length from the tensors
// laid end to end. Bytes per element: sgd 3 items (5 with momentum), adam 7 (9 with amsgrad), the rules 5 to 9, norm 1, the others 2;
// each element is read and written once.
#include "../../core/many_tensors.h"
#include "../../core/optim_rules.h"
#include "../../core/optim_update.h"
#include "../runtime/streams.h"
#include "groups.h"

namespace mg::cuda {
namespace {

constexpr int kMost = 64, kColumns = 2 + kRuleColumns;
constexpr int64_t kPiece = 16384;

struct Batch {  // up to kMost rows; below the 4 KiB that all devices take as arguments
  int count = 0;
  bool aligned = true;  // every column to 16 bytes
  int first[kMost + 1] = {};  // number of each row's first piece
  int64_t numel[kMost];
  void* at[kMost][kColumns];

  bool add(TensorImpl* const* columns, int n) {
    const int64_t pieces = (columns[0]->numel + kPiece - 1) / kPiece;
    if (count == kMost || first[count] + pieces > INT32_MAX) return false;
    for (int c = 0; c < kColumns; ++c) {
      at[count][c] = c < n && columns[c] != nullptr ? columns[c]->data() : nullptr;
      aligned = aligned && aligned16(at[count][c]);
    }
    numel[count] = columns[0]->numel;
    first[count + 1] = first[count] + int(pieces);
    ++count;
    return true;
  }
  int64_t pieces() const { return first[count]; }
  unsigned threads() const { return threads_for_row(std::min(kPiece, *std::max_element(numel, numel + count)) / 4); }
};

struct Share {  // a block's: elements [begin, end) of row `row`
  int row;
  int64_t begin, end;
  __device__ explicit Share(const Batch& b) {
    int low = 0, high = b.count - 1;
    while (low < high) {
      const int middle = (low + high + 1) / 2;
      if (b.first[middle] <= int(blockIdx.x)) low = middle;
      else high = middle - 1;
    }
    row = low;
    begin = (int64_t(blockIdx.x) - b.first[row]) * kPiece;
    end = begin + kPiece < b.numel[row] ? begin + kPiece : b.numel[row];
  }
};

// Whether a row has that column of state.
struct HasColumn {
  void* const* at;
  __device__ bool operator()(int k) const { return at[2 + k] != nullptr; }
};

// update(p, g, s, has) of core/optim_update.h for every element; columns that are null are neither read nor written. `table`: an update for
// each row, or null: `common` for all.
template <class T, int V, class Update>
__global__ void step_kernel(Batch batch, Update common, const Update* table) {
  using C = compute_t<T>;
  const Share share(batch);
  const Update update = table == nullptr ? common : table[share.row];
  void* const* at = batch.at[share.row];
  auto packs = [&](auto width) {
    constexpr int W = decltype(width)::value;
    using P = Pack<T, W>;
    const int64_t whole = share.begin + (share.end - share.begin) / W * W;
    for (int64_t i = share.begin + int64_t(threadIdx.x) * W; i < whole; i += int64_t(blockDim.x) * W) {
      P column[kColumns];
#pragma unroll
      for (int c = 0; c < kColumns; ++c)
        if (at[c] != nullptr) column[c] = *reinterpret_cast<const P*>(static_cast<const T*>(at[c]) + i);
#pragma unroll
      for (int k = 0; k < W; ++k) {
        C v[kColumns];
#pragma unroll
        for (int c = 0; c < kColumns; ++c) v[c] = at[c] != nullptr ? convert<C>(column[c].v[k]) : C(0);
        update(v[0], v[1], v + 2, HasColumn{at});
#pragma unroll
        for (int c = 0; c < kColumns; ++c)
          if (c != 1 && at[c] != nullptr) column[c].v[k] = convert<T>(v[c]);
      }
#pragma unroll
      for (int c = 0; c < kColumns; ++c)
        if (c != 1 && at[c] != nullptr) *reinterpret_cast<P*>(static_cast<T*>(at[c]) + i) = column[c];
    }
    return whole;
  };
  int64_t rest = share.begin;
  if constexpr (V > 1) rest = packs(std::integral_constant<int, V>{});
  Share tail = share;
  tail.begin = rest;
  for (int64_t i = tail.begin + threadIdx.x; i < tail.end; i += blockDim.x) {
    C v[kColumns];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) v[c] = at[c] != nullptr ? convert<C>(static_cast<const T*>(at[c])[i]) : C(0);
    update(v[0], v[1], v + 2, HasColumn{at});
#pragma unroll
    for (int c = 0; c < kColumns; ++c)
      if (c != 1 && at[c] != nullptr) static_cast<T*>(at[c])[i] = convert<T>(v[c]);
  }
}

// --- launches -----------------------------------------------------------------------------------------------------------------------

template <class T, class Update>
void launch_batch(const Batch& batch, const Update& update, const Update* table = nullptr) {
  if (batch.pieces() == 0) return;
  const auto kernel = batch.aligned ? step_kernel<T, kVector<T>, Update> : step_kernel<T, 1, Update>;
  launch_blocks(kernel, batch.pieces(), batch.threads(), 0, batch, update, table);
  check(cudaGetLastError(), "optimizer step");
}

// Rows of one dtype and equal constants share launches. make(C{}, step) gives the update.
template <class Step, class Make>
void each_batch(std::span<const StepRow> rows, std::span<const Step> steps, Make make) {
  const DeviceGuard guard(rows[0][0]->device.index);
  for (size_t k = 0; k < rows.size();) {
    Batch batch;
    const size_t first = k;
    auto alike = [&] { return rows[k][0]->dtype == rows[first][0]->dtype && steps[k] == steps[first]; };
    while (k < rows.size() && alike() && batch.add(rows[k].data(), kColumns)) {
      for (TensorImpl* t : rows[k])
        if (t != nullptr && several_streams()) note_use(*t);
      ++k;
    }
    dispatch_floating(rows[first][0]->dtype, [&](auto tag) {
      using T = decltype(tag);
      launch_batch<T>(batch, make(compute_t<T>{}, steps[first]));
    });
  }
}

void sgd(std::span<const StepRow> rows, std::span<const SgdStep> steps) {
  each_batch(rows, steps, [](auto c, const SgdStep& s) { return SgdUpdate<decltype(c)>(s); });
}
void adam(std::span<const StepRow> rows, std::span<const AdamStep> steps) {
  each_batch(rows, steps, [](auto c, const AdamStep& s) { return AdamUpdate<decltype(c)>(s); });
}
template <Rule r>
void rule_as(std::span<const StepRow> rows, std::span<const RuleStep> steps) {
  each_batch(rows, steps, [](auto c, const RuleStep& s) { return RuleUpdate<r, decltype(c)>(s); });
}
template <class F>
void with_rule(Rule r, F f) {
  switch (r) {
    case Rule::Rmsprop: return f(std::integral_constant<Rule, Rule::Rmsprop>{});
    case Rule::Adagrad: return f(std::integral_constant<Rule, Rule::Adagrad>{});
    case Rule::Adadelta: return f(std::integral_constant<Rule, Rule::Adadelta>{});
    case Rule::Adamax: return f(std::integral_constant<Rule, Rule::Adamax>{});
    case Rule::NAdam: return f(std::integral_constant<Rule, Rule::NAdam>{});
    case Rule::RAdam: return f(std::integral_constant<Rule, Rule::RAdam>{});
    case Rule::Rprop: return f(std::integral_constant<Rule, Rule::Rprop>{});
  }
}
void rule(Rule r, std::span<const StepRow> rows, std::span<const RuleStep> steps) {
  with_rule(r, [&](auto rule) { rule_as<decltype(rule)::value>(rows, steps); });
}

// --- counters on the device -------------------------------------------------------------------------------------------------------

struct Counters {  // of a batch's rows
  int count = 0;
  bool wide, wide_product;  // float64
  void *step[kMost], *product[kMost];
  const double* lr;
};
__device__ double read_number(const void* at, bool wide) { return wide ? *static_cast<const double*>(at) : *static_cast<const float*>(at); }
__device__ void write_number(void* at, bool wide, double value) {
  if (wide) *static_cast<double*>(at) = value;
  else *static_cast<float*>(at) = float(value);
}

template <class C>
struct PrepareAdam {
  using Step = AdamStep;
  using Update = AdamUpdate<C>;
  AdamStep options;
  __device__ Update operator()(double t, const double* lr, double*) const {
    AdamStep s = options;
    if (lr != nullptr) s.lr = *lr;
    prepare_adam(s, t);
    return Update(s);
  }
};
template <Rule rule, class C>
struct PrepareRule {
  using Step = RuleStep;
  using Update = RuleUpdate<rule, C>;
  double options[kRuleOptions];
  __device__ Update operator()(double t, const double* lr, double* product) const {
    double o[kRuleOptions];
    for (int k = 0; k < kRuleOptions; ++k) o[k] = options[k];
    if (lr != nullptr) o[0] = *lr;
    RuleStep s;
    prepare_rule(rule, t, o, product, s);
    return Update(s);
  }
};

// A thread per row: counts the step and puts the row's update in the table.
template <class Prepare>
__global__ void prepare_kernel(typename Prepare::Update* table, Counters counters, Prepare prepare) {
  const int k = int(threadIdx.x);
  if (k >= counters.count) return;
  const double t = read_number(counters.step[k], counters.wide) + 1;
  double product = counters.product[k] == nullptr ? 1 : read_number(counters.product[k], counters.wide_product);
  table[k] = prepare(t, counters.lr, &product);
  write_number(counters.step[k], counters.wide, t);
  if (counters.product[k] != nullptr) write_number(counters.product[k], counters.wide_product, product);
}

// make(C{}) gives the Prepare.
template <class Make>
void each_counted_batch(std::span<const StepRow> rows, const DeviceCounters& given, Make make) {
  const Device device = rows[0][0]->device;
  const DeviceGuard guard(device.index);
  const Tensor lr = given.lr == nullptr ? Tensor() : staged(*given.lr, DType::Float64);
  auto used = [](const TensorImpl* t) {
    if (t != nullptr && several_streams()) note_use(*t);
  };
  used(given.lr);
  for (size_t k = 0; k < rows.size();) {
    Batch batch;
    Counters counters;
    counters.wide = given.steps[0]->dtype == DType::Float64;
    counters.wide_product = !given.products.empty() && given.products[0]->dtype == DType::Float64;
    counters.lr = lr.defined() ? lr.ptr<double>() : nullptr;
    const size_t first = k;
    for (; k < rows.size() && rows[k][0]->dtype == rows[first][0]->dtype && batch.add(rows[k].data(), kColumns); ++k) {
      TensorImpl *const step = given.steps[k], *const product = given.products.empty() ? nullptr : given.products[k];
      counters.step[counters.count] = step->data();
      counters.product[counters.count++] = product == nullptr ? nullptr : product->data();
      for (const TensorImpl* t : rows[k]) used(t);
      used(step), used(product);
    }
    dispatch_floating(rows[first][0]->dtype, [&](auto tag) {
      using T = decltype(tag);
      auto prepare = make(compute_t<T>{});
      using Prepare = decltype(prepare);
      using Update = typename Prepare::Update;
      const Tensor room = workspace(counters.count * int64_t(sizeof(Update)), DType::UInt8, device);
      Update* const table = reinterpret_cast<Update*>(room.ptr<char>());
      launch_blocks(prepare_kernel<Prepare>, 1, threads_for_row(counters.count), 0, table, counters, prepare);
      launch_batch<T>(batch, Update(typename Prepare::Step{}), table);
    });
  }
  check(cudaGetLastError(), "optimizer step");
}

void counted_adam(std::span<const StepRow> rows, const AdamStep& options, const DeviceCounters& counters) {
  each_counted_batch(rows, counters, [&](auto c) { return PrepareAdam<decltype(c)>{options}; });
}
template <Rule r>
void counted_rule_as(std::span<const StepRow> rows, std::span<const double> options, const DeviceCounters& counters) {
  each_counted_batch(rows, counters, [&](auto c) {
    PrepareRule<r, decltype(c)> prepare{};
    std::copy(options.begin(), options.end(), prepare.options);
    return prepare;
  });
}
void counted_rule(Rule r, std::span<const StepRow> rows, std::span<const double> options, const DeviceCounters& counters) {
  with_rule(r, [&](auto rule) { counted_rule_as<decltype(rule)::value>(rows, options, counters); });
}

// --- gradients: norm, scale, clamp, unscale -----------------------------------------------------------------------------------------

__device__ double merge_norms(double a, double b, bool maximum) { return maximum ? (a > b || a != a ? a : b) : a + b; }

template <class T>
__global__ void norm_pieces_kernel(double* partials, Batch batch, bool maximum) {
  const Share share(batch);
  const T* x = static_cast<const T*>(batch.at[share.row][0]);
  double sum = 0;
  auto take = [&](T v) {
    const double d = double(convert<compute_t<T>>(v));
    sum = merge_norms(sum, maximum ? fabs(d) : d * d, maximum);
  };
  constexpr int V = kVector<T>;
  int64_t i = share.begin;
  if (batch.aligned) {
    const int64_t whole = share.begin + (share.end - share.begin) / V * V;
    for (i += int64_t(threadIdx.x) * V; i < whole; i += int64_t(blockDim.x) * V) {
      const Pack<T, V> pack = *reinterpret_cast<const Pack<T, V>*>(x + i);
#pragma unroll
      for (int k = 0; k < V; ++k) take(pack.v[k]);
    }
    i = whole;
  }
  for (i += threadIdx.x; i < share.end; i += blockDim.x) take(x[i]);
  sum = block_reduce(sum, [=](double a, double b) { return merge_norms(a, b, maximum); });
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}
template <class T>
__global__ void norm_total_kernel(T* out, const double* partials, int64_t n, bool maximum) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) sum = merge_norms(sum, partials[i], maximum);
  sum = block_reduce(sum, [=](double a, double b) { return merge_norms(a, b, maximum); });
  if (threadIdx.x == 0) *out = convert<T>(maximum ? sum : sqrt(sum));
}

template <class F>
void each_batch(TensorSpan tensors, F f) {
  for (size_t k = 0; k < tensors.size();) {
    Batch batch;
    for (; k < tensors.size() && batch.add(&tensors[k], 1); ++k)
      if (several_streams()) note_use(*tensors[k]);
    if (batch.pieces() > 0) f(batch);
  }
  check(cudaGetLastError(), "clip_grad");
}

void norm(TensorSpan tensors, bool maximum, const TensorImpl& out) {
  const DeviceGuard guard(out.device.index);
  int64_t pieces = 0;
  for (const TensorImpl* t : tensors) pieces += (t->numel + kPiece - 1) / kPiece;
  const Tensor partials = workspace(std::max<int64_t>(pieces, 1), DType::Float64, out.device);
  dispatch_floating(out.dtype, [&](auto tag) {
    using T = decltype(tag);
    double* at = partials.ptr<double>();
    each_batch(tensors, [&](const Batch& batch) {
      launch_blocks(norm_pieces_kernel<T>, batch.pieces(), batch.threads(), 0, at, batch, maximum);
      at += batch.pieces();
    });
    launch_blocks(norm_total_kernel<T>, 1, threads_for_row(pieces), 0, out.ptr<T>(), static_cast<const double*>(partials.ptr<double>()), pieces,
                  maximum);
  });
}

// Updates of a gradient's elements alone.
template <class C>
struct Clamp {
  C low, high;
  __device__ void operator()(C& x, C, C*, HasColumn) const { x = x < low ? low : x > high ? high : x; }  // NaN stays
};
template <class C>
struct Scale {
  const double* factor;
  __device__ void operator()(C& x, C, C*, HasColumn) const { x *= C(*factor); }
};
template <class C>
struct Unscale {
  const double* factor;
  float* found;
  __device__ void operator()(C& x, C, C*, HasColumn) const {
    if (!isfinite(x)) *found = 1.0f;  // whoever writes, writes the same
    x *= C(*factor);
  }
};

template <class Make>
void update_all(TensorSpan tensors, Make make) {
  const DeviceGuard guard(tensors[0]->device.index);
  each_batch(tensors, [&](const Batch& batch) {
    dispatch_floating(tensors[0]->dtype, [&](auto tag) {
      using T = decltype(tag);
      launch_batch<T>(batch, make(compute_t<T>{}));
    });
  });
}

void scale(TensorSpan tensors, const TensorImpl& factor) {
  if (several_streams()) note_use(factor);
  const Tensor number = staged(factor, DType::Float64);  // stays on the device: nobody waits
  update_all(tensors, [&](auto c) { return Scale<decltype(c)>{number.ptr<double>()}; });
}
void clamp(TensorSpan tensors, double low, double high) {
  update_all(tensors, [&](auto c) {
    using C = decltype(c);
    return Clamp<C>{C(low), C(high)};
  });
}
void unscale(TensorSpan tensors, const TensorImpl& factor, const TensorImpl& found) {
  if (several_streams()) note_use(factor), note_use(found);
  const Tensor number = staged(factor, DType::Float64);
  update_all(tensors, [&](auto c) { return Unscale<decltype(c)>{number.ptr<double>(), found.ptr<float>()}; });
}

constexpr ManyTensorKernels kernels{true, sgd, adam, rule, counted_adam, counted_rule, norm, scale, clamp, unscale};
[[maybe_unused]] const bool registered = (many_tensor_kernels(DeviceType::CUDA) = &kernels, true);
MG_CUDA_KERNEL("_total_norm", total_norm);

}  // namespace
}  // namespace mg::cuda
