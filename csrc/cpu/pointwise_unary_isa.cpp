// Contiguous kernels of the one-operand lines of csrc/scalar.h. Built once per instruction set.
#include "pointwise_kernels.h"

namespace mg::cpu::MG_ISA_NS {

#define MG_OP1 MG_FUNCTOR1
#include "../scalar.h"

extern const PointwiseKernel unary_table[];
constinit const PointwiseKernel unary_table[] = {
#define MG_OP1(name, cls, res, ...) make_row<op_##name, 1, Class::cls, Result::res>(#name),
#include "../scalar.h"
    {}};

}  // namespace mg::cpu::MG_ISA_NS
