// Shared memory segments: creation, mapping, leases. See shared_memory.h.
#include "shared_memory.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <unordered_map>

#include "error.h"

#if defined(__linux__)
#include <fcntl.h>
#endif

namespace mg {

namespace {

std::atomic<uint32_t> forks{0};

// Segments this process has mapped, so that one that arrives twice is mapped once. Leaked: leases may end until the process is gone.
struct Mapped {
  std::mutex mutex;
  std::unordered_map<uint64_t, std::weak_ptr<SharedSegment>> by_inode;
};

Mapped& mapped_segments() {
  static Mapped& instance = []() -> Mapped& {
    static Mapped* m = new Mapped;
    // Before the fork: parent and child both see the new count, see Note [Leased segments].
    pthread_atfork([] { forks.fetch_add(1); m->mutex.lock(); }, [] { m->mutex.unlock(); }, [] { m->mutex.unlock(); });
    return *m;
  }();
  return instance;
}

[[noreturn]] void fail_system(const char* what, int error) {
  fail(error == ENOMEM ? ErrorKind::Memory : ErrorKind::Runtime, "shared memory: ", what, ": ", std::strerror(error), " (errno ", error, ")",
       error == EMFILE ? ". Try `ulimit -n` with a larger number: every shared tensor holds a file descriptor." : "");
}

int anonymous_file() {
#if defined(__linux__)
  return memfd_create("minigrad", MFD_CLOEXEC | MFD_ALLOW_SEALING);
#else
  errno = ENOSYS;
  return -1;
#endif
}

}  // namespace

std::shared_ptr<SharedSegment> SharedSegment::map(int fd, size_t mapped, uint64_t inode) {
  void* mapping = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapping == MAP_FAILED) {
    const int error = errno;
    ::close(fd);
    fail_system("cannot map a segment", error);
  }
  std::shared_ptr<SharedSegment> segment(new SharedSegment(fd, mapping, mapped, inode));
  Mapped& all = mapped_segments();
  std::lock_guard lock(all.mutex);
  all.by_inode[inode] = segment;
  return segment;
}

std::shared_ptr<SharedSegment> SharedSegment::create(size_t nbytes) {
  MG_CHECK(nbytes < size_t(PTRDIFF_MAX) / 2, Memory, "shared memory: no machine has ", nbytes, " bytes");
  const int fd = anonymous_file();
  if (fd < 0) fail_system("cannot create a segment", errno);
  struct stat info;
  if (ftruncate(fd, off_t(nbytes + kHeader)) != 0 || fstat(fd, &info) != 0) {
    const int error = errno;
    ::close(fd);
    fail_system("cannot size a segment", error);
  }
#if defined(__linux__)
  fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);  // nobody can cut it under a mapping
#endif
  return map(fd, nbytes + kHeader, info.st_ino);
}

std::shared_ptr<SharedSegment> SharedSegment::open(int fd) {
  struct stat info;
  if (fstat(fd, &info) != 0) fail_system("not an open file", errno);
  if (info.st_size < off_t(kHeader)) {
    ::close(fd);
    fail(ErrorKind::Value, "shared memory: not a segment: got a file of ", info.st_size, " bytes");
  }
  Mapped& all = mapped_segments();
  {
    std::lock_guard lock(all.mutex);
    auto found = all.by_inode.find(info.st_ino);
    if (found != all.by_inode.end()) {
      if (std::shared_ptr<SharedSegment> segment = found->second.lock()) {
        if (segment->fd_ < 0)
          segment->fd_ = fd;
        else
          ::close(fd);
        return segment;
      }
    }
  }
  return map(fd, size_t(info.st_size), info.st_ino);
}

SharedSegment::~SharedSegment() {
  Mapped& all = mapped_segments();
  {
    std::lock_guard lock(all.mutex);
    auto found = all.by_inode.find(inode_);
    if (found != all.by_inode.end() && found->second.expired()) all.by_inode.erase(found);
  }
  munmap(mapping_, mapped_);
  close_fd();
}

void SharedSegment::close_fd() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

SegmentLease::SegmentLease(std::shared_ptr<SharedSegment> segment, bool returned)
    : segment_(std::move(segment)), returned_(returned), forks_(forks.load()) {}

SegmentLease::~SegmentLease() {
  if (returned_) segment_->set_state(forks.load() == forks_ ? SegmentState::Free : SegmentState::Retired);
}

static void release_lease(void* owner) { delete static_cast<std::shared_ptr<SegmentLease>*>(owner); }

Ref<Storage> storage_on(const std::shared_ptr<SegmentLease>& lease, size_t offset, size_t nbytes) {
  const size_t room = lease->segment()->nbytes();
  MG_CHECK(offset <= room && nbytes <= room - offset, Value, "shared memory: bytes ", offset, " to ", offset + nbytes,
           " do not lie in a segment of ", room);
  return Storage::foreign(lease->segment()->data() + offset, nbytes, Device{}, release_lease, new std::shared_ptr<SegmentLease>(lease));
}

const SegmentLease* lease_of(const Storage& storage) {
  return storage.release == release_lease ? static_cast<std::shared_ptr<SegmentLease>*>(storage.owner)->get() : nullptr;
}

std::shared_ptr<SharedSegment> share_storage(Storage& storage) {
  const SegmentLease* lease = lease_of(storage);
  if (lease != nullptr && !lease->returned() && storage.data == lease->segment()->data()) return lease->segment();
  std::shared_ptr<SharedSegment> segment = SharedSegment::create(storage.nbytes);
  if (storage.nbytes != 0) std::memcpy(segment->data(), storage.data, storage.nbytes);
  Ref<Storage> moved = storage_on(std::make_shared<SegmentLease>(segment, false), 0, storage.nbytes);
  std::swap(storage.data, moved->data);  // `moved` now owns the old bytes and frees them its way
  std::swap(storage.release, moved->release);
  std::swap(storage.owner, moved->owner);
  std::swap(storage.resizable, moved->resizable);
  return segment;
}

}  // namespace mg
