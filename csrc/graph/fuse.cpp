// Grouping. Calls are nodes of a graph of dependencies: who reads whose results, who writes what others read, and the order of random draws
// and host calls. Going through the calls in their order, each one that may be fused joins the groups of what it reads, as long as
// no way leads out of the joint group and back into it. Groups are then laid out in an order that keeps calls where they were if it can.
#include "fuse.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <queue>
#include <set>

#include "../core/layout.h"
#include "facts.h"

namespace mg {

namespace {

constexpr size_t kMostCalls = 40;
constexpr int kMostOperands = 16;
constexpr size_t kMostPlaces = 64;  // operands of a kernel: a value that is read along different axes is several (plan.cpp has room for so many)
constexpr int kNear = 64;  // calls; what lies further apart would keep values alive for long

struct Group {
  std::vector<int> members;  // in order; empty: joined another
  FuseSpace space;
};

class Grouping {
 public:
  Grouping(const Graph& graph, bool lean)
      : graph_(graph), lean_(lean), needs_(graph.calls.size()), group_of_(graph.calls.size(), -1), maker_(graph.values.size(), -1), root_(graph.values.size()) {
    std::iota(root_.begin(), root_.end(), 0);
    for (const GraphCall& call : graph.calls)
      if (call.op != nullptr && call.op->is_view && call.mode == Write::Fresh && call.outs.size() == 1) {
        const int from = call.args[0].ids[0], to = call.outs[0];
        if (spec(from).dtype == spec(to).dtype) root_[size_t(to)] = root_[size_t(from)];
      }
    roles_.reserve(graph.calls.size());
    for (const GraphCall& call : graph.calls) roles_.push_back(fuse_role(graph, call));
    find_needs();
    for (int at = 0; at < int(graph.calls.size()); ++at)
      if (roles_[size_t(at)] != FuseRole::None) place(at);
  }

  Graph result() const {
    Graph out = graph_;
    out.calls.clear();
    std::vector<bool> done(graph_.calls.size(), false);  // views that went with their group
    for (int node : order()) {
      if (done[size_t(node)]) continue;
      const Group* group = group_of_[size_t(node)] < 0 ? nullptr : &groups_[size_t(group_of_[size_t(node)])];
      if (group == nullptr || group->members.size() < 2) out.calls.push_back(graph_.calls[size_t(node)]);
      else add_fused(*group, out.calls, done);
    }
    return renumbered(std::move(out));
  }

 private:
  const GraphCall& call(int at) const { return graph_.calls[size_t(at)]; }
  const OutSpec& spec(int id) const { return graph_.values[size_t(id)].spec; }

  void need(int at, int other) {
    if (other >= 0 && other != at) needs_[size_t(at)].push_back(other);
  }

  void find_needs() {
    std::map<int, int> writer;                // storage -> last call that wrote to it
    std::map<int, std::vector<int>> readers;  // since then
    int ordered = -1;                         // last random draw or host call
    for (int at = 0; at < int(graph_.calls.size()); ++at) {
      const GraphCall& c = call(at);
      const auto storage = [&](int id) { return graph_.values[size_t(id)].storage; };
      for_each_read(c, [&](int id) {
        need(at, maker_[size_t(id)]);
        if (const auto w = writer.find(storage(id)); w != writer.end()) need(at, w->second);
        readers[storage(id)].push_back(at);
      });
      std::vector<int> written;
      if (c.host) written = c.host->writes;
      else if (c.op != nullptr && c.mode == Write::Inplace) written.push_back(target_of(c));
      for (int id : written) {
        for (int r : readers[storage(id)]) need(at, r);
        readers[storage(id)].clear();
        writer[storage(id)] = at;
      }
      if (c.host || draws(c)) {
        need(at, ordered);
        ordered = at;
      }
      for (int id : c.outs) maker_[size_t(id)] = at;
    }
    for (auto& list : needs_) {
      std::sort(list.begin(), list.end());
      list.erase(std::unique(list.begin(), list.end()), list.end());
    }
  }

  // The call that made what this view is of; -1: it is no view, or of something from outside.
  int viewed(int at) const {
    const GraphCall& c = call(at);
    return c.outs.size() == 1 && root_[size_t(c.outs[0])] != c.outs[0] ? maker_[size_t(root_[size_t(c.outs[0])])] : -1;
  }

  // Is there a way from a member out of the set and back into it? Other groups count as one node. Views of what members make are none:
  // a member reads the view's elements where they are made.
  bool has_way_around(const std::vector<int>& members) const {
    std::vector<char> state(graph_.calls.size(), 0);  // 1: member, 2: seen outside
    for (int m : members) state[size_t(m)] = 1;
    std::vector<int> todo;
    for (int m : members)
      for (int n : needs_[size_t(m)])
        if (state[size_t(n)] == 0 && !is_member(members, viewed(n))) state[size_t(n)] = 2, todo.push_back(n);
    const int first = members.front();
    bool back = false;
    const auto visit = [&](int n) {
      if (state[size_t(n)] == 1) back = true;
      if (state[size_t(n)] == 0) state[size_t(n)] = 2, todo.push_back(n);
    };
    while (!todo.empty() && !back) {
      const int at = todo.back();
      todo.pop_back();
      const int g = group_of_[size_t(at)];
      if (g < 0) {
        if (at < first && earliest_ >= at) continue;
        for (int n : needs_[size_t(at)]) visit(n);
      } else {
        for (int m : groups_[size_t(g)].members)
          for (int n : needs_[size_t(m)])
            if (group_of_[size_t(n)] != g) visit(n);
      }
    }
    return back;
  }

  static bool maps(FuseRole r) { return r == FuseRole::Map || r == FuseRole::Cast; }

  Group alone(int at) const { return {{at}, fuse_space(graph_, call(at))}; }

  bool is_member(const std::vector<int>& members, int at) const { return at >= 0 && std::binary_search(members.begin(), members.end(), at); }

  // Whatever a member reads of what another one makes, it reads element by element or number by number of the rows. Sums over
  // the rows and over everything leave the space.
  bool reads_as_made(const std::vector<int>& members, const FuseSpace& space) const {
    return std::all_of(members.begin(), members.end(), [&](int m) {
      const Dims& shape = spec(is_reduction(roles_[size_t(m)]) ? call(m).args[0].ids[0] : result_of(call(m))).sizes;
      return std::all_of(call(m).args.begin(), call(m).args.end(), [&](const GraphArg& a) {
        const int root = a.is_tensor ? root_[size_t(a.ids[0])] : -1, by = root < 0 ? -1 : maker_[size_t(root)];
        if (!is_member(members, by)) return true;
        const FuseRole role = roles_[size_t(by)];
        if (role == FuseRole::ReduceLeading || role == FuseRole::ReduceAll || spec(root).offset != spec(a.ids[0]).offset) return false;
        if (!space.dense) return root == a.ids[0];
        const bool per_row = role == FuseRole::ReduceLast || space.by_row(spec(root).sizes);
        return space.repeats(shape, broadcast_strides(spec(a.ids[0]).sizes, spec(a.ids[0]).strides, shape), per_row);
      });
    });
  }

  bool too_large(const std::vector<int>& members) const {
    if (members.size() > kMostCalls || members.back() - members.front() > kNear) return true;
    std::set<int> made, read, stored;
    for (int m : members) {
      for (const GraphArg& a : call(m).args)
        if (a.is_tensor && !made.contains(root_[size_t(a.ids[0])])) read.insert(a.ids[0]);
      made.insert(result_of(call(m)));
      if (needed(m, members)) stored.insert(result_of(call(m)));
    }
    return int(read.size() + stored.size()) > kMostOperands;
  }

  // What one call writes in place is there before the group, and nobody in it knows it by another name.
  bool writes_by_other_names(const std::vector<int>& members) const {
    std::map<int, int> targets;  // storage -> value
    for (int m : members) {
      if (call(m).mode != Write::Inplace) continue;
      const int target = target_of(call(m));
      if (is_member(members, maker_[size_t(root_[size_t(target)])])) return true;
      targets.emplace(graph_.values[size_t(target)].storage, target);
    }
    if (targets.empty()) return false;
    return std::any_of(members.begin(), members.end(), [&](int m) {
      return std::any_of(call(m).args.begin(), call(m).args.end(), [&](const GraphArg& a) {
        const auto found = a.is_tensor ? targets.find(graph_.values[size_t(a.ids[0])].storage) : targets.end();
        return found != targets.end() && found->second != a.ids[0];
      });
    });
  }

  // What is computed again runs where it is needed, not with what came long before.
  bool moves_back(const std::vector<int>& members) const {
    return !call(members.front()).again && std::any_of(members.begin(), members.end(), [&](int m) { return call(m).again; });
  }

  // What is made again is read and gone before the group is at its end; in the group it would be there with all that the group needs.
  bool lives_longer(const std::vector<int>& members) const {
    find_users();
    return std::any_of(members.begin(), members.end(), [&](int m) {
      if (!call(m).again || call(m).mode != Write::Fresh) return false;
      const auto& users = users_[size_t(call(m).outs[0])];
      const auto before_the_end = [&](int u) { return u < members.back() && !std::binary_search(members.begin(), members.end(), u); };
      return std::any_of(users.begin(), users.end(), before_the_end);
    });
  }

  bool unite(Group& a, const Group& b) const {
    if (!(spec(result_of(call(a.members[0]))).device == spec(result_of(call(b.members[0]))).device)) return false;
    FuseSpace space = a.space;
    const bool by_rows = b.members.size() == 1 && maps(roles_[size_t(b.members[0])]) && call(b.members[0]).mode == Write::Fresh;
    if (!space.join(b.space) && !(by_rows && space.join_rows(b.space))) return false;
    std::vector<int> members;
    std::merge(a.members.begin(), a.members.end(), b.members.begin(), b.members.end(), std::back_inserter(members));
    if (moves_back(members) || (lean_ && lives_longer(members)) || too_large(members) || !reads_as_made(members, space)) return false;
    if (writes_by_other_names(members) || has_way_around(members)) return false;
    a.members = std::move(members);
    a.space = std::move(space);
    return true;
  }

  void place(int at) {
    Group g = alone(at);
    std::vector<int> near;  // groups of what it reads, then of who reads the same
    for (int n : needs_[size_t(at)]) {
      add_candidate(near, n);
      if (viewed(n) >= 0) add_candidate(near, viewed(n));
    }
    for (const GraphArg& a : call(at).args)
      if (a.is_tensor && spec(a.ids[0]).sizes == g.space.shape)
        for (int n : readers_[a.ids[0]]) add_candidate(near, n);
    int into = -1;
    for (int candidate : near) {
      Group whole = groups_[size_t(candidate)];
      if (into < 0) {
        if (!unite(whole, g)) continue;
        into = candidate;
        groups_[size_t(into)] = std::move(whole);
      } else {
        const std::vector<int> moved = whole.members;
        if (!unite(groups_[size_t(into)], whole)) continue;
        for (int m : moved) group_of_[size_t(m)] = into;
        groups_[size_t(candidate)].members.clear();
      }
      group_of_[size_t(at)] = into;
    }
    if (into < 0) {
      group_of_[size_t(at)] = int(groups_.size());
      groups_.push_back(std::move(g));
    }
    earliest_ = std::min(earliest_, at);
    for (const GraphArg& a : call(at).args)
      if (a.is_tensor) readers_[a.ids[0]].push_back(at);
  }

  void add_candidate(std::vector<int>& near, int n) const {
    const int g = group_of_[size_t(n)];
    if (g >= 0 && std::find(near.begin(), near.end(), g) == near.end()) near.push_back(g);
  }

  void find_users() const {
    if (!shown_.empty()) return;
    shown_.assign(graph_.values.size(), false);
    users_.resize(graph_.values.size());
    for (int o : graph_.outputs) shown_[size_t(o)] = true;
    for (const GraphGradient& g : graph_.gradients)
      if (g.value >= 0) shown_[size_t(g.value)] = true;
    for (int at = 0; at < int(graph_.calls.size()); ++at)
      for_each_read(call(at), [&](int read) { users_[size_t(read)].push_back(at); });
  }

  // Does anybody but these calls read what this one makes?
  bool needed(int at, const std::vector<int>& members) const { return call(at).mode == Write::Inplace || read_outside(call(at).outs[0], members); }

  bool read_outside(int id, const std::vector<int>& members) const {
    find_users();
    if (shown_[size_t(id)]) return true;
    return std::any_of(users_[size_t(id)].begin(), users_[size_t(id)].end(), [&](int user) {
      return !is_member(members, user) && (viewed(user) < 0 || read_outside(call(user).outs[0], members));
    });
  }

  // `done`: views of what the group makes that are here already, or that nobody needs any more.
  void add_fused(const Group& group, std::vector<GraphCall>& calls, std::vector<bool>& done) const {
    std::vector<const GraphCall*> parts;
    for (int m : group.members) parts.push_back(&call(m));
    FusedGroup built = make_group(graph_, parts, group.space, root_, [&](int id) { return needed(maker_[size_t(id)], group.members); });
    GraphCall fused;
    const DeviceType device = spec(result_of(*parts[0])).device.type;
    if (built.program.operands.size() <= kMostPlaces) fused.fused = make_fused_kernel(std::move(built.program), device);
    const bool apart = fused.fused == nullptr || built.outputs.size() + built.writes.size() == 0;
    for (int at = group.members.front(); at <= group.members.back(); ++at) {
      if (is_member(group.members, viewed(at))) done[size_t(at)] = apart || !read_outside(call(at).outs[0], group.members);
      if (apart && (is_member(group.members, at) || is_member(group.members, viewed(at)))) calls.push_back(call(at));
    }
    if (apart) return;
    for (int id : built.inputs) fused.args.push_back(tensor_arg(id));
    fused.outs = built.outputs;
    fused.writes = built.writes;
    for (const GraphCall* part : parts) {
      fused.parts.push_back(*part);
      if (!part->line.empty()) fused.line = part->line;
    }
    calls.push_back(std::move(fused));
  }

  // One node of each group stands for it: its last. Of what may run, what came first in the graph runs first.
  std::vector<int> order() const {
    const auto node = [&](int at) { return group_of_[size_t(at)] < 0 ? at : groups_[size_t(group_of_[size_t(at)])].members.back(); };
    const size_t n = graph_.calls.size();
    std::vector<std::set<int>> next(n);
    std::vector<int> waits(n, 0);
    for (int at = 0; at < int(n); ++at)
      for (int other : needs_[size_t(at)])
        if (node(other) != node(at) && !(viewed(other) >= 0 && node(viewed(other)) == node(at)) && next[size_t(node(other))].insert(node(at)).second)
          ++waits[size_t(node(at))];
    std::priority_queue<int, std::vector<int>, std::greater<>> ready;
    for (int at = 0; at < int(n); ++at)
      if (node(at) == at && waits[size_t(at)] == 0) ready.push(at);
    std::vector<int> out;
    while (!ready.empty()) {
      const int at = ready.top();
      ready.pop();
      out.push_back(at);
      for (int after : next[size_t(at)])
        if (--waits[size_t(after)] == 0) ready.push(after);
    }
    return out;
  }

  const Graph& graph_;
  const bool lean_;
  std::vector<std::vector<int>> needs_;  // per call: calls that have to run before
  std::vector<int> group_of_, maker_;
  std::vector<int> root_;  // value -> what it is a view of, or itself
  std::vector<FuseRole> roles_;
  std::vector<Group> groups_;
  std::map<int, std::vector<int>> readers_;  // value -> calls with a group
  int earliest_ = INT32_MAX;                 // first call with a group
  mutable std::vector<bool> shown_;
  mutable std::vector<std::vector<int>> users_;
};

}  // namespace

Graph fuse(const Graph& graph, bool lean) { return Grouping(graph, lean).result(); }

}  // namespace mg
