// Computing what a Deferrer noted, and giving its tensors their data. See defer.h.
#include <algorithm>

#include "../autograd/node.h"
#include "../core/autocast.h"
#include "../core/random.h"
#include "arguments.h"
#include "defer.h"

namespace mg {

namespace {

struct NoAutocast {  // the casts were noted
  const unsigned before = autocast_suspend();
  ~NoAutocast() { autocast_resume(before); }
};

// This thread has the interpreter's lock, so nobody else calls an op while our own tensors without data do not count as any.
struct Uncounted {
  Uncounted() { handlers_alive.fetch_sub(1, std::memory_order_relaxed); }
  ~Uncounted() { handlers_alive.fetch_add(1, std::memory_order_relaxed); }
};

std::vector<const NotedCall*> path_to(const NotedCall* last) {
  std::vector<const NotedCall*> path;
  for (; last->before != nullptr; last = last->before) path.push_back(last);
  std::reverse(path.begin(), path.end());
  return path;
}

// `own` gets the memory of `other`, which is nobody else's.
void take_memory(Storage& own, Storage& other) {
  std::swap(own.data, other.data);
  std::swap(own.nbytes, other.nbytes);
  own.resizable = true;
}

}  // namespace

void Deferrer::settle(const char* reason) {
  while (busy_) {
    if (computing_ == std::this_thread::get_id()) return;  // asked by what it calls itself
    segments_->wait();
  }
  if (noted_ == 0 || !failed_.empty()) return;
  busy_ = true;
  computing_ = std::this_thread::get_id();
  struct Done {
    bool& busy;
    ~Done() { busy = false; }
  } done{busy_};
  const HandlerGuard without(active_handler != nullptr ? parent : nullptr);
  const NoAutocast plain;
  const GradModeGuard off(false);
  const Generator::State random = default_generator().get_state();
  for (size_t k = 0; k < inputs_.size(); ++k)
    MG_INTERNAL(inputs_[k]->storage->version == versions_[k], "a tensor was written to while deferred calls had to read it");
  try {
    compute(reason);
  } catch (const std::exception&) {
    default_generator().set_state(random);
    one_by_one();
  }
  begin_anew();
}

void Deferrer::begin_anew() {
  at_ = &segments_->root;
  noted_ = storages_ = 0;
  storage_.clear();
  versions_.clear();
  numbers_.clear();
  tensors_.clear();
  const std::vector<Tensor> gone = std::move(inputs_);
  inputs_.clear();
}

std::vector<int> Deferrer::alive() const {
  std::vector<int> ids;
  for (const TensorImpl* t : tensors_)
    if (t != nullptr) ids.push_back(int(standin_of(*t)->id));
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

Graph Deferrer::graph(const std::vector<int>& alive) const {
  Graph g;
  for (const NotedCall* step : path_to(at_)) {
    for (size_t k = 0; k < step->inputs; ++k) g.inputs.push_back(int(g.values.size() + k));
    g.values.insert(g.values.end(), step->fresh.begin(), step->fresh.end());
    g.calls.push_back(step->call);
  }
  g.outputs = alive;
  return renumbered(std::move(g));
}

std::shared_ptr<Plan> Deferrer::plan_for(const std::vector<int>& alive, const char* reason) {
  for (NotedCall::Ending& e : at_->endings)
    if (e.alive == alive) {
      ++e.runs;
      return e.plan;
    }
  ++segments_->plans;
  NotedCall::Ending made{alive, nullptr, std::string(reason), 1};
  const std::string line = segments_->current_line();
  if (!line.empty()) made.reason += ", at " + line;
  made.plan = segments_->make_plan(graph(alive));
  at_->endings.push_back(made);
  return made.plan;
}

void Deferrer::compute(const char* reason) {
  const std::vector<int> ids = alive();
  const std::shared_ptr<Plan> plan = plan_for(ids, reason);
  std::vector<Tensor> results;
  {
    const Uncounted ours;
    results = plan->run(inputs_);
  }
  ++segments_->settled;
  give_data(ids, results);
}

// results[k] is value ids[k]. Tensors that share memory share it afterwards: the storage that they have gets the bytes.
void Deferrer::give_data(const std::vector<int>& ids, std::vector<Tensor>& results) {
  struct Place {
    Ref<Storage> own;
    std::vector<std::pair<Tensor, size_t>> tensors;  // and which result each is
    bool fits = true;                                // the results' memory will do as it is
  };
  std::vector<Place> places;
  std::unordered_map<const Storage*, size_t> known;
  for (TensorImpl*& t : tensors_) {
    if (t == nullptr) continue;
    const auto at = std::lower_bound(ids.begin(), ids.end(), int(standin_of(*t)->id));
    if (at == ids.end() || *at != standin_of(*t)->id) continue;  // could not be computed
    const auto [found, fresh] = known.try_emplace(t->storage.get(), places.size());
    if (fresh) places.push_back({t->storage, {}, true});
    places[found->second].tensors.emplace_back(t, size_t(at - ids.begin()));
    t = nullptr;
  }
  for (Place& p : places) {
    const Tensor& first = results[p.tensors[0].second];
    std::vector<size_t> which;
    for (const auto& [t, k] : p.tensors) {
      const Tensor& r = results[k];
      p.fits = p.fits && r.use_count() == 1 && r->storage == first->storage && r->offset == t->offset && r.strides() == t->strides && r.dtype() == t->dtype;
      which.push_back(k);
    }
    std::sort(which.begin(), which.end());
    const auto holders = std::unique(which.begin(), which.end()) - which.begin();
    Storage& s = *first->storage;
    p.fits = p.fits && first->storage.use_count() == uint32_t(holders) && s.release == nullptr && s.device == p.own->device && s.nbytes >= p.own->nbytes;
    for (const auto& [t, k] : p.tensors) drop_standin(*t);
    const Ref<Storage> own_memory = p.fits ? first->storage : Storage::allocate(p.own->nbytes, p.own->device);
    take_memory(*p.own, *own_memory);
    for (const auto& [t, k] : p.tensors)
      if (!p.fits) copy_into(t, results[k]);
  }
}

// The plan raised. The calls in their order, as far as they go: what was computed before the one that raises has its data, as it would eagerly.
void Deferrer::one_by_one() {
  std::vector<Tensor> slots(storage_.size());
  size_t input = 0, id = 0;
  std::exception_ptr error;
  for (const NotedCall* step : path_to(at_)) {
    for (size_t k = 0; k < step->inputs; ++k) slots[id++] = inputs_[input++];
    try {
      CallArguments args(step->call, slots);
      Tensor outs[kMaxOutputs];
      call(*step->call.op, args.values, outs, step->call.mode);
      for (size_t k = 0; k < step->call.outs.size(); ++k) slots[size_t(step->call.outs[k])] = std::move(outs[k]);
      id += step->call.outs.size();
    } catch (Error& e) {
      if (step->call.line != segments_->current_line()) e.message += "\n  computed here; called at:  " + step->call.line;
      failed_ = e.message;
      error = std::current_exception();
    } catch (const std::exception& e) {
      failed_ = e.what();
      error = std::current_exception();
    }
    if (error != nullptr) break;
  }
  std::vector<int> ids = alive();
  std::vector<Tensor> results;
  std::erase_if(ids, [&](int k) { return !slots[size_t(k)].defined(); });
  for (int k : ids) results.push_back(std::move(slots[size_t(k)]));
  slots.clear();
  give_data(ids, results);
  segments_->plans += 8;  // what fails again and again is better left alone
  if (error != nullptr) {
    begin_anew();
    std::rethrow_exception(error);
  }
}

}  // namespace mg
