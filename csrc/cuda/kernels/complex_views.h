// core/complex_parts.h, for random.cu.
#pragma once
#include "../../core/complex_parts.h"
