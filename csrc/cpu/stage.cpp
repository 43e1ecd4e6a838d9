#include "stage.h"

#include "isa.h"

namespace mg::cpu {

namespace portable {
extern const StageTable stage_table;
}
namespace avx2 {
extern const StageTable stage_table;
}
namespace avx512 {
extern const StageTable stage_table;
}

StageFn stage_fn(DType dst, DType src) {
  if (is_complex(dst > src ? dst : src)) [[unlikely]]
    return complex_stage_fn(dst, src);
  static const StageTable& table = MG_PICK(stage_table);
  return table.fn[int(dst)][int(src)];
}

}  // namespace mg::cpu
