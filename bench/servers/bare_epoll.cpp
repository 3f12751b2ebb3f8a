// The cheapest possible epoll server: one loop that reads, then writes a constant answer.
//   bare_epoll [--edge] [PORT]      (without PORT: any free port; always on loopback)
// --edge: connections are watched edge-triggered, as the server's own epoll set watches them.
#include "bench/servers/bare.hpp"

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cstddef>

namespace {

using bare::check;
using bare::kAnswer;

constexpr std::uint32_t kEnd = EPOLLRDHUP | EPOLLHUP | EPOLLERR;

void watch(int epoll, int fd, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  check(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

void accept_all(int epoll, int listener, std::uint32_t events) {
  for (int fd; (fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
    watch(epoll, fd, events);
  }
}

// Whether there may be more to read, without an event that says so. A read that did not fill its
// buffer took everything, unless the client's end had arrived: data and end may share one edge.
bool may_hold_more(std::size_t size, std::size_t room, std::uint32_t events) {
  return size == room || (events & kEnd) != 0;
}

// Level-triggered: what is left makes the next event. Edge-triggered: nothing may be left.
void answer(int fd, std::uint32_t events, bool edge) {
  std::array<char, 16 * 1024> request;
  for (;;) {
    const ssize_t size = recv(fd, request.data(), request.size(), 0);
    if (size < 0 && errno == EAGAIN) {
      return;
    }
    if (size <= 0 || send(fd, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL) !=
                         static_cast<ssize_t>(kAnswer.size())) {
      close(fd);
      return;
    }
    if (!edge || !may_hold_more(static_cast<std::size_t>(size), request.size(), events)) {
      return;
    }
  }
}

[[noreturn]] void serve(int listener, bool edge) {
  const int epoll = check(epoll_create1(0), "epoll_create1");
  watch(epoll, listener, EPOLLIN);
  const std::uint32_t watched = edge ? EPOLLIN | EPOLLRDHUP | EPOLLET : EPOLLIN;
  bare::announce(listener);
  std::array<epoll_event, 128> ready;
  for (;;) {
    const int count = epoll_wait(epoll, ready.data(), static_cast<int>(ready.size()), -1);
    for (int i = 0; i < count; ++i) {
      const auto& [events, data] = ready[static_cast<std::size_t>(i)];
      data.fd == listener ? accept_all(epoll, listener, watched) : answer(data.fd, events, edge);
    }
  }
}

} // namespace

int main(int argc, char** argv) {
  const bool edge = argc > 1 && std::string_view(argv[1]) == "--edge";
  const int first = edge ? 2 : 1;
  const auto port = first < argc ? bare::port_of(argv[first]) : 0;
  if (!port || argc > first + 1) {
    std::fputs("usage: bare_epoll [--edge] [PORT]\n", stderr);
    return 2;
  }
  try {
    bare::raise_file_limit();
    serve(bare::listen_on(*port), edge);
  } catch (const std::system_error& error) {
    std::fprintf(stderr, "bare_epoll: %s\n", error.what());
    return 1;
  }
}
