// Picks the optimizer steps built for this machine's instruction set.
#include "optim.h"

#include "isa.h"

namespace mg::cpu {

namespace portable {
extern const OptimTable optim_table;
}
#if MG_HAVE_avx2
namespace avx2 {
extern const OptimTable optim_table;
}
#endif
#if MG_HAVE_avx512
namespace avx512 {
extern const OptimTable optim_table;
}
#endif

const OptimTable& optim_table() {
#if MG_HAVE_avx512
  if (isa() == Isa::Avx512) return avx512::optim_table;
#endif
#if MG_HAVE_avx2
  if (isa() == Isa::Avx2) return avx2::optim_table;
#endif
  return portable::optim_table;
}

}  // namespace mg::cpu
