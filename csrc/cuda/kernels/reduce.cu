// Reductions with one number per output: sums, products, extremes, truth. Their parts: fold.h; the driver, one pass over the input: reduce.h.
#include "fold.h"

namespace mg::cuda {
namespace {

void sum_cuda(Invocation& inv) { fold(inv, Add{}, Same{}, Quotient{}); }
void prod_cuda(Invocation& inv) { fold(inv, Multiply{}, Same{}, Quotient{}); }
void amax_cuda(Invocation& inv) { fold(inv, Extreme{false}, Same{}, Quotient{}); }
void amin_cuda(Invocation& inv) { fold(inv, Extreme{true}, Same{}, Quotient{}); }
void count_cuda(Invocation& inv) { fold(inv, Add{}, Truth{}, Quotient{}); }
void nansum_cuda(Invocation& inv) {
  if (!is_floating(inv.compute)) return sum_cuda(inv);
  fold<true>(inv, Add{}, NanIsZero{}, Quotient{});
}

void truth(Invocation& inv, bool all) {
  run_rule<false>(inv, Call(inv, false), [&](AnyOut out, int64_t length, auto c) {
    return FoldRule<decltype(c), Extreme, Truth, TruthOfNone>{{all}, {}, {length == 0, all}, out};
  });
}
void any_cuda(Invocation& inv) { truth(inv, false); }
void all_cuda(Invocation& inv) { truth(inv, true); }

void mean_cuda(Invocation& inv) {
  floating_rule(inv, [&](AnyOut out, int64_t length, auto c) {
    return FoldRule<decltype(c), Add, Same, Quotient>{{}, {}, {double(length)}, out};
  });
}

MG_CUDA_KERNEL("sum", sum_cuda);
MG_CUDA_KERNEL("nansum", nansum_cuda);
MG_CUDA_KERNEL("prod", prod_cuda);
MG_CUDA_KERNEL("amax", amax_cuda);
MG_CUDA_KERNEL("amin", amin_cuda);
MG_CUDA_KERNEL("any", any_cuda);
MG_CUDA_KERNEL("all", all_cuda);
MG_CUDA_KERNEL("count_nonzero", count_cuda);
MG_CUDA_KERNEL("mean", mean_cuda);

}  // namespace
}  // namespace mg::cuda
