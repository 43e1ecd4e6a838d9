// The lines of csrc/scalar.h with three or four operands, and `where`.
#include "pointwise_kernels.h"

namespace mg::cuda {
namespace pointwise {
namespace {
using namespace mg::scalar;  // the functions of scalar.h, found before those of the C library

#define MG_OP3 MG_FUNCTOR3
#define MG_OP4 MG_FUNCTOR4
#define MG_WHERE MG_FUNCTOR_WHERE
#include "../../scalar.h"

}  // namespace
}  // namespace pointwise

using namespace pointwise;
extern const PointwiseRow ternary_rows[];
const PointwiseRow ternary_rows[] = {
#define MG_OP3(name, cls, res, ...) MG_ROW(3, name, cls, res, Plain)
#define MG_OP4(name, cls, res, ...) MG_ROW(4, name, cls, res, Plain)
#define MG_WHERE(name, cls, res, ...) MG_ROW(3, name, cls, res, Where)
#include "../../scalar.h"
    {}};

}  // namespace mg::cuda
