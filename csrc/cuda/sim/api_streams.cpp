// The CUDA runtime API, second half: streams, events, graph capture and replay.
#include <utility>

#include "queue.h"

namespace cudasim {
namespace {
void join_capture(CUstream_st* stream, CUgraph_st* capture) {
  stream->capture = capture;
  stream->before_capture = std::exchange(stream->tail, nullptr);
  capture->members.insert(stream);
}

template <class T>
cudaError_t destroy(std::set<T*>& all, T* one) {
  if (all.erase(one) == 0) return cudaErrorInvalidResourceHandle;
  delete one;
  return cudaSuccess;
}
}  // namespace
}  // namespace cudasim

using namespace cudasim;

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return api([&](Runtime& r) {
    *stream = new CUstream_st{
        .number = ++r.streams_made, .blocking = flags != cudaStreamNonBlocking, .tail = {}, .before_capture = {}};
    r.streams.insert(*stream);
    return cudaSuccess;
  });
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0, *greatest = -5;
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  return api([&](Runtime& r) -> cudaError_t {
    if (stream == nullptr || !known(stream)) return cudaErrorInvalidResourceHandle;
    if (stream->capture != nullptr) return invalidate(stream->capture, cudaErrorStreamCaptureUnsupported);
    if (stream->tail) settle(Op(stream->tail));
    return destroy(r.streams, stream);
  });
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return api([&](Runtime&) -> cudaError_t {
    if (!known(stream)) return cudaErrorInvalidResourceHandle;
    CUDASIM_TRY(refuse_capture());
    if (stream == nullptr)
      CUDASIM_TRY(enqueue(nullptr, {"synchronisation", {}, {}}));  // waits for the blocking streams too
    if (const Op tail = stream_of(stream)->tail) settle(tail);
    return cudaSuccess;
  });
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  return api([&](Runtime&) -> cudaError_t {
    if (!known(stream)) return cudaErrorInvalidResourceHandle;
    if (CUgraph_st* capture = stream_of(stream)->capture) return invalidate(capture, cudaErrorStreamCaptureUnsupported);
    return poll(Op(stream_of(stream)->tail));
  });
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  return api([&](Runtime& r) -> cudaError_t {
    if (!known(stream) || !r.events.contains(event)) return cudaErrorInvalidResourceHandle;
    CUstream_st* s = stream_of(stream);
    if (!event->op) return cudaSuccess;
    if (event->op->captured) {
      if (!r.captures.contains(event->capture)) return cudaErrorCapturedEvent;
      if (s->capture == nullptr && stream != nullptr) join_capture(s, event->capture);
      if (s->capture != event->capture) return invalidate(event->capture, cudaErrorStreamCaptureIsolation);
    } else if (s->capture != nullptr) {
      return invalidate(s->capture, cudaErrorStreamCaptureIsolation);
    }
    return enqueue(stream, {"wait for an event", {}, {}}, event->op);
  });
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, void (*f)(void*), void* argument) {
  const auto run = [f, argument] {
    close_memory("host function");
    f(argument);
    open_memory();
  };
  return api([&](Runtime&) { return enqueue(stream, {"host function" + on_stream(stream), run, {}}); });
}
cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  return api([&](Runtime& r) {
    *event = new CUevent_st{.timing = (flags & cudaEventDisableTiming) == 0, .op = {}};
    r.events.insert(*event);
    return cudaSuccess;
  });
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  return api([&](Runtime& r) { return destroy(r.events, event); });
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return api([&](Runtime& r) -> cudaError_t {
    if (!r.events.contains(event)) return cudaErrorInvalidResourceHandle;
    CUDASIM_TRY(enqueue(stream, {"event" + on_stream(stream), {}, {}}));
    event->op = stream_of(stream)->tail;
    event->capture = stream_of(stream)->capture;
    return cudaSuccess;
  });
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return api([&](Runtime& r) -> cudaError_t {
    if (!r.events.contains(event)) return cudaErrorInvalidResourceHandle;
    if (event->op && event->op->captured) return cudaErrorCapturedEvent;
    CUDASIM_TRY(refuse_capture());
    if (event->op) settle(event->op);
    return cudaSuccess;
  });
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  return api([&](Runtime& r) -> cudaError_t {
    if (!r.events.contains(event)) return cudaErrorInvalidResourceHandle;
    if (event->op && event->op->captured) return cudaErrorCapturedEvent;
    return poll(event->op);
  });
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  return api([&](Runtime& r) -> cudaError_t {
    for (const cudaEvent_t e : {from, to})
      if (!r.events.contains(e) || !e->op || !e->timing || e->op->captured) return cudaErrorInvalidResourceHandle;
    if (!from->op->done || !to->op->done) return cudaErrorNotReady;
    *milliseconds = std::chrono::duration<float, std::milli>(to->op->finished - from->op->finished).count();
    return cudaSuccess;
  });
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, thread_capture_mode());
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  return api([&](Runtime& r) -> cudaError_t {
    if (stream == nullptr || !known(stream) || stream->capture != nullptr) return cudaErrorStreamCaptureUnsupported;
    CUgraph_st* capture = new CUgraph_st;
    capture->origin = stream;
    r.captures.insert(capture);
    join_capture(stream, capture);
    return cudaSuccess;
  });
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return api([&](Runtime& r) -> cudaError_t {
    *graph = nullptr;
    if (stream == nullptr || !known(stream) || stream->capture == nullptr) return cudaErrorInvalidValue;
    CUgraph_st* capture = stream->capture;
    if (capture->origin != stream) return invalidate(capture, cudaErrorStreamCaptureUnmatched);
    bool joined = true;
    for (CUstream_st* member : capture->members)
      joined = joined && (!member->tail || follows(stream->tail, member->tail));
    for (CUstream_st* member : capture->members) {
      member->capture = nullptr;
      member->tail = std::exchange(member->before_capture, nullptr);
    }
    r.captures.erase(capture);
    const std::unique_ptr<CUgraph_st> given_up(capture->invalid || !joined ? capture : nullptr);
    if (given_up) return given_up->invalid ? cudaErrorStreamCaptureInvalidated : cudaErrorStreamCaptureUnjoined;
    r.graphs.insert(*graph = capture);
    return cudaSuccess;
  });
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  return api([&](Runtime&) -> cudaError_t {
    if (!known(stream)) return cudaErrorInvalidResourceHandle;
    const CUgraph_st* capture = stream_of(stream)->capture;
    *status = capture == nullptr ? cudaStreamCaptureStatusNone
              : capture->invalid ? cudaStreamCaptureStatusInvalidated
                                 : cudaStreamCaptureStatusActive;
    return cudaSuccess;
  });
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  return api([&](Runtime& r) -> cudaError_t {
    if (!r.graphs.contains(graph)) return cudaErrorInvalidValue;
    r.executables.insert(*executable = new CUgraphExec_st{graph->nodes});
    return cudaSuccess;
  });
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return api([&](Runtime& r) -> cudaError_t {
    if (!r.executables.contains(executable)) return cudaErrorInvalidValue;
    return enqueue(stream, {"graph" + on_stream(stream), {}, {}, executable->nodes});
  });
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  return api([&](Runtime& r) { return destroy(r.graphs, graph); });
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  return api([&](Runtime& r) { return destroy(r.executables, executable); });
}
