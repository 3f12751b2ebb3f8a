// What Boost asks of a program that is compiled without exceptions: to say what happens where Boost
// would throw.
#include <boost/throw_exception.hpp>

#include <cstdio>
#include <cstdlib>
#include <exception>

namespace boost {

void throw_exception(const std::exception& exception) {
  std::fprintf(stderr, "%s\n", exception.what());
  std::abort();
}

void throw_exception(const std::exception& exception, const boost::source_location& /*location*/) {
  throw_exception(exception);
}

} // namespace boost
