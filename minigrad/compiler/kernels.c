// C functions of exported programs (csource.py takes the ones that a program needs, with T as float or double). Plain C11, no allocation;
// sizes and strides are in elements. A section ends where the next begins; `needs` names sections that it calls.

//@ max
static T max_T(T a, T b) { return a > b || a != a ? a : b; }  // NaN wins

//@ min
static T min_T(T a, T b) { return a < b || a != a ? a : b; }

//@ remainder
static T remainder_T(T a, T b) {  // of b's sign, as in Python
  const T r = fmod_T(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

//@ floor_divide
static T floor_divide_T(T a, T b) {
  T r = fmod_T(a, b), q;
  if (b == 0) return a / b;
  q = (a - r) / b;
  if (r != 0 && (r < 0) != (b < 0)) q -= 1;
  r = floor_T(q);
  return q - r > (T)0.5 ? r + 1 : r;
}

//@ logaddexp
static T logaddexp_T(T a, T b) { return a == b ? a + (T)0.69314718055994530942 : (a > b ? a : b) + log1p_T(exp_T(-fabs_T(a - b))); }

//@ logaddexp2
static T logaddexp2_T(T a, T b) {
  return a == b ? a + 1 : (a > b ? a : b) + log1p_T(exp2_T(-fabs_T(a - b))) * (T)1.44269504088896340736;
}

//@ int_divide
static int64_t int_divide(int64_t a, int64_t b, int floor) {
  int64_t q;
  if (b == 0) return 0;
  if (b == -1) return (int64_t)(0 - (uint64_t)a);
  q = a / b;
  return floor && a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

//@ int_remainder
static int64_t int_remainder(int64_t a, int64_t b, int python) {
  int64_t r;
  if (b == 0 || b == -1) return 0;
  r = a % b;
  return python && r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

//@ int_pow
static int64_t int_pow(int64_t base, int64_t exponent) {
  uint64_t result = 1, power = (uint64_t)base;
  if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent % 2 ? -1 : 1) : 0;
  for (; exponent > 0; exponent /= 2, power *= power)
    if (exponent % 2) result *= power;
  return (int64_t)result;
}

//@ matmul
// c[m][n] = a b (+ bias): a blocked product. Blocks of b are packed into a panel that stays in the cache, eight rows of a beside each other, and
// eight rows of 32 columns are summed at a time in variables of their own. ar, ac: strides of a's rows and columns; b's likewise; c has rows
// of `ldc`. (A compiler unrolls a loop over 16 columns before it looks for vectors, and then finds none.)
enum { PANEL_ROWS = 256, PANEL_COLS = 64, TILE_ROWS = 8, TILE_COLS = 32 };
static void matmul_T(int64_t m, int64_t n, int64_t k, const T *a, int64_t ar, int64_t ac, const T *b, int64_t br, int64_t bc, const T *bias,
                     T *c, int64_t ldc) {
  static T panel[PANEL_ROWS][PANEL_COLS], tile[PANEL_ROWS][TILE_ROWS];
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) c[i * ldc + j] = bias ? bias[j] : 0;
  for (int64_t j0 = 0; j0 < n; j0 += PANEL_COLS)
    for (int64_t p0 = 0; p0 < k; p0 += PANEL_ROWS) {
      const int64_t cols = n - j0 < PANEL_COLS ? n - j0 : PANEL_COLS, depth = k - p0 < PANEL_ROWS ? k - p0 : PANEL_ROWS;
      for (int64_t p = 0; p < depth; p++)
        for (int64_t j = 0; j < PANEL_COLS; j++) panel[p][j] = j < cols ? b[(p0 + p) * br + (j0 + j) * bc] : 0;
      for (int64_t i0 = 0; i0 < m; i0 += TILE_ROWS) {
        const int64_t rows = m - i0 < TILE_ROWS ? m - i0 : TILE_ROWS;
        for (int64_t p = 0; p < depth; p++)
          for (int64_t r = 0; r < TILE_ROWS; r++) tile[p][r] = r < rows ? a[(i0 + r) * ar + (p0 + p) * ac] : 0;
        for (int64_t t = 0; t < cols; t += TILE_COLS) {
          T s0[TILE_COLS] = {0}, s1[TILE_COLS] = {0}, s2[TILE_COLS] = {0}, s3[TILE_COLS] = {0};
          T s4[TILE_COLS] = {0}, s5[TILE_COLS] = {0}, s6[TILE_COLS] = {0}, s7[TILE_COLS] = {0};
          const T *const sums[TILE_ROWS] = {s0, s1, s2, s3, s4, s5, s6, s7};
          for (int64_t p = 0; p < depth; p++) {
            const T *x = tile[p];
            for (int j = 0; j < TILE_COLS; j++) {
              const T y = panel[p][t + j];
              s0[j] += x[0] * y;
              s1[j] += x[1] * y;
              s2[j] += x[2] * y;
              s3[j] += x[3] * y;
              s4[j] += x[4] * y;
              s5[j] += x[5] * y;
              s6[j] += x[6] * y;
              s7[j] += x[7] * y;
            }
          }
          for (int64_t r = 0; r < rows; r++)
            for (int64_t j = 0; j < TILE_COLS && t + j < cols; j++) c[(i0 + r) * ldc + j0 + t + j] += sums[r][j];
        }
      }
    }
}

//@ layer_norm
static void layer_norm_T(int64_t rows, int64_t n, const T *x, const T *weight, const T *bias, T eps, T *out, T *mean, T *rstd) {
  for (int64_t r = 0; r < rows; r++, x += n, out += n) {
    double sum = 0, squares = 0;
    for (int64_t j = 0; j < n; j++) sum += x[j];
    const T mu = (T)(sum / (double)n);
    for (int64_t j = 0; j < n; j++) squares += ((double)x[j] - mu) * ((double)x[j] - mu);
    const T scale = 1 / sqrt_T((T)(squares / (double)n) + eps);
    for (int64_t j = 0; j < n; j++) out[j] = (x[j] - mu) * scale * (weight ? weight[j] : 1) + (bias ? bias[j] : 0);
    mean[r] = mu;
    rstd[r] = scale;
  }
}

//@ layer_norm_backward
static void layer_norm_backward_T(int64_t rows, int64_t n, const T *g, const T *x, const T *mean, const T *rstd, const T *weight, T *dx, T *dweight,
                                  T *dbias) {
  for (int64_t j = 0; j < n; j++) {
    if (dweight) dweight[j] = 0;
    if (dbias) dbias[j] = 0;
  }
  for (int64_t r = 0; r < rows; r++, g += n, x += n, dx += n) {
    double along = 0, total = 0;
    for (int64_t j = 0; j < n; j++) {
      const T h = (x[j] - mean[r]) * rstd[r], w = g[j] * (weight ? weight[j] : 1);
      along += (double)w * h;
      total += w;
      if (dweight) dweight[j] += g[j] * h;
      if (dbias) dbias[j] += g[j];
    }
    for (int64_t j = 0; j < n; j++) {
      const T h = (x[j] - mean[r]) * rstd[r], w = g[j] * (weight ? weight[j] : 1);
      dx[j] = rstd[r] * (w - (T)(total / (double)n) - h * (T)(along / (double)n));
    }
  }
}

//@ batch_norm
// Normalises by the batch's own mean and variance, which it gives back.
static void batch_norm_T(int64_t batch, int64_t channels, int64_t inner, const T *x, const T *weight, const T *bias, T eps, T *out, T *mean, T *var) {
  for (int64_t c = 0; c < channels; c++) {
    const double count = (double)(batch * inner);
    double sum = 0, squares = 0;
    for (int64_t b = 0; b < batch; b++)
      for (int64_t j = 0; j < inner; j++) sum += x[(b * channels + c) * inner + j];
    for (int64_t b = 0; b < batch; b++)
      for (int64_t j = 0; j < inner; j++) {
        const double d = x[(b * channels + c) * inner + j] - sum / count;
        squares += d * d;
      }
    mean[c] = (T)(sum / count);
    var[c] = (T)(squares / count);
    const T scale = 1 / sqrt_T(var[c] + eps) * (weight ? weight[c] : 1);
    for (int64_t b = 0; b < batch; b++)
      for (int64_t j = 0; j < inner; j++) {
        const int64_t at = (b * channels + c) * inner + j;
        out[at] = (x[at] - mean[c]) * scale + (bias ? bias[c] : 0);
      }
  }
}

//@ softmax
static void softmax_T(int64_t outer, int64_t n, int64_t inner, const T *x, T *out, int logarithm) {
  for (int64_t o = 0; o < outer; o++)
    for (int64_t i = 0; i < inner; i++) {
      const T *from = x + o * n * inner + i;
      T *to = out + o * n * inner + i;
      T largest = -INFINITY;
      double sum = 0;
      for (int64_t j = 0; j < n; j++)
        if (from[j * inner] > largest) largest = from[j * inner];
      for (int64_t j = 0; j < n; j++) sum += exp_T(from[j * inner] - largest);
      const T log_sum = (T)log(sum), share = (T)(1 / sum);
      for (int64_t j = 0; j < n; j++) to[j * inner] = logarithm ? from[j * inner] - largest - log_sum : exp_T(from[j * inner] - largest) * share;
    }
}

//@ attention
// One head: out[t] = softmax(scale q[t] k^T + mask) v, `queries` rows on `keys` rows; `scores` has room for queries x keys. Strides of rows.
static void attention_T(int64_t queries, int64_t keys, int64_t width, int64_t value_width, const T *q, int64_t qs, const T *k, int64_t ks,
                        const T *v, int64_t vs, const T *added, const uint8_t *kept, int64_t mask_row, int64_t mask_col, int causal, T scale,
                        T *out, int64_t os, T *logsumexp, T *scores) {
  matmul_T(queries, keys, width, q, qs, 1, k, 1, ks, NULL, scores, keys);
  for (int64_t t = 0; t < queries; t++) {
    T *row = scores + t * keys, largest = -INFINITY;
    double sum = 0;
    for (int64_t s = 0; s < keys; s++) {
      const int hidden = (causal && s > t) || (kept && !kept[t * mask_row + s * mask_col]);
      row[s] = hidden ? -INFINITY : row[s] * scale + (added ? added[t * mask_row + s * mask_col] : 0);
      if (row[s] > largest) largest = row[s];
    }
    for (int64_t s = 0; s < keys; s++) sum += row[s] = largest == -INFINITY ? 0 : exp_T(row[s] - largest);
    for (int64_t s = 0; s < keys && sum > 0; s++) row[s] /= (T)sum;
    logsumexp[t] = largest + (T)log(sum);
  }
  matmul_T(queries, value_width, keys, scores, keys, 1, v, vs, 1, NULL, out, os);
}

//@ attention_backward
// One head; dk and dv are added to. Without a mask.
static void attention_backward_T(int64_t queries, int64_t keys, int64_t width, int64_t value_width, const T *g, int64_t gs, const T *q, int64_t qs,
                                 const T *k, int64_t ks, const T *v, int64_t vs, const T *out, int64_t os, const T *logsumexp, int causal, T scale,
                                 T *dq, int64_t dqs, T *dk, int64_t dks, T *dv, int64_t dvs) {
  for (int64_t t = 0; t < queries; t++) {
    const int64_t seen = causal && t + 1 < keys ? t + 1 : keys;
    T along = 0;
    for (int64_t j = 0; j < value_width; j++) along += g[t * gs + j] * out[t * os + j];
    for (int64_t j = 0; j < width; j++) dq[t * dqs + j] = 0;
    for (int64_t s = 0; s < seen; s++) {
      T dot = 0, grad = 0;
      for (int64_t j = 0; j < width; j++) dot += q[t * qs + j] * k[s * ks + j];
      const T p = exp_T(dot * scale - logsumexp[t]);
      for (int64_t j = 0; j < value_width; j++) {
        grad += g[t * gs + j] * v[s * vs + j];
        dv[s * dvs + j] += p * g[t * gs + j];
      }
      const T d = p * (grad - along) * scale;
      for (int64_t j = 0; j < width; j++) {
        dq[t * dqs + j] += d * k[s * ks + j];
        dk[s * dks + j] += d * q[t * qs + j];
      }
    }
  }
}

//@ embedding
// 0 when an index is outside of the table.
static int embedding_T(int64_t count, int64_t rows, int64_t width, const int64_t *index, const T *table, T *out) {
  for (int64_t i = 0; i < count; i++, out += width) {
    if (index[i] < 0 || index[i] >= rows) return 0;
    for (int64_t j = 0; j < width; j++) out[j] = table[index[i] * width + j];
  }
  return 1;
}

//@ embedding_backward
static int embedding_backward_T(int64_t count, int64_t rows, int64_t width, const T *g, const int64_t *index, int64_t padding, T *out) {
  for (int64_t i = 0; i < rows * width; i++) out[i] = 0;
  for (int64_t i = 0; i < count; i++) {
    if (index[i] < 0 || index[i] >= rows) return 0;
    for (int64_t j = 0; j < width && index[i] != padding; j++) out[index[i] * width + j] += g[i * width + j];
  }
  return 1;
}

//@ cross_entropy
// x is [batch][classes][inner]; reduction: 0 none, 1 mean, 2 sum. 0 when a target is no class.
static int cross_entropy_T(int64_t batch, int64_t classes, int64_t inner, const T *x, const int64_t *target, const T *weight, int64_t ignored,
                           int reduction, T *out, T *lse, T *total) {
  double loss = 0, weights = 0;
  for (int64_t b = 0; b < batch; b++)
    for (int64_t i = 0; i < inner; i++) {
      const T *from = x + b * classes * inner + i;
      const int64_t at = b * inner + i, y = target[at];
      T largest = -INFINITY;
      double sum = 0;
      for (int64_t c = 0; c < classes; c++)
        if (from[c * inner] > largest) largest = from[c * inner];
      for (int64_t c = 0; c < classes; c++) sum += exp_T(from[c * inner] - largest);
      lse[at] = largest + (T)log(sum);
      if (y != ignored && (y < 0 || y >= classes)) return 0;
      const T w = y == ignored ? 0 : weight ? weight[y] : 1, one = y == ignored ? 0 : w * (lse[at] - from[y * inner]);
      if (reduction == 0) out[at] = one;
      loss += one;
      weights += w;
    }
  if (reduction != 0) out[0] = (T)(reduction == 1 ? loss / weights : loss);
  total[0] = (T)weights;
  return 1;
}

//@ cross_entropy_backward
static void cross_entropy_backward_T(int64_t batch, int64_t classes, int64_t inner, const T *g, const T *x, const int64_t *target, const T *weight,
                                     const T *lse, const T *total, int64_t ignored, int reduction, T *dx) {
  for (int64_t b = 0; b < batch; b++)
    for (int64_t i = 0; i < inner; i++) {
      const int64_t at = b * inner + i, y = target[at];
      const T w = y == ignored ? 0 : weight ? weight[y] : 1;
      const T scale = w * (reduction == 0 ? g[at] : reduction == 1 ? g[0] / total[0] : g[0]);
      for (int64_t c = 0; c < classes; c++) {
        const int64_t place = (b * classes + c) * inner + i;
        dx[place] = scale * (exp_T(x[place] - lse[at]) - (c == y ? 1 : 0));
      }
    }
}

//@ conv
// One group of one image: out[o][y][x] = bias[o] + sum over c, i, j of weight[o][c][i][j] in[c][y * sy + i * dy - py][x * sx + j * dx - px],
// as a product of the weights and the matrix of what each output element sees (`columns`: channels * kh * kw rows of oh * ow).
static void conv_T(int64_t channels, int64_t height, int64_t width, int64_t outs, int64_t kh, int64_t kw, int64_t oh, int64_t ow, int64_t sy, int64_t sx,
                   int64_t py, int64_t px, int64_t dy, int64_t dx, const T *in, const T *weight, const T *bias, T *out, T *columns) {
  const int64_t places = oh * ow, depth = channels * kh * kw;
  T *to = columns;
  for (int64_t c = 0; c < channels; c++)
    for (int64_t i = 0; i < kh; i++)
      for (int64_t j = 0; j < kw; j++)
        for (int64_t y = 0; y < oh; y++) {
          const int64_t from = y * sy + i * dy - py;
          const T *line = in + (c * height + (from < 0 || from >= height ? 0 : from)) * width;
          for (int64_t x = 0; x < ow; x++) {
            const int64_t at = x * sx + j * dx - px;
            *to++ = from < 0 || from >= height || at < 0 || at >= width ? 0 : line[at];
          }
        }
  matmul_T(outs, places, depth, weight, depth, 1, columns, places, 1, NULL, out, places);
  for (int64_t o = 0; o < outs && bias; o++)
    for (int64_t i = 0; i < places; i++) out[o * places + i] += bias[o];
}

//@ max_pool
static void max_pool_T(int64_t planes, int64_t height, int64_t width, int64_t oh, int64_t ow, int64_t kh, int64_t kw, int64_t sy, int64_t sx, int64_t py,
                       int64_t px, int64_t dy, int64_t dx, const T *in, T *out, int64_t *indices) {
  for (int64_t p = 0; p < planes; p++, in += height * width)
    for (int64_t y = 0; y < oh; y++)
      for (int64_t x = 0; x < ow; x++, out++, indices++) {
        int64_t best = -1;
        for (int64_t i = 0; i < kh; i++)
          for (int64_t j = 0; j < kw; j++) {
            const int64_t r = y * sy + i * dy - py, c = x * sx + j * dx - px, at = r * width + c;
            if (r < 0 || r >= height || c < 0 || c >= width) continue;
            if (best < 0 || in[at] > in[best] || in[at] != in[at]) best = at;
          }
        *out = best < 0 ? -INFINITY : in[best];
        *indices = best;
      }
}

//@ avg_pool
static void avg_pool_T(int64_t planes, int64_t height, int64_t width, int64_t oh, int64_t ow, int64_t kh, int64_t kw, int64_t sy, int64_t sx, int64_t py,
                       int64_t px, int count_padding, const T *in, T *out) {
  for (int64_t p = 0; p < planes; p++, in += height * width)
    for (int64_t y = 0; y < oh; y++)
      for (int64_t x = 0; x < ow; x++, out++) {
        const int64_t top = y * sy - py, left = x * sx - px, bottom = top + kh < height + py ? top + kh : height + py;
        const int64_t right = left + kw < width + px ? left + kw : width + px;
        int64_t count = 0;
        T sum = 0;
        for (int64_t r = top; r < bottom; r++)
          for (int64_t c = left; c < right; c++)
            if (r >= 0 && r < height && c >= 0 && c < width) sum += in[r * width + c], count++;
        *out = sum / (T)(count_padding ? (bottom - top) * (right - left) : count);
      }
}

//@ adaptive_avg_pool
static void adaptive_avg_pool_T(int64_t planes, int64_t height, int64_t width, int64_t oh, int64_t ow, const T *in, T *out) {
  for (int64_t p = 0; p < planes; p++, in += height * width)
    for (int64_t y = 0; y < oh; y++)
      for (int64_t x = 0; x < ow; x++, out++) {
        const int64_t top = y * height / oh, bottom = ((y + 1) * height + oh - 1) / oh;
        const int64_t left = x * width / ow, right = ((x + 1) * width + ow - 1) / ow;
        T sum = 0;
        for (int64_t r = top; r < bottom; r++)
          for (int64_t c = left; c < right; c++) sum += in[r * width + c];
        *out = sum / (T)((bottom - top) * (right - left));
      }
}

//@ sgd
static void sgd_T(int64_t n, T *p, const T *g, T *buffer, int first, double lr, double momentum, double dampening, double decay, int nesterov, int maximize) {
  for (int64_t i = 0; i < n; i++) {
    T d = maximize ? -g[i] : g[i];
    d += (T)decay * p[i];
    if (buffer) {
      buffer[i] = first ? d : (T)momentum * buffer[i] + (T)(1 - dampening) * d;
      d = nesterov ? d + (T)momentum * buffer[i] : buffer[i];
    }
    p[i] -= (T)lr * d;
  }
}

//@ adam
// Adam and, with `decoupled` decay, AdamW; `step` counts from 1.
static void adam_T(int64_t n, T *p, const T *g, T *m, T *v, double step, double lr, double beta1, double beta2, double eps, double decay, int decoupled,
                   int maximize) {
  const double size = lr / (1 - pow(beta1, step)), root = sqrt(1 - pow(beta2, step));
  for (int64_t i = 0; i < n; i++) {
    T d = maximize ? -g[i] : g[i];
    if (decoupled) p[i] *= (T)(1 - lr * decay);
    else d += (T)decay * p[i];
    m[i] += (T)(1 - beta1) * (d - m[i]);
    v[i] = (T)beta2 * v[i] + (T)(1 - beta2) * d * d;
    p[i] -= (T)size * m[i] / (sqrt_T(v[i]) / (T)root + (T)eps);
  }
}
