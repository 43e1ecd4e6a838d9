// Picks the optimizer steps built for this machine's instruction set.
#include "optim.h"

#include "isa.h"

namespace mg::cpu {

namespace portable {
extern const OptimTable optim_table;
}
namespace avx2 {
extern const OptimTable optim_table;
}
namespace avx512 {
extern const OptimTable optim_table;
}

const OptimTable& optim_table() {
  return MG_PICK(optim_table);
}

}  // namespace mg::cpu
