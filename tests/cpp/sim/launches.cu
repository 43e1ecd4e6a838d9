// Compiled by nvcc only, never run: kernels and launch() as real CUDA.
#include "kernels.h"

void launches(cudaStream_t stream, float* x, __half* h, __nv_bfloat16* b, int* i, unsigned* u, unsigned char* c) {
  using mg::cuda::launch;
  launch(add_kernel, 13, 128, 0, nullptr, x, x, x, 3);
  launch(saxpy4_kernel, 1, 128, 0, stream, 2.0f, reinterpret_cast<const float4*>(x), reinterpret_cast<float4*>(x), 4);
  launch(sum_kernel, 7, 192, 0, stream, x, x, 3);
  launch(softmax_kernel<float>, dim3(3), 64, 0, stream, x, x, 3);
  launch(softmax_kernel<__half>, 3, 64, 0, stream, h, h, 3);
  launch(softmax_kernel<__nv_bfloat16>, 3, 64, 0, stream, b, b, 3);
  launch(transpose_kernel<float>, dim3(3, 2), dim3(32, 8), 0, nullptr, x, x, 1, 2);
  launch(histogram_kernel, 6, 96, 200, stream, c, u, 3, 50);
  launch(last_block_kernel, 4, 64, 0, nullptr, i, i, u, i);
}
