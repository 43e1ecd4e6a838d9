// The one-operand lines of csrc/scalar.h for floating dtypes only.
#include "pointwise_kernels.h"

namespace mg::cuda {
namespace pointwise {
namespace {
using namespace mg::scalar;  // the functions of scalar.h, found before those of the C library

#define MG_OP1 MG_FUNCTOR1
#include "../../scalar.h"

}  // namespace
}  // namespace pointwise

using namespace pointwise;
extern const PointwiseRow unary_float_rows[];
const PointwiseRow unary_float_rows[] = {
#define MG_OP1(name, cls, res, ...) MG_IF_FLOAT_##cls(MG_ROW(1, name, cls, res, Plain))
#include "../../scalar.h"
    {}};

}  // namespace mg::cuda
