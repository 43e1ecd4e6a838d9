#include "stage.h"

#include "isa.h"

namespace mg::cpu {

namespace portable {
extern const StageTable stage_table;
}
#if MG_MULTI_ISA
namespace avx2 {
extern const StageTable stage_table;
}
namespace avx512 {
extern const StageTable stage_table;
}
#endif

StageFn stage_fn(DType dst, DType src) {
  if (is_complex(dst > src ? dst : src)) [[unlikely]]
    return complex_stage_fn(dst, src);
#if MG_MULTI_ISA
  static const StageTable* const table = select_isa(&avx512::stage_table, &avx2::stage_table, &portable::stage_table);
#else
  static const StageTable* const table = &portable::stage_table;
#endif
  return table->fn[int(dst)][int(src)];
}

}  // namespace mg::cpu
