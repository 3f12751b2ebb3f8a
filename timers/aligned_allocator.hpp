// An allocator whose arrays begin at a multiple of `alignment` bytes.
#pragma once

#include <cstddef>
#include <new>

namespace timers {

template <class T, std::size_t alignment> struct AlignedAllocator {
  using value_type = T;
  template <class Other> struct rebind { using other = AlignedAllocator<Other, alignment>; };

  AlignedAllocator() = default;
  template <class Other>
  AlignedAllocator(const AlignedAllocator<Other, alignment>& /*other*/) noexcept {}

  T* allocate(std::size_t count) {
    return static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t(alignment)));
  }
  void deallocate(T* array, std::size_t /*count*/) noexcept {
    ::operator delete(array, std::align_val_t(alignment));
  }

  bool operator==(const AlignedAllocator&) const = default;
};

} // namespace timers
