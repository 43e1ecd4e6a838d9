// Convolutions whose groups have too few output channels to fill a matrix tile: computed row by row, in place. conv.h
// is the legend.
#pragma once
#include "conv.h"

namespace mg::cpu {

inline bool few_channels(const ConvShape& s) { return s.G > 1 && s.Og() < 4 && s.Cg() < 16; }

template <class T>
void depthwise_forward(const ConvShape& s, const T* x, const T* w, const T* bias, T* y);
template <class T>
void depthwise_weight(const ConvShape& s, const T* x, const T* dy, T* dw);

}  // namespace mg::cpu
