// For static programs, whose first exception took 2 ms: a table of all functions had to be sorted.
//
// GCC's start-up code for them, crtbeginT.o, registers .eh_frame, which is not sorted. With
// --eh-frame-hdr the linker adds a sorted table, which the unwinder finds, by dl_iterate_phdr(3),
// if nothing is registered. So --wrap, in BUILD.bazel, has crtbeginT.o call these instead.

// NOLINTBEGIN(bugprone-reserved-identifier): the linker decides how they are called

extern "C" void __wrap___register_frame_info(const void* /*begin*/, void* /*object*/) {}
extern "C" void* __wrap___deregister_frame_info(const void* /*begin*/) { return nullptr; }

// NOLINTEND(bugprone-reserved-identifier)
