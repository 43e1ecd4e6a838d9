// gemm() of float16 and bfloat16 on tensor cores (wmma, sm_80 and later): 64 x 64 tiles, four warps of 32 x 32, sums in float. Included by
// gemm.h, not on the simulator, where gemm_tiles computes the same.
#pragma once
#include <mma.h>

namespace mg::cuda {

struct TensorTile {
  static constexpr int BM = 64, BN = 64, BK = 32, threads = 128;
};

template <class A, class B, class Result, class Batches>
__global__ void __launch_bounds__(TensorTile::threads) gemm_tensor(GemmShape s, A a, B b, Result result, Batches batches, float* partial) {
  namespace wmma = nvcuda::wmma;
  using S = typename A::element;
  constexpr int BM = TensorTile::BM, BN = TensorTile::BN, BK = TensorTile::BK, threads = TensorTile::threads;
  constexpr int a_ld = BK + 8, b_ld = BN + 8, c_ld = BN + 4;
  __shared__ __align__(32) unsigned char room[BM * c_ld * sizeof(float)];  // both factors' tiles, then the sums
  S* const a_tile = reinterpret_cast<S*>(room);
  S* const b_tile = a_tile + BM * a_ld;
  float* const c_tile = reinterpret_cast<float*>(room);
  static_assert((BM * a_ld + BK * b_ld) * sizeof(S) <= sizeof(room));
  const int thread = int(threadIdx.x), warp_m = thread / 64 * 32, warp_n = thread / 32 % 2 * 32;
  const int64_t tiles_n = (s.n + BN - 1) / BN;
  const int64_t row0 = blockIdx.x / tiles_n * BM, column0 = blockIdx.x % tiles_n * BN;
  const int64_t slice = blockIdx.y, k_begin = slice * s.slice_k, k_end = k_begin + s.slice_k < s.k ? k_begin + s.slice_k : s.k;
  for (int64_t entry = blockIdx.z; entry < s.batch; entry += gridDim.z) {
    int64_t at[4];
    batches.get(entry, at);
    const auto av = a.begin(entry, at[1]);
    const auto bv = b.begin(entry, at[2]);
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum[2][2];
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j) wmma::fill_fragment(sum[i][j], 0.0f);
    for (int64_t k0 = k_begin; k0 < k_end; k0 += BK) {
#pragma unroll 4
      for (int i = 0; i < BM * BK / threads; ++i) {
        const TilePlace p = tile_place<BM, BK, threads>(thread, i, a.rows_adjacent);
        const bool inside = row0 + p.row < s.m && k0 + p.inner < k_end;
        a_tile[p.row * a_ld + p.inner] = inside ? av(row0 + p.row, k0 + p.inner) : S(0.0f);
      }
#pragma unroll 4
      for (int i = 0; i < BN * BK / threads; ++i) {
        const TilePlace p = tile_place<BN, BK, threads>(thread, i, !b.rows_adjacent);
        const bool inside = column0 + p.row < s.n && k0 + p.inner < k_end;
        b_tile[p.inner * b_ld + p.row] = inside ? bv(k0 + p.inner, column0 + p.row) : S(0.0f);
      }
      __syncthreads();
      for (int k = 0; k < BK; k += 16) {
        wmma::fragment<wmma::matrix_a, 16, 16, 16, S, wmma::row_major> x[2];
        wmma::fragment<wmma::matrix_b, 16, 16, 16, S, wmma::row_major> y[2];
        for (int i = 0; i < 2; ++i) wmma::load_matrix_sync(x[i], a_tile + (warp_m + 16 * i) * a_ld + k, a_ld);
        for (int j = 0; j < 2; ++j) wmma::load_matrix_sync(y[j], b_tile + k * b_ld + warp_n + 16 * j, b_ld);
        for (int i = 0; i < 2; ++i)
          for (int j = 0; j < 2; ++j) wmma::mma_sync(sum[i][j], x[i], y[j], sum[i][j]);
      }
      __syncthreads();
    }
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j)
        wmma::store_matrix_sync(c_tile + (warp_m + 16 * i) * c_ld + warp_n + 16 * j, sum[i][j], c_ld, wmma::mem_row_major);
    __syncthreads();
    const auto to = result.begin(entry, at[0], at[3]);
    for (int i = thread; i < BM * BN; i += threads) {
      const int64_t row = row0 + i / BN, column = column0 + i % BN;
      if (row >= s.m || column >= s.n) continue;
      const float v = c_tile[i / BN * c_ld + i % BN];
      if (s.slices == 1) result(to, row, column, v);
      else partial[((slice * s.batch + entry) * s.m + row) * s.n + column] = v;
    }
    __syncthreads();
  }
}

template <class A, class B, class Result, class Batches>
void launch_tensor_tiles(GemmShape s, const A& a, const B& b, const Result& result, const Batches& batches, Device device) {
  cut_slices(s, TensorTile::BM, TensorTile::BN, TensorTile::BK);
  Tensor partial;
  if (s.slices > 1) partial = workspace(s.slices * s.batch * s.m * s.n, DType::Float32, device);
  float* const room = s.slices > 1 ? partial.ptr<float>() : nullptr;
  const dim3 grid(unsigned(tile_count(s.m, TensorTile::BM) * tile_count(s.n, TensorTile::BN)), unsigned(s.slices),
                  unsigned(std::min<int64_t>(s.batch, 65535)));
  launch(gemm_tensor<A, B, Result, Batches>, grid, dim3(TensorTile::threads), 0, current_stream(), s, a, b, result, batches, room);
  if (s.slices > 1)
    launch_items(slice_sum<float, Result, Batches>, s.batch * s.m * s.n, s, static_cast<const float*>(room), result, batches);
}

}  // namespace mg::cuda
