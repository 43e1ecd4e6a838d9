// Graph as text.
#include "graph.h"

#include <sstream>

namespace mg {

Graph renumbered(Graph graph) {
  for (GraphValue& v : graph.values) v.maker = -1;
  for (size_t at = 0; at < graph.calls.size(); ++at)
    for (int id : graph.calls[at].outs) graph.values[size_t(id)].maker = int(at);
  return graph;
}

namespace {

const char* short_name(DType d) {
  switch (d) {
    case DType::Float32: return "f32";
    case DType::Float64: return "f64";
    case DType::Float16: return "f16";
    case DType::BFloat16: return "bf16";
    case DType::Int64: return "i64";
    case DType::Int32: return "i32";
    default: return dtype_name(d);
  }
}

void print_value(std::ostream& out, const Graph& g, int id) {
  const GraphValue& v = g.values[size_t(id)];
  out << '%' << id << ": " << short_name(v.spec.dtype) << '[';
  for (int k = 0; k < v.spec.sizes.size(); ++k) out << (k ? ", " : "") << v.spec.sizes[k];
  out << ']';
}

void print_number(std::ostream& out, const Value& v) {
  switch (v.kind) {
    case Kind::None: out << "None"; break;
    case Kind::Bool: out << (v.b ? "True" : "False"); break;
    case Kind::Int: out << v.i; break;
    case Kind::Float: out << v.f; break;
    case Kind::DType: out << short_name(v.dtype); break;
    case Kind::Device: out << v.device; break;
    case Kind::Str: out << '\'' << v.str << '\''; break;
    case Kind::Complex: out << '(' << v.z->re << (v.z->im < 0 ? "" : "+") << v.z->im << "j)"; break;
    case Kind::Ints: {
      out << '[';
      for (int k = 0; k < v.len; ++k) out << (k ? ", " : "") << v.ints[k];
      out << ']';
      break;
    }
    default: out << '?';
  }
}

void print_arg(std::ostream& out, const GraphArg& a) {
  if (a.is_list) out << '[';
  for (size_t k = 0; k < a.ids.size(); ++k) {
    if (k) out << ", ";
    if (a.ids[k] < 0) out << "None";
    else out << '%' << a.ids[k];
  }
  if (a.is_list) out << ']';
  if (!a.is_tensor && !a.is_list) print_number(out, a.number);
}

void print_gradients(std::ostream& out, const std::vector<GraphGradient>& gradients) {
  for (const GraphGradient& g : gradients) {
    out << "  %" << g.leaf << ".grad = ";
    if (g.value < 0) out << "None\n";
    else out << '%' << g.value << '\n';
  }
}

void print_outs(std::ostream& out, const Graph& g, const GraphCall& call) {
  out << "  ";
  for (size_t k = 0; k < call.outs.size(); ++k) {
    if (k) out << ", ";
    print_value(out, g, call.outs[k]);
  }
  out << (call.outs.empty() ? "" : " = ");
}

void print_fused(std::ostream& out, const GraphCall& call) {
  out << "fused[";
  for (size_t k = 0; k < call.parts.size(); ++k) out << (k ? ", " : "") << call.parts[k].op->name << (call.parts[k].mode == Write::Inplace ? "_" : "");
  out << "](";
  for (size_t k = 0; k < call.args.size(); ++k) {
    if (k) out << ", ";
    print_arg(out, call.args[k]);
  }
  out << ')';
  for (size_t k = 0; k < call.writes.size(); ++k) out << (k ? ", %" : " into %") << call.writes[k];
}

void print_call(std::ostream& out, const Graph& g, const GraphCall& call) {
  if (call.host) {
    print_gradients(out, call.host->gradients);
    out << "  " << call.host->label;
  } else if (call.fused) {
    print_outs(out, g, call);
    print_fused(out, call);
  } else if (call.op == nullptr) {
    out << "  " << call.parts[0].op->name << "_ of each(";
    for (size_t k = 0; k < call.args.size(); ++k) {
      out << (k ? ", " : "");
      print_arg(out, call.args[k]);
    }
    out << ')';
  } else {
    print_outs(out, g, call);
    out << call.op->name << (call.mode == Write::Inplace && call.op->mutated < 0 ? "_(" : "(");
    bool first = true;
    for (size_t k = 0; k < call.args.size(); ++k) {
      const Arg& declared = call.op->args[k];
      const GraphArg& a = call.args[k];
      const bool plain = !a.is_tensor && !a.is_list;
      if (plain && a.number.none() && declared.has_default) continue;
      out << (first ? "" : ", ");
      first = false;
      if (plain) out << declared.name << '=';
      print_arg(out, a);
    }
    out << ')';
  }
  if (!call.line.empty()) out << "    # " << call.line;
}

}  // namespace

std::string to_string(const Graph& graph, const GraphCall& call) {
  std::ostringstream out;
  print_call(out, graph, call);
  return out.str();
}

std::string to_string(const Graph& graph) {
  std::ostringstream out;
  out << "graph(";
  for (size_t k = 0; k < graph.inputs.size(); ++k) {
    if (k) out << ", ";
    print_value(out, graph, graph.inputs[k]);
  }
  out << ")\n";
  for (const GraphConstant& c : graph.constants) {
    out << "  ";
    print_value(out, graph, c.id);
    out << " = constant\n";
  }
  for (const GraphCall& call : graph.calls) {
    print_call(out, graph, call);
    out << '\n';
  }
  print_gradients(out, graph.gradients);
  out << "  return";
  for (size_t k = 0; k < graph.outputs.size(); ++k) out << (k ? ", %" : " %") << graph.outputs[k];
  out << '\n';
  return out.str();
}

}  // namespace mg
