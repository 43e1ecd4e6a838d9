#include "code_loader.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "../core/error.h"
#include "pointwise_table.h"
#include "stream.h"

#if defined(__x86_64__) && defined(__linux__)
#include <elf.h>
#include <sys/mman.h>
#define MG_LOADS_CODE 1
#endif

namespace mg::cpu {

#if MG_LOADS_CODE

namespace {

[[noreturn]] void refuse(const char* why) {
  fail(ErrorKind::Runtime, "compile: generated code cannot be loaded: ", why);
}

// What loaded code may need of a thread; freed with it.
void* scratch(int64_t bytes) {
  struct Buffer {
    void* data = nullptr;
    int64_t size = 0;
    ~Buffer() { std::free(data); }
  };
  thread_local Buffer buffer;
  if (bytes > buffer.size) {
    std::free(buffer.data);
    buffer.size = (bytes + 4095) / 4096 * 4096;
    buffer.data = std::aligned_alloc(4096, size_t(buffer.size));
    if (buffer.data == nullptr) buffer.size = 0;
    MG_CHECK(buffer.data != nullptr, Runtime, "compile: out of memory: no ", bytes, " bytes for a fused kernel");
  }
  return buffer.data;
}

// Stores around the caches become visible to the other threads.
void stream_end() { const Stream waits(true); }

// Function that the object calls, or null.
void* find_function(const std::string& name) {
  if (name == "scratch") return reinterpret_cast<void*>(&scratch);
  if (name == "stream_end") return reinterpret_cast<void*>(&stream_end);
  const size_t end = name.rfind('.');
  if (name.rfind("row.", 0) != 0 || end < 4) return nullptr;
  const PointwiseKernel* row = find_pointwise(name.substr(4, end - 4).c_str());
  const int dtype = std::atoi(name.c_str() + end + 1);
  if (row == nullptr || dtype < 0 || dtype >= kDTypes) return nullptr;
  return reinterpret_cast<void*>(row->fn[dtype]);
}

class Loader {
 public:
  explicit Loader(std::string_view object) : object_(object), header_(*at<Elf64_Ehdr>(0)) {}

  LoadedCode load() {
    if (std::memcmp(header_.e_ident, ELFMAG, SELFMAG) != 0 || header_.e_machine != EM_X86_64 ||
        header_.e_type != ET_REL)
      refuse("not an object file for x86-64");
    read_sections();
    read_symbols();
    place();
    for (const Elf64_Shdr& s : sections_)
      if (s.sh_type == SHT_RELA) relocate(s);
    if (mprotect(memory_, size_, PROT_READ | PROT_EXEC) != 0) refuse("memory cannot be made executable");
    LoadedCode code;
    for (size_t k = 0; k < symbols_.size(); ++k)
      if (ELF64_ST_TYPE(symbols_[k].st_info) == STT_FUNC && symbols_[k].st_shndx != SHN_UNDEF)
        code.functions[names_[k]] = reinterpret_cast<void*>(address(k));
    code.memory = std::move(owner_);
    return code;
  }

 private:
  template <class T>
  const T* at(uint64_t offset, uint64_t count = 1) const {
    if (offset > object_.size() || count > (object_.size() - offset) / sizeof(T)) refuse("it ends too early");
    return reinterpret_cast<const T*>(object_.data() + offset);
  }

  void read_sections() {
    const Elf64_Shdr* s = at<Elf64_Shdr>(header_.e_shoff, header_.e_shnum);
    for (int k = 0; k < header_.e_shnum; ++k) {
      Elf64_Shdr copy;
      std::memcpy(&copy, s + k, sizeof copy);
      if (copy.sh_type != SHT_NOBITS)
        at<char>(copy.sh_offset, copy.sh_size);
      else if ((copy.sh_flags & SHF_ALLOC) && copy.sh_size != 0)
        refuse("it has variables");
      sections_.push_back(copy);
    }
  }

  void read_symbols() {
    for (const Elf64_Shdr& s : sections_) {
      if (s.sh_type != SHT_SYMTAB) continue;
      if (s.sh_link >= sections_.size()) refuse("damaged");
      const Elf64_Shdr& text = sections_[s.sh_link];
      const std::string_view strings(object_.data() + text.sh_offset, text.sh_type == SHT_NOBITS ? 0 : text.sh_size);
      const size_t n = s.sh_size / sizeof(Elf64_Sym);
      if (n == 0) break;
      symbols_.resize(n);
      std::memcpy(symbols_.data(), object_.data() + s.sh_offset, n * sizeof(Elf64_Sym));
      for (const Elf64_Sym& symbol : symbols_) {
        if (symbol.st_name >= strings.size() && symbol.st_name != 0) refuse("damaged");
        const std::string_view rest = strings.substr(symbol.st_name);
        names_.emplace_back(rest.substr(0, rest.find('\0')));
        for (const char c : names_.back())
          if (c <= ' ' || c > '~') refuse("damaged");
      }
      return;
    }
    refuse("it defines nothing");
  }

  // One stretch of memory: the sections, then a jump for each function called.
  void place() {
    size_t size = 0;
    start_.assign(sections_.size(), kNowhere);
    for (size_t k = 0; k < sections_.size(); ++k) {
      const Elf64_Shdr& s = sections_[k];
      if (!(s.sh_flags & SHF_ALLOC) || s.sh_type == SHT_NOBITS || s.sh_type == SHT_X86_64_UNWIND ||
          s.sh_type == SHT_NOTE)
        continue;
      if (s.sh_flags & SHF_WRITE) refuse("it has variables");
      const size_t align = s.sh_addralign < 1 ? 1 : s.sh_addralign;
      if (align > 4096 || (align & (align - 1)) != 0) refuse("damaged");
      size = (size + align - 1) / align * align;
      start_[k] = size;
      size += s.sh_size;
    }
    jumps_ = (size + 15) / 16 * 16;
    size_ = (jumps_ + 16 * symbols_.size() + 4095) / 4096 * 4096;
    void* memory = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) refuse("out of memory");
    memory_ = static_cast<char*>(memory);
    owner_ = std::shared_ptr<void>(memory, [n = size_](void* p) { munmap(p, n); });
    for (size_t k = 0; k < sections_.size(); ++k)
      if (start_[k] != kNowhere && sections_[k].sh_size != 0)
        std::memcpy(memory_ + start_[k], object_.data() + sections_[k].sh_offset, sections_[k].sh_size);
    for (size_t k = 0; k < symbols_.size(); ++k)
      if (symbols_[k].st_shndx == SHN_UNDEF && !names_[k].empty()) make_jump(k);
  }

  void make_jump(size_t symbol) {  // jmp *[rip + 0]; address
    void* target = find_function(names_[symbol]);
    if (target == nullptr) refuse(("it calls " + names_[symbol] + ", which is not there").c_str());
    char* jump = memory_ + jumps_ + 16 * symbol;
    std::memcpy(jump, "\xff\x25\0\0\0\0", 6);
    std::memcpy(jump + 6, &target, 8);
  }

  uint64_t address(size_t symbol) const {
    if (symbol >= symbols_.size()) refuse("damaged");
    const Elf64_Sym& s = symbols_[symbol];
    if (s.st_shndx == SHN_UNDEF) return reinterpret_cast<uint64_t>(memory_ + jumps_ + 16 * symbol);
    if (s.st_shndx >= start_.size() || start_[s.st_shndx] == kNowhere || s.st_value > sections_[s.st_shndx].sh_size)
      refuse("damaged");
    return reinterpret_cast<uint64_t>(memory_ + start_[s.st_shndx] + s.st_value);
  }

  void relocate(const Elf64_Shdr& list) {
    if (list.sh_info >= start_.size() || start_[list.sh_info] == kNowhere) return;  // of a section that is left out
    const Elf64_Shdr& section = sections_[list.sh_info];
    for (size_t k = 0; k < list.sh_size / sizeof(Elf64_Rela); ++k) {
      Elf64_Rela r;
      std::memcpy(&r, object_.data() + list.sh_offset + k * sizeof r, sizeof r);
      const uint32_t type = ELF64_R_TYPE(r.r_info);
      const size_t bytes = type == R_X86_64_64 ? 8 : 4;
      if (section.sh_size < bytes || r.r_offset > section.sh_size - bytes) refuse("damaged");
      char* place = memory_ + start_[list.sh_info] + r.r_offset;
      uint64_t value = address(ELF64_R_SYM(r.r_info)) + uint64_t(r.r_addend);
      if (type == R_X86_64_PC32 || type == R_X86_64_PLT32)
        value -= reinterpret_cast<uint64_t>(place);
      else if (type != R_X86_64_64)
        refuse("it has an unknown kind of relocation");
      std::memcpy(place, &value, bytes);
    }
  }

  static constexpr size_t kNowhere = ~size_t(0);
  std::string_view object_;
  Elf64_Ehdr header_;
  std::vector<Elf64_Shdr> sections_;
  std::vector<Elf64_Sym> symbols_;
  std::vector<std::string> names_;
  std::vector<size_t> start_;  // of each section in memory
  size_t jumps_ = 0, size_ = 0;
  char* memory_ = nullptr;
  std::shared_ptr<void> owner_;
};

}  // namespace

bool can_load_code() { return true; }
LoadedCode load_code(std::string_view object) { return Loader(object).load(); }

#else

bool can_load_code() { return false; }
LoadedCode load_code(std::string_view) {
  fail(ErrorKind::NotImplemented, "compile: generated code is loaded on Linux on x86-64 only. Try the interpreter.");
}

#endif

}  // namespace mg::cpu
