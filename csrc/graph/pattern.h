// Patterns over several calls: reading them in a graph, and putting other calls in their place.
//
// A pass reads with a Pattern (who made a value, who reads it, is this a product, a factor, a transposed view), names the calls that
// go and those that come, and `replaced()` gives the new graph. A new call may make values of the old graph, in a layout of its own:
// what is made of them is then laid out anew, or a copy is put between where that would show outside. A pattern may cross the cut
// between a function and its gradients (split.h), so passes of this kind carry that place along.
#pragma once
#include <map>
#include <optional>

#include "facts.h"

namespace mg {

class Pattern {
 public:
  explicit Pattern(const Graph& graph);
  const Graph& graph;
  const Facts facts;

  const OutSpec& spec(int id) const { return facts.spec(id); }
  /// The call that made it, or -1.
  int made_at(int id) const { return graph.values[size_t(id)].maker; }
  /// The fresh call of that op which made it, or null.
  const GraphCall* made_by(int id, const char* op) const;
  const std::vector<int>& readers(int id) const { return readers_[size_t(id)]; }
  /// matmul or bmm of two tensors with the same leading sizes.
  bool is_product(const GraphCall& call) const;
  /// Same memory, the last two dimensions exchanged.
  bool are_transposed(int a, int b) const;
  bool same_tensor(int a, int b) const;
  /// A number, also one that a tensor of one element is known to hold.
  std::optional<double> number(const GraphArg& a) const;
  /// What the tensor holds in every run: made of numbers, of constants and of inputs whose elements may be assumed. Noted in `assumed`.
  Tensor known(int id, std::vector<int>& assumed) const;

 private:
  Tensor compute(int id, std::vector<int>& assumed) const;
  std::vector<std::vector<int>> readers_;
  mutable std::map<int, std::pair<Tensor, std::vector<int>>> known_;
};

/// Collects what a rewriting changes. Calls that come are placed before a call of the old graph.
class Rewriting {
 public:
  explicit Rewriting(const Graph& graph);
  /// A fresh call before call `at`; its results are new values, in the layout that its meta function says.
  std::vector<int> add(int at, const char* op, std::vector<GraphArg> args, const std::string& line);
  int view(int at, int id, const char* op, std::vector<GraphArg> more, const std::string& line);
  /// From now on `old` is `now`, or a view of it with the last two dimensions exchanged.
  void stand_in(int at, int old, int now, bool transposed = false);
  void drop(int at) { dropped_[size_t(at)] = true; }
  /// The new graph; `boundary` moves along with the call before which it lay.
  Graph finish(size_t* boundary);

  Graph graph;  // its values grow; its calls stay as they were until finish()

 private:
  struct Standin {
    int old, now;
    bool transposed;
  };
  GraphCall view_call(int base, int out, const std::string& line) const;
  bool lay_out_anew(Graph& g) const;
  Graph assembled(size_t* boundary, const std::vector<bool>& copied) const;
  std::vector<std::vector<GraphCall>> before_;
  std::vector<bool> dropped_;
  std::vector<std::pair<int, Standin>> standins_;
  int storages_ = 0;
};

}  // namespace mg
