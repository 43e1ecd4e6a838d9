// Pooling of images in channels_last, and its adjoints: an output at a time, its channels as vectors. Forward, threads
// share rows of outputs; the adjoints add into windows that overlap, so threads share images and blocks of channels.
// Included by pool.cpp and pool_average.cpp; both try the functions here first, which return false where an operand lies
// otherwise. pool_axes.h has the windows, pool_rows.h the vector loops.
#pragma once
#include "pool_axes.h"

namespace mg::cpu {

struct LastImages {
  int64_t n, c;
  explicit LastImages(const TensorImpl& t) : n(t.sizes[0]), c(t.sizes[1]) {}
};

// Float and double images on both sides, of no more pixels than lanes can count.
inline bool pool_last_suits(const Axes& a, std::initializer_list<const TensorImpl*> tensors) {
  for (const TensorImpl* t : tensors)
    if (!lies_channels_last(*t, a.dims)) return false;
  return (*tensors.begin())->dtype != DType::Int64 && a.in() <= std::numeric_limits<int32_t>::max();
}

// f(T{}) for float or double.
template <class F>
void dispatch_last(DType d, F&& f) {
  d == DType::Float64 ? f(double{}) : f(float{});
}

// f(output, od, oh, ow, positions in the window) for the outputs of one row, counted within their image.
template <class F>
void for_pixels(const Axes& a, int64_t od, int64_t oh, F&& f) {
  std::vector<int64_t> at;
  for (int64_t ow = 0; ow < a.w.out(); ++ow) {
    at.clear();
    for (int64_t d = a.d.first[size_t(od)]; d < a.d.last[size_t(od)]; d += a.d.dilation)
      for (int64_t h = a.h.first[size_t(oh)]; h < a.h.last[size_t(oh)]; h += a.h.dilation)
        for (int64_t w = a.w.first[size_t(ow)]; w < a.w.last[size_t(ow)]; w += a.w.dilation)
          at.push_back((d * a.h.size + h) * a.w.size + w);
    f((od * a.h.out() + oh) * a.w.out() + ow, ow, at);
  }
}

// Rows of outputs over all images: f(image, output, od, oh, ow, positions), any thread.
template <class F>
void for_all_pixels(const Axes& a, const LastImages& im, F&& f) {
  const int64_t rows = a.d.out() * a.h.out(), cost = a.cost() * im.c / std::max<int64_t>(rows, 1);
  parallel_for(0, im.n * rows, ceil_div(32 * 1024, std::max<int64_t>(cost, 1)), [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) {
      const int64_t n = i / rows, od = i % rows / a.h.out(), oh = i % a.h.out();
      for_pixels(a, od, oh, [&](int64_t output, int64_t ow, const std::vector<int64_t>& at) {
        f(n, output, od, oh, ow, at);
      });
    }
  });
}

// f(image, first channel, end) over blocks of channels, any thread.
template <class F>
void for_channel_blocks(const LastImages& im, F&& f) {
  constexpr int64_t kChannels = 64;  // four lines of floats: threads do not share lines
  const int64_t blocks = ceil_div(im.c, kChannels);
  parallel_chunks(im.n * blocks, [&](int64_t i) {
    const int64_t c = i % blocks * kChannels;
    f(i / blocks, c, std::min(c + kChannels, im.c));
  });
}

inline bool max_pool_last(const TensorImpl& x, const Tensor& y, const Tensor& index, const Axes& a) {
  if (!pool_last_suits(a, {&x, &*y, &*index})) return false;
  const LastImages im(x);
  dispatch_last(x.dtype, [&]<class T>(T) {
    const T* src = x.ptr<T>();
    for_all_pixels(a, im, [&](int64_t n, int64_t output, int64_t, int64_t, int64_t, const std::vector<int64_t>& at) {
      const int64_t to = (n * a.out() + output) * im.c;
      if (at.empty()) {  // a dilated window can step over a tiny input: no maximum
        std::fill_n(y.ptr<T>() + to, im.c, lowest<T>());
        std::fill_n(index.ptr<int64_t>() + to, im.c, 0);
        return;
      }
      pool_rows<T>().max_pixel(src + n * a.in() * im.c, PoolPixel{at.data(), int64_t(at.size()), im.c, im.c},
                               y.ptr<T>() + to, index.ptr<int64_t>() + to);
    });
  });
  return true;
}

template <class Divisor>
bool average_last(const TensorImpl& x, const Tensor& y, const Axes& a, const Divisor& divisor) {
  if (!pool_last_suits(a, {&x, &*y})) return false;
  const LastImages im(x);
  dispatch_last(x.dtype, [&]<class T>(T) {
    const T* src = x.ptr<T>();
    for_all_pixels(a, im, [&](int64_t n, int64_t output, int64_t od, int64_t oh, int64_t ow, const auto& at) {
      pool_rows<T>().average_pixel(src + n * a.in() * im.c, PoolPixel{at.data(), int64_t(at.size()), im.c, im.c},
                                   T(divisor(a, od, oh, ow)), y.ptr<T>() + (n * a.out() + output) * im.c);
    });
  });
  return true;
}

template <class Divisor>
bool spread_last(const TensorImpl& g, const Tensor& dx, const Axes& a, const Divisor& divisor) {
  if (!pool_last_suits(a, {&g, &*dx})) return false;
  const LastImages im(g);
  dispatch_last(g.dtype, [&]<class T>(T) {
    fill_zero(dx);
    for_channel_blocks(im, [&](int64_t n, int64_t c0, int64_t c1) {
      const T* src = g.ptr<T>() + n * a.out() * im.c + c0;
      T* to = dx.ptr<T>() + n * a.in() * im.c + c0;
      for (int64_t od = 0; od < a.d.out(); ++od)
        for (int64_t oh = 0; oh < a.h.out(); ++oh)
          for_pixels(a, od, oh, [&](int64_t output, int64_t ow, const std::vector<int64_t>& at) {
            pool_rows<T>().spread_pixel(src + output * im.c, PoolPixel{at.data(), int64_t(at.size()), im.c, c1 - c0},
                                        T(divisor(a, od, oh, ow)), to);
          });
    });
  });
  return true;
}

}  // namespace mg::cpu
