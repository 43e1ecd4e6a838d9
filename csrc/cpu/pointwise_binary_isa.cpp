// Contiguous kernels of the two-operand lines of csrc/scalar.h. Built once per instruction set.
#include "pointwise_kernels.h"

namespace mg::cpu::MG_ISA_NS {

#define MG_OP2 MG_FUNCTOR2
#define MG_DIV2 MG_FUNCTOR2
#include "../scalar.h"

extern const PointwiseKernel binary_table[];
constinit const PointwiseKernel binary_table[] = {
#define MG_OP2(name, cls, res, ...) make_row<op_##name, 2, Class::cls, Result::res>(#name),
#define MG_DIV2(name, cls, res, ...) make_row<op_##name, 2, Class::cls, Result::res, Kind::Divides>(#name),
#include "../scalar.h"
    {}};

}  // namespace mg::cpu::MG_ISA_NS
