// Recurrent layers: shapes of _rnn_layer, its backward, and _rnn_previous. Legend: T steps, N sequences, B rows of all steps of packed
// sequences, I input, H hidden width, P width of the output.
#include <string_view>

#include "dataless.h"
#include "meta.h"
#include "reduce_dims.h"
#include "rnn_steps.h"

namespace mg {

static void check_rnn(const Op& op, const char* what, const Value& v, const Dims& want, DType dtype) {
  MG_CHECK(v.none() || (v.t->sizes == want && v.t->dtype == dtype), Runtime, public_name(op), ": ", what, " does not fit: got ", v.t->dtype,
           " of shape ", v.t->sizes, ", expected ", dtype, " of shape ", want);
}

static int64_t gates_of(const Op& op, std::string_view kind) {
  MG_CHECK(rnn_kind(kind) != RnnKind::Tanh || kind == "rnn_tanh", Value, public_name(op), ": unknown kind: got ", kind,
           ", expected lstm, gru, rnn_tanh or rnn_relu");
  return rnn_gates(rnn_kind(kind));
}

// Sizes of packed sequences: positive, never growing, together all rows.
static void check_batch_sizes(const Op& op, const TensorImpl& x, const TensorImpl& sizes) {
  MG_CHECK(sizes.device.type != DeviceType::Meta, NotImplemented, "Cannot copy out of meta tensor; no data!");
  if (sizes.dataless) provide_data(sizes, "batch_sizes");
  MG_CHECK(sizes.dim() == 1 && sizes.dtype == DType::Int64 && sizes.device.type == DeviceType::CPU && !sizes.dataless, Runtime,
           public_name(op), ": batch_sizes must be a vector of int64 on the CPU: got ", sizes.dtype, " of shape ", sizes.sizes);
  int64_t total = 0, before = INT64_MAX;
  for (int64_t t = 0; t < sizes.numel; ++t) {
    const int64_t n = sizes.ptr<int64_t>()[t * sizes.strides[0]];
    MG_CHECK(n > 0 && n <= before, Runtime, public_name(op), ": batch_sizes must be positive and never grow: got ", n, " at step ", t);
    MG_CHECK(n <= x.sizes[0] - total, Runtime, public_name(op), ": batch_sizes sum to more than the ", x.sizes[0], " rows of the data");
    total += n;
    before = n;
  }
  MG_CHECK(total == x.sizes[0], Runtime, public_name(op), ": batch_sizes sum to ", total, ", the data has ", x.sizes[0], " rows");
}

// Number of sequences.
static int64_t check_sequences(const Op& op, const TensorImpl& x, const Value& batch_sizes) {
  MG_CHECK(x.dtype == DType::Float32 || x.dtype == DType::Float64, NotImplemented, public_name(op), ": float32 or float64 only: got ", x.dtype);
  const int rank = batch_sizes.none() ? 3 : 2;
  MG_CHECK(x.dim() == rank, Runtime, public_name(op), ": expected a ", rank, "-D input: got ", x.sizes);
  if (batch_sizes.none()) return x.sizes[1];
  check_batch_sizes(op, x, *batch_sizes.t);
  return batch_sizes.t->numel == 0 ? 0 : *batch_sizes.t->ptr<int64_t>();
}

// One device for all, but for the sizes, which are on the CPU always.
static void check_rnn_device(const Op& op, const Value* args, int batch_sizes) {
  ValueArray others;
  for (int k = 0; k < op.n_args; ++k) others.values[k] = k == batch_sizes ? Value() : args[k];
  common_device(op, others);
}

static void rnn_out(OutSpec& o, const TensorImpl& like, int64_t columns) {  // (T, N, columns) or (B, columns); none: nothing to keep
  o.dtype = like.dtype;
  o.device = like.device;
  o.sizes = columns == 0 ? Dims{0} : like.sizes;
  if (columns != 0) o.sizes[o.sizes.size() - 1] = columns;
}

// _rnn_layer(input, hx, cx?, w_ih, w_hh, b_ih?, b_hh?, w_hr?, batch_sizes?, kind, reverse) -> output, cells, gates, hidden
static void meta_rnn_layer(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &x = *args[0].t, &w_ih = *args[3].t, &w_hh = *args[4].t;
  const std::string_view kind = args[9].str;
  const int gates = gates_of(op, kind);
  const bool lstm = kind == "lstm";
  const int64_t n = check_sequences(op, x, args[8]);
  MG_CHECK(w_hh.dim() == 2 && w_hh.sizes[0] % gates == 0 && w_hh.sizes[0] > 0 && w_hh.sizes[1] > 0, Runtime, public_name(op),
           ": w_hh does not fit: got ", w_hh.sizes, ", expected (", gates, " H, H)");
  const int64_t rows = w_hh.sizes[0], h = rows / gates, p = w_hh.sizes[1];
  MG_CHECK(w_ih.dim() == 2, Runtime, public_name(op), ": w_ih must be a matrix: got ", w_ih.sizes);
  MG_CHECK(args[2].none() != lstm && args[5].none() == args[6].none() && (args[7].none() ? p == h : lstm), Runtime, public_name(op),
           ": c and a projection belong to an lstm, biases come in pairs, and without projection w_hh is (", gates, " H, H): got ", w_hh.sizes);
  check_rnn(op, "hx", args[1], {n, p}, x.dtype);
  check_rnn(op, "cx", args[2], {n, h}, x.dtype);
  check_rnn(op, "w_ih", args[3], {rows, x.sizes[x.dim() - 1]}, x.dtype);
  check_rnn(op, "w_hh", args[4], w_hh.sizes, x.dtype);
  check_rnn(op, "b_ih", args[5], {rows}, x.dtype);
  check_rnn(op, "b_hh", args[6], {rows}, x.dtype);
  check_rnn(op, "w_hr", args[7], {p, h}, x.dtype);
  check_rnn_device(op, args, 8);
  rnn_out(r.out[0], x, p);
  rnn_out(r.out[1], x, lstm ? h : 0);
  rnn_out(r.out[2], x, gates == 1 ? 0 : 4 * h);
  rnn_out(r.out[3], x, args[7].none() ? 0 : h);
  r.compute = x.dtype;
}

// _rnn_layer_backward(g_output, g_cells, output, cells, gates, hidden, hx, cx?, w_hh, w_hr?, batch_sizes?, kind, reverse)
//   -> dgates, dhx, dcx, dother. The forward op has checked its arguments; here they only must not have changed shape.
static void meta_rnn_layer_backward(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl &out = *args[2].t, &w_hh = *args[8].t;
  const std::string_view kind = args[11].str;
  const int gates = gates_of(op, kind);
  const int64_t n = check_sequences(op, out, args[10]);
  MG_CHECK(w_hh.dim() == 2 && w_hh.sizes[0] % gates == 0 && out.sizes[out.dim() - 1] == w_hh.sizes[1], Runtime, public_name(op),
           ": w_hh does not fit: got ", w_hh.sizes);
  const int64_t h = w_hh.sizes[0] / gates, p = w_hh.sizes[1];
  MG_CHECK(args[9].none() ? p == h : kind == "lstm", Runtime, public_name(op), ": only an lstm has a projection");
  OutSpec spec[4];
  rnn_out(spec[0], out, p);
  rnn_out(spec[1], out, kind == "lstm" ? h : 0);
  rnn_out(spec[2], out, gates == 1 ? 0 : 4 * h);
  rnn_out(spec[3], out, args[9].none() ? 0 : h);
  const char* names[] = {"output", "cells", "gates", "hidden"};
  check_rnn(op, "g_output", args[0], out.sizes, out.dtype);
  check_rnn(op, "g_cells", args[1], spec[1].sizes, out.dtype);
  for (int k = 0; k < 4; ++k) check_rnn(op, names[k], args[2 + k], spec[k].sizes, out.dtype);
  check_rnn(op, "hx", args[6], {n, p}, out.dtype);
  check_rnn(op, "cx", args[7], {n, h}, out.dtype);
  MG_CHECK(args[7].none() == (kind != "lstm"), Runtime, public_name(op), ": c belongs to an lstm");
  check_rnn(op, "w_hh", args[8], w_hh.sizes, out.dtype);
  check_rnn(op, "w_hr", args[9], {p, h}, out.dtype);
  check_rnn_device(op, args, 10);
  rnn_out(r.out[0], out, gates * h);
  for (int k = 1; k < 3; ++k) {
    r.out[k].dtype = out.dtype;
    r.out[k].device = out.device;
    r.out[k].sizes = k == 1 ? Dims{n, p} : kind == "lstm" ? Dims{n, h} : Dims{0};
  }
  rnn_out(r.out[3], out, kind == "gru" ? 3 * h : args[9].none() ? 0 : p);
  r.compute = out.dtype;
}

// _rnn_previous(output, hx, batch_sizes?, reverse) -> previous (B, P)
static void meta_rnn_previous(const Op& op, const Value* args, MetaResult& r) {
  const TensorImpl& out = *args[0].t;
  const int64_t n = check_sequences(op, out, args[2]), p = out.sizes[out.dim() - 1];
  check_rnn(op, "hx", args[1], {n, p}, out.dtype);
  check_rnn_device(op, args, 2);
  r.out[0].dtype = r.compute = out.dtype;
  r.out[0].device = out.device;
  r.out[0].sizes = {p == 0 ? 0 : out.numel / p, p};
}

MG_META("rnn_layer", meta_rnn_layer);
MG_META("rnn_layer_backward", meta_rnn_layer_backward);
MG_META("rnn_previous", meta_rnn_previous);

}  // namespace mg
