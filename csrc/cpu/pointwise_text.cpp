// The lines of csrc/scalar.h as text, for generators of code (minigrad/compiler/codegen/rows.py): the compiled kernels
// and generated code come from the same line.
#include "pointwise_text.h"

namespace mg::cpu {

const PointwiseText pointwise_text[] = {
#define MG_OP1(name, cls, res, a, ...) {#name, #a, #cls, #res, #__VA_ARGS__, false},
#define MG_OP2(name, cls, res, a, b, ...) {#name, #a "," #b, #cls, #res, #__VA_ARGS__, false},
#define MG_OP3(name, cls, res, a, b, c, ...) {#name, #a "," #b "," #c, #cls, #res, #__VA_ARGS__, false},
#define MG_OP4(name, cls, res, a, b, c, d, ...) {#name, #a "," #b "," #c "," #d, #cls, #res, #__VA_ARGS__, false},
#define MG_DIV2(name, cls, res, a, b, ...) {#name, #a "," #b, #cls, #res, #__VA_ARGS__, true},
#define MG_WHERE(name, cls, res, m, a, b, ...) {#name, #m "," #a "," #b, #cls, #res, #__VA_ARGS__, false},
#include "../scalar.h"
    {},
};

}  // namespace mg::cpu
