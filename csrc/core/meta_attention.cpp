// Shapes of scaled dot-product attention. Kernels: ../cpu/attention.h. Declarations: minigrad/ops/layers/attention.py.
//
// Legend: N… batch dims, Hq and H heads, L queries, S keys, E width, V width of the values.
#include <algorithm>

#include "layout.h"
#include "meta.h"

namespace mg {

namespace {

Dims leading(const Dims& sizes) { return Dims(std::span<const int64_t>(sizes.data(), size_t(sizes.size() - 2))); }
Dims with(Dims lead, int64_t rows, int64_t columns) {
  lead.push_back(rows);
  lead.push_back(columns);
  return lead;
}

// Dense, with the dims in `like`'s order in memory: heads that are views of (N, L, Hq * E) give results that are too.
void lay_out(OutSpec& o, const TensorImpl& t, const Dims& sizes) {
  o.sizes = sizes;
  o.dtype = t.dtype;
  o.device = t.device;
  const int n = sizes.size();
  if (t.dim() != n || t.strides.back() != 1 || t.contiguous) return;
  Dims order(n);
  for (int d = 0; d < n; ++d) {
    if (t.strides[d] == 0 && t.sizes[d] > 1) return;  // expanded
    order[d] = d;
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return t.strides[int(a)] > t.strides[int(b)]; });
  if (order.back() != n - 1) return;
  o.strides = Dims(n);
  int64_t step = 1;
  for (int i = n - 1; i >= 0; --i) {
    o.strides[int(order[i])] = step;
    step *= std::max<int64_t>(sizes[int(order[i])], 1);
  }
  o.has_strides = true;
}

struct Shapes {
  Dims lead, key_lead;  // N… Hq and N… H
  int64_t queries, keys, width, values;
};

void check_dtypes(const TensorImpl& q, const TensorImpl& k, const TensorImpl& v) {
  const char* name = "scaled_dot_product_attention";
  MG_CHECK(q.dtype == k.dtype && q.dtype == v.dtype, Runtime, name,
           ": expected query, key and value of one dtype: got ", q.dtype, ", ", k.dtype, " and ", v.dtype, ".");
  MG_CHECK(is_floating(q.dtype), Runtime, name, ": needs floating tensors: got ", q.dtype, ". Try .float().");
}

// What the leading dims of query, key and value make together.
Shapes shapes_of(const TensorImpl& q, const TensorImpl& k, const TensorImpl& v, bool gqa) {
  const char* name = "scaled_dot_product_attention";
  MG_CHECK(q.dim() >= 2 && k.dim() >= 2 && v.dim() >= 2, Runtime, name,
           ": expected query, key and value of at least 2 dims: got ", q.dim(), ", ", k.dim(), " and ", v.dim(), ".");
  Shapes s{leading(q.sizes),     leading(k.sizes), q.sizes[q.dim() - 2],
           k.sizes[k.dim() - 2], q.sizes.back(),   v.sizes.back()};
  MG_CHECK(k.sizes.back() == s.width, Runtime, name, ": query and key have widths that differ: got ", s.width, " and ",
           k.sizes.back(), ".");
  MG_CHECK(v.sizes[v.dim() - 2] == s.keys, Runtime, name, ": key and value have lengths that differ: got ", s.keys,
           " and ", v.sizes[v.dim() - 2], ".");
  if (gqa) {
    const int64_t shared = k.dim() > 2 ? k.sizes[k.dim() - 3] : 0, heads = q.dim() > 2 ? q.sizes[q.dim() - 3] : 0;
    MG_CHECK(shared > 0 && v.dim() > 2 && v.sizes[v.dim() - 3] == shared && heads % shared == 0, Runtime, name, ": ",
             heads, " query heads cannot share the heads of key ", k.sizes, " and value ", v.sizes, ".");
    s.key_lead.back() = heads;
  }
  Dims value_lead = leading(v.sizes);
  if (gqa) value_lead.back() = s.lead.back();
  MG_CHECK(broadcast_into(s.lead, s.key_lead) && broadcast_into(s.lead, value_lead), Runtime, name,
           ": batch dims of query, key and value do not broadcast: got ", q.sizes, ", ", k.sizes, " and ", v.sizes,
           ".");
  s.key_lead = s.lead;
  if (gqa) s.key_lead.back() = k.sizes[k.dim() - 3];
  return s;
}

void check_mask(const Shapes& s, const Value& mask, DType dtype, bool causal) {
  if (mask.none()) return;
  const TensorImpl& m = *mask.t;
  MG_CHECK(!causal, Runtime, "scaled_dot_product_attention: explicit attn_mask should not be set when is_causal=True.");
  MG_CHECK(m.dtype == DType::Bool || m.dtype == DType::Float32 || m.dtype == dtype, Runtime,
           "scaled_dot_product_attention: attn_mask must be bool or of query's dtype ", dtype, ": got ", m.dtype, ".");
  Dims shape = with(s.lead, s.queries, s.keys);
  const Dims want = shape;
  MG_CHECK(broadcast_into(shape, m.sizes) && shape == want, Runtime,
           "scaled_dot_product_attention: attn_mask of shape ", m.sizes, " does not broadcast to ", want, ".");
}

DType statistics(DType d) { return d == DType::Float64 ? DType::Float64 : DType::Float32; }

// _attention(query, key, value, attn_mask?, dropout_p, is_causal, scale, enable_gqa, generator?) -> out, logsumexp, rng
void meta_attention(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& q = *args[0].t;
  const Shapes s = shapes_of(q, *args[1].t, *args[2].t, args[7].as_int() != 0);
  check_dtypes(q, *args[1].t, *args[2].t);
  check_mask(s, args[3], q.dtype, args[5].as_int() != 0);
  const double p = args[4].as_double();
  MG_CHECK(p >= 0 && p <= 1, Runtime, "dropout probability has to be between 0 and 1, but got ", p);
  common_device(op, args);
  r.compute = statistics(q.dtype);
  lay_out(r.out[0], q, with(s.lead, s.queries, s.values));
  Dims rows = s.lead;
  rows.push_back(s.queries);
  r.out[1].sizes = rows;
  r.out[1].dtype = r.compute;
  r.out[1].device = q.device;
  r.out[2].sizes = Dims{p > 0 ? 2 : 0};
  r.out[2].dtype = DType::Int64;
  r.out[2].device = q.device;
}

// _attention_backward(g, query, key, value, attn_mask?, out, logsumexp, rng, dropout_p, is_causal, scale, enable_gqa)
//   -> dquery, dkey, dvalue: of the broadcast leading dims
void meta_attention_backward(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &q = *args[1].t, &k = *args[2].t, &v = *args[3].t;
  const Shapes s = shapes_of(q, k, v, args[11].as_int() != 0);
  check_dtypes(q, k, v);
  check_mask(s, args[4], q.dtype, args[9].as_int() != 0);
  const Dims out = with(s.lead, s.queries, s.values);
  Dims rows = s.lead;
  rows.push_back(s.queries);
  MG_CHECK(args[0].t->sizes == out && args[5].t->sizes == out && args[6].t->sizes == rows &&
               args[7].t->sizes == Dims{args[8].as_double() > 0 ? 2 : 0},
           Runtime, op.name, ": g, out, logsumexp and rng are not those of an attention of ", q.sizes, ", ", k.sizes,
           " and ", v.sizes, ": got ", args[0].t->sizes, ", ", args[5].t->sizes, ", ", args[6].t->sizes, " and ",
           args[7].t->sizes);
  MG_CHECK(args[0].t->dtype == q.dtype && args[5].t->dtype == q.dtype && args[7].t->dtype == DType::Int64, Runtime,
           op.name, ": g, out and rng have dtypes ", args[0].t->dtype, ", ", args[5].t->dtype, " and ",
           args[7].t->dtype, ", expected ", q.dtype, ", ", q.dtype, " and int64");
  common_device(op, args);
  r.compute = statistics(q.dtype);
  lay_out(r.out[0], q, with(s.lead, s.queries, s.width));
  lay_out(r.out[1], k, with(s.key_lead, s.keys, s.width));
  lay_out(r.out[2], v, with(s.key_lead, s.keys, s.values));
}

// _attention_int8(query, key, value, attn_mask?, key_scale, value_scale, scale, enable_gqa) -> out
void meta_attention_int8(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &q = *args[0].t, &k = *args[1].t, &v = *args[2].t;
  MG_CHECK(k.dtype == DType::Int8 && v.dtype == DType::Int8, Runtime, op.name, ": expected key and value of int8: got ",
           k.dtype, " and ", v.dtype, ". Try quantize_int8.");
  MG_CHECK(is_floating(q.dtype) && q.dtype != DType::Float64, Runtime, op.name,
           ": expected a query of float32, float16 or bfloat16: got ", q.dtype);
  const Shapes s = shapes_of(q, k, v, args[7].as_int() != 0);
  check_mask(s, args[3], q.dtype, false);
  for (int i = 0; i < 2; ++i) {
    const TensorImpl &x = *args[1 + i].t, &scale = *args[4 + i].t;
    const Dims want(std::span<const int64_t>(x.sizes.data(), size_t(x.dim() - 1)));
    MG_CHECK(scale.sizes == want && is_floating(scale.dtype) && leading(x.sizes) == s.key_lead, Runtime, op.name, ": ",
             op.args[size_t(4 + i)].name, " must hold a number for each row: got ", scale.dtype, " ", scale.sizes,
             ", expected float32 ", want);
  }
  common_device(op, args);
  r.compute = DType::Float32;
  lay_out(r.out[0], q, with(s.lead, s.queries, s.values));
}

// _attention_keep(rng, dropout_p, sizes: ints) -> kept
void meta_attention_keep(const Op& op, const Value* args, MetaResult& r) {
  MG_CHECK(args[0].t->dtype == DType::Int64 && args[0].t->sizes == Dims{2}, Runtime, op.name,
           ": expected rng as attention leaves it, 2 numbers of int64: got ", args[0].t->dtype, " ", args[0].t->sizes);
  MG_CHECK(args[2].len >= 2, Runtime, op.name, ": expected sizes (N…, L, S): got ", args[2].as_dims());
  r.out[0].sizes = args[2].as_dims();
  checked_numel(r.out[0].sizes, op.name.c_str());
  r.out[0].dtype = DType::Bool;
  r.out[0].device = args[0].t->device;
  r.compute = DType::Bool;
}

}  // namespace

MG_META("attention", meta_attention);
MG_META("attention_backward", meta_attention_backward);
MG_META("attention_int8", meta_attention_int8);
MG_META("attention_keep", meta_attention_keep);

}  // namespace mg
