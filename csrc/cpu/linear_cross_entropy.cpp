// cross_entropy of a linear layer, with its gradients, on some rows at a time: logits never exist as a whole. The compiler puts it where
// it finds the calls it stands for (graph/passes_linear_cross_entropy.cpp).
//
// Legend: x_MK rows of input, w_CK the weight, M samples, C classes. A block of logits becomes its own gradient in place, which is
// multiplied with w (dx) and with x (added to dw) while it lies in cache. Blocks depend on sizes alone, so sums have one order.
#include <vector>

#include "../core/parallel.h"
#include "cross_entropy.h"
#include "gemm.h"

namespace mg::cpu {

namespace {

constexpr int64_t kColumns = 512;

// A third of them, but not so few that packing the weight for each block would show (256 rows of 4096 classes: 7 % of the products' time;
// 512: 2 %), nor more than a cache could use.
int64_t rows_at_once(int64_t samples) { return std::clamp<int64_t>(ceil_div(samples, 384) * 128, 384, 1024); }

template <class T>
class LinearCrossEntropy {
 public:
  LinearCrossEntropy(const Invocation& inv, DType dtype)
      : inv_(inv),
        weight_(inv.in(1).dtype == dtype ? Tensor(const_cast<TensorImpl*>(&inv.in(1))) : staged(inv.in(1), dtype)),
        x_(staged(inv.in(0), dtype)),
        target_(staged(inv.in(3), DType::Int64)),
        bias_(inv.has(2) ? staged(inv.in(2), dtype) : Tensor()),
        class_weight_(inv.has(4) ? staged(inv.in(4), dtype) : Tensor()),
        g_(inv.has(5) ? staged(inv.in(5), dtype) : Tensor()),
        out_(inv.outs[0], dtype),
        dx_(inv.outs[1], dtype),
        dw_(inv.outs[2], dtype),
        db_(inv.outs[3], dtype),
        samples_(target_.numel()),
        classes_(weight_.size(0)),
        inside_(weight_.size(1)),
        reduction_(inv.i(7)),
        row_{class_weight_.defined() ? class_weight_.ptr<T>() : nullptr, classes_, inv.f(8)} {}

  void run() {
    find_classes();
    losses_.assign(size_t(samples_), 0.0);
    columns_.assign(size_t(wants(4) ? classes_ : 0), 0.0);
    if (wants(2) && samples_ == 0) std::fill_n(dw_.ptr<T>(), classes_ * inside_, T(0));
    const int64_t most = std::min(rows_at_once(samples_), samples_);
    const Tensor logits = empty({most, classes_}, dtype_of<T>());
    for (int64_t i = 0; i < samples_; i += most) block(i, std::min(most, samples_ - i), logits.ptr<T>());
    reduce();
    for (size_t c = 0; c < columns_.size(); ++c) db_.ptr<T>()[c] = T(columns_[c]);
    for (const StagedOut* o : {&out_, &dx_, &dw_, &db_}) o->commit();
  }

 private:
  bool wants(int64_t which) const { return (inv_.i(9) & which) != 0; }

  void find_classes() {
    classes_of_.resize(size_t(samples_));
    const int64_t ignore = inv_.i(6);
    for (int64_t i = 0; i < samples_; ++i) classes_of_[size_t(i)] = class_of(target_.ptr<int64_t>(), i, classes_, ignore, inv_.op);
    total_ = summed([&](int64_t i) { return row_.weight_of(classes_of_[size_t(i)]); });
  }

  // In the order in which _cross_entropy adds.
  template <class F>
  double summed(F&& f) const {
    const int64_t grain = std::min<int64_t>(cross_entropy_grain(classes_), 4096);
    double sum = 0;
    for (int64_t begin = 0; begin < samples_; begin += grain) {
      double part = 0;
      for (int64_t i = begin; i < std::min(begin + grain, samples_); ++i) part += f(i);
      sum += part;
    }
    return sum;
  }

  void block(int64_t begin, int64_t rows, T* logits) {
    const T *x = x_.ptr<T>() + begin * inside_, *w = weight_.ptr<T>();
    Epilogue<T> with_bias;
    if (bias_.defined()) with_bias.add = bias_.ptr<T>();
    const Strided<T> w_CK{w, weight_->strides[0], weight_->strides[1]}, x_MK{x, inside_, 1}, g_MC{logits, classes_, 1};
    gemm<T, T>(rows, classes_, inside_, x_MK, w_CK.mT(), logits, classes_, with_bias);
    parallel_for(0, rows, cross_entropy_grain(classes_), [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) sample(begin + i, logits + i * classes_);
    });
    if (wants(1)) gemm<T, T>(rows, inside_, classes_, g_MC, w_CK, dx_.ptr<T>() + begin * inside_, inside_);
    if (wants(2)) {
      Epilogue<T> onto;
      if (begin > 0) onto.add = dw_.ptr<T>(), onto.add_rs = inside_;
      gemm<T, T>(classes_, inside_, rows, g_MC.mT(), x_MK, dw_.ptr<T>(), inside_, onto);
    }
    if (wants(4)) add_columns(logits, rows);
  }

  // Its loss; then the logits become their gradient.
  void sample(int64_t i, T* row) {
    const int64_t c = classes_of_[size_t(i)];
    const double z = row_.fns.logsumexp(row, classes_);
    losses_[size_t(i)] = row_.loss(row, c, z);
    if (!g_.defined()) return;
    const T* g = g_.ptr<T>();
    const double scale = reduction_ == 0 ? double(g[i]) : reduction_ == 1 ? double(*g) / double(T(total_)) : double(*g);
    row_.gradient(row, row, c, double(T(z)), scale);
  }

  void add_columns(const T* g_MC, int64_t rows) {
    parallel_for(0, ceil_div(classes_, kColumns), 1, [&](int64_t first, int64_t last) {
      for (int64_t k = first; k < last; ++k) {
        const int64_t c0 = k * kColumns, n = std::min(kColumns, classes_ - c0);
        for (int64_t i = 0; i < rows; i += 16) {  // short sums in T, long ones in double
          T sums[kColumns] = {};
          for (int64_t j = i; j < std::min(i + 16, rows); ++j)
            for (int64_t c = 0; c < n; ++c) sums[c] += g_MC[j * classes_ + c0 + c];
          for (int64_t c = 0; c < n; ++c) columns_[size_t(c0 + c)] += double(sums[c]);
        }
      }
    });
  }

  void reduce() {
    if (reduction_ == 0) {
      for (int64_t i = 0; i < samples_; ++i) out_.ptr<T>()[i] = T(losses_[size_t(i)]);
      return;
    }
    const double sum = summed([&](int64_t i) { return losses_[size_t(i)]; });
    *out_.ptr<T>() = T(reduction_ == 1 ? sum / total_ : sum);
  }

  const Invocation& inv_;
  const Tensor weight_, x_, target_, bias_, class_weight_, g_;
  const StagedOut out_, dx_, dw_, db_;
  const int64_t samples_, classes_, inside_, reduction_;
  const CrossEntropyRow<T> row_;
  std::vector<int64_t> classes_of_;
  std::vector<double> losses_, columns_;
  double total_ = 0;
};

// _linear_cross_entropy(input, weight, bias?, target, class_weight?, g?, ignore_index, reduction, label_smoothing, needs) -> out, dinput,
// dweight, dbias
void linear_cross_entropy_cpu(Invocation& inv) {
  dispatch_float(inv.compute, [&](auto tag) { LinearCrossEntropy<decltype(tag)>(inv, inv.compute).run(); });
}

}  // namespace

MG_KERNEL("_linear_cross_entropy", CPU, linear_cross_entropy_cpu);

}  // namespace mg::cpu
