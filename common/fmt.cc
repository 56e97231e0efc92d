// {fmt}'s own functions, compiled once. With FMT_HEADER_ONLY each file that includes <fmt/format.h>
// would compile them all, which takes twice as long; Debian has no libfmt.a to link instead.
#include <fmt/format-inl.h>

// The templates that <fmt/format.h> declares without defining them.
template FMT_API auto fmt::detail::dragonbox::to_decimal(float x) noexcept
    -> dragonbox::decimal_fp<float>;
template FMT_API auto fmt::detail::dragonbox::to_decimal(double x) noexcept
    -> dragonbox::decimal_fp<double>;
template FMT_API auto fmt::detail::thousands_sep_impl(locale_ref) -> thousands_sep_result<char>;
template FMT_API auto fmt::detail::decimal_point_impl(locale_ref) -> char;
template FMT_API void fmt::detail::buffer<char>::append(const char*, const char*);
