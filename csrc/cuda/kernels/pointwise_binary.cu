// The two-operand lines of csrc/scalar.h that integers have too.
#include "pointwise_kernels.h"

namespace mg::cuda {
namespace pointwise {
namespace {
using namespace mg::scalar;  // the functions of scalar.h, found before those of the C library

#define MG_OP2 MG_FUNCTOR2
#define MG_DIV2 MG_FUNCTOR2
#include "../../scalar.h"

}  // namespace
}  // namespace pointwise

using namespace pointwise;
extern const PointwiseRow binary_rows[];
const PointwiseRow binary_rows[] = {
#define MG_OP2(name, cls, res, ...) MG_IF_OTHER_##cls(MG_ROW(2, name, cls, res, Plain))
#define MG_DIV2(name, cls, res, ...) MG_ROW(2, name, cls, res, Divides)
#include "../../scalar.h"
    {}};

}  // namespace mg::cuda
