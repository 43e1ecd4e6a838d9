// Tensors made of Python's data (construct.cpp), for those who make them too.
#pragma once
#include "../core/tensor.h"

namespace mg::python {

/// What a function that is being traced gets of such data: a copy, because the data itself is a constant of the graph. Else `t`.
Tensor own_copy_in_graph(Tensor t);

}  // namespace mg::python
