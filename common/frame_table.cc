// For static programs, whose first exception took 2 ms because a table of all functions had to be
// sorted.
//
// GCC's start-up code for them, crtbeginT.o, registers .eh_frame, which is not sorted. With
// --eh-frame-hdr the linker adds a sorted table, which the unwinder finds by dl_iterate_phdr(3) if
// nothing is registered. So the linker option --wrap, in BUILD.bazel, makes crtbeginT.o call these
// functions, which register nothing. For i386, GCC's start-up code calls those that end in _bases.

// NOLINTBEGIN(bugprone-reserved-identifier): the linker prescribes their names

extern "C" void __wrap___register_frame_info(const void* /*begin*/, void* /*object*/) {}
extern "C" void* __wrap___deregister_frame_info(const void* /*begin*/) { return nullptr; }
extern "C" void __wrap___register_frame_info_bases(const void* /*begin*/, void* /*object*/,
                                                   void* /*text*/, void* /*data*/) {}
extern "C" void* __wrap___deregister_frame_info_bases(const void* /*begin*/) { return nullptr; }

// NOLINTEND(bugprone-reserved-identifier)
