/* A cuBLASLt that computes nothing: it checks what it is told as the documentation of the real one asks, and records each product for
   test_cublas_lt.py, which works out from the record alone what the real one would have written. Column-major throughout. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { kOk = 0, kInvalid = 7, kNotSupported = 15, kMostCalls = 64 };

struct Layout {
  int32_t type, batch;
  uint64_t rows, cols;
  int64_t ld, offset; /* elements: from column to column, from entry to entry of the batch */
};
struct Desc {
  int32_t compute, scale, trans_a, trans_b, epilogue, bias_type;
  const void* bias;
};
struct Preference {
  uint64_t workspace;
  uint32_t alignment[4];
};
struct Heuristic {
  uint64_t algo[8];
  size_t workspace;
  int32_t state;
  float waves;
  int32_t reserved[4];
};
struct Call {
  struct Desc desc;
  struct Layout a, b, c, d;
  const void *pa, *pb, *pc, *pd;
  double alpha, beta;
  uint64_t workspace;
  uint32_t alignment[4];
};

struct Call fake_calls[kMostCalls];
int fake_count = 0, fake_status = kOk, fake_plans = 0, fake_complaints = 0;

static struct Desc descs[kMostCalls];
static struct Layout layouts[4 * kMostCalls];
static struct Preference preferences[kMostCalls];
static int desc_count, layout_count, preference_count;

static int complain(void) {
  ++fake_complaints;
  return kInvalid;
}
static int take(void* to, const void* from, size_t size, size_t expected) {
  if (size != expected) return complain();
  memcpy(to, from, size);
  return kOk;
}

int cublasLtCreate(void** handle) {
  static int made;
  *handle = &made;
  return kOk;
}
int cublasLtMatmulDescCreate(void** desc, int compute, int scale) {
  struct Desc* d = &descs[desc_count++ % kMostCalls];
  memset(d, 0, sizeof *d);
  d->compute = compute, d->scale = scale, d->epilogue = 1, d->bias_type = -1;
  *desc = d;
  return kOk;
}
int cublasLtMatmulDescDestroy(void* desc) { return desc == NULL ? complain() : kOk; }
int cublasLtMatmulDescSetAttribute(void* desc, int attribute, const void* value, size_t size) {
  struct Desc* d = desc;
  switch (attribute) {
    case 3: return take(&d->trans_a, value, size, 4);
    case 4: return take(&d->trans_b, value, size, 4);
    case 7: return take(&d->epilogue, value, size, 4);
    case 8: return take(&d->bias, value, size, sizeof(void*));
    case 26: return take(&d->bias_type, value, size, 4);
    default: return complain();
  }
}
int cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
  struct Layout* l = &layouts[layout_count++ % (4 * kMostCalls)];
  if (ld < (int64_t)rows) return complain();
  memset(l, 0, sizeof *l);
  l->type = type, l->rows = rows, l->cols = cols, l->ld = ld, l->batch = 1;
  *layout = l;
  return kOk;
}
int cublasLtMatrixLayoutDestroy(void* layout) { return layout == NULL ? complain() : kOk; }
int cublasLtMatrixLayoutSetAttribute(void* layout, int attribute, const void* value, size_t size) {
  struct Layout* l = layout;
  switch (attribute) {
    case 5: return take(&l->batch, value, size, 4);
    case 6: return take(&l->offset, value, size, 8);
    default: return complain();
  }
}
int cublasLtMatmulPreferenceCreate(void** preference) {
  struct Preference* p = &preferences[preference_count++ % kMostCalls];
  memset(p, 0, sizeof *p);
  for (int k = 0; k < 4; ++k) p->alignment[k] = 256; /* the real one's default */
  *preference = p;
  return kOk;
}
int cublasLtMatmulPreferenceDestroy(void* preference) { return preference == NULL ? complain() : kOk; }
int cublasLtMatmulPreferenceSetAttribute(void* preference, int attribute, const void* value, size_t size) {
  struct Preference* p = preference;
  if (attribute == 1) return take(&p->workspace, value, size, 8);
  if (attribute >= 5 && attribute <= 8) return take(&p->alignment[attribute - 5], value, size, 4);
  return complain();
}

static int fits(const struct Desc* d, const struct Layout* a, const struct Layout* b, const struct Layout* c, const struct Layout* r) {
  const uint64_t m = d->trans_a ? a->cols : a->rows, k = d->trans_a ? a->rows : a->cols;
  const uint64_t n = d->trans_b ? b->rows : b->cols, inner = d->trans_b ? b->cols : b->rows;
  return inner == k && r->rows == m && r->cols == n && c->rows == m && c->cols == n && a->batch == b->batch && a->batch == c->batch &&
         a->batch == r->batch && a->type == b->type && a->type == c->type && a->type == r->type;
}

/* The algorithm carries the alignments that it was chosen for. */
int cublasLtMatmulAlgoGetHeuristic(void* handle, void* desc, void* a, void* b, void* c, void* d, void* preference, int requested,
                                   struct Heuristic* found, int* returned) {
  const struct Preference* p = preference;
  if (handle == NULL || requested < 1 || !fits(desc, a, b, c, d)) return complain();
  memset(found, 0, sizeof *found);
  for (int k = 0; k < 4; ++k) found->algo[k] = p->alignment[k];
  found->algo[7] = 77;
  found->workspace = p->workspace < 4096 ? 0 : 4096;
  *returned = 1;
  ++fake_plans;
  return kOk;
}
int cublasLtMatmul(void* handle, void* desc, const void* alpha, const void* a, void* la, const void* b, void* lb, const void* beta, const void* c,
                   void* lc, void* d, void* ld, const void* algo, void* workspace, size_t workspace_size, void* stream) {
  const uint64_t* chosen = algo;
  (void)stream;
  if (handle == NULL || !fits(desc, la, lb, lc, ld) || chosen[7] != 77 || workspace == NULL || workspace_size < 4096) return complain();
  struct Call* call = &fake_calls[fake_count++ % kMostCalls];
  call->desc = *(struct Desc*)desc;
  call->a = *(struct Layout*)la, call->b = *(struct Layout*)lb, call->c = *(struct Layout*)lc, call->d = *(struct Layout*)ld;
  call->pa = a, call->pb = b, call->pc = c, call->pd = d;
  call->alpha = call->desc.scale == 1 ? *(const double*)alpha : *(const float*)alpha;
  call->beta = call->desc.scale == 1 ? *(const double*)beta : *(const float*)beta;
  call->workspace = workspace_size;
  for (int k = 0; k < 4; ++k) call->alignment[k] = (uint32_t)chosen[k];
  return fake_status;
}
