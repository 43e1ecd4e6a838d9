// Contiguous kernels of the lines of csrc/scalar.h with three or four operands, and of `where`. Built once per
// instruction set.
#include "pointwise_kernels.h"

namespace mg::cpu::MG_ISA_NS {

#define MG_OP3 MG_FUNCTOR3
#define MG_OP4 MG_FUNCTOR4
#define MG_WHERE MG_FUNCTOR_WHERE
#include "../scalar.h"

extern const PointwiseKernel ternary_table[];
constinit const PointwiseKernel ternary_table[] = {
#define MG_OP3(name, cls, res, ...) make_row<op_##name, 3, Class::cls, Result::res>(#name),
#define MG_OP4(name, cls, res, ...) make_row<op_##name, 4, Class::cls, Result::res>(#name),
#define MG_WHERE(name, cls, res, ...) make_row<op_##name, 3, Class::cls, Result::res, Kind::Where>(#name),
#include "../scalar.h"
    {}};

}  // namespace mg::cpu::MG_ISA_NS
