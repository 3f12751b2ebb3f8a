// The cheapest possible server: one epoll loop that reads, then writes a constant answer with as
// many bytes as that of idlewheel. It has no parser, no timeouts and no limits, so it shows what
// the kernel costs. It only works for clients that send one request at a time in one piece, as wrk
// does.
//   bare_epoll [PORT]      (without PORT: any free port; always on loopback)
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <system_error>

namespace {

constexpr std::string_view kAnswer = "HTTP/1.1 200 OK\r\nServer: idlewheel\r\n"
                                     "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                                     "Content-Length: 0\r\n\r\n";

int check(int result, const char* what) {
  if (result < 0) {
    throw std::system_error(errno, std::generic_category(), what);
  }
  return result;
}

int listen_on(std::uint16_t port) {
  const int listener = check(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
  const int on = 1;
  check(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "SO_REUSEADDR");
  check(setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), "TCP_NODELAY");
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  check(bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address), "bind");
  check(listen(listener, 4096), "listen");
  socklen_t size = sizeof address;
  check(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), "getsockname");
  std::printf("listening on http://127.0.0.1:%u\n", ntohs(address.sin_port));
  std::fflush(stdout);
  return listener;
}

void watch(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  check(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

void accept_all(int epoll, int listener) {
  for (int fd; (fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
    watch(epoll, fd);
  }
}

void answer(int fd) {
  std::array<char, 16 * 1024> request;
  const ssize_t size = recv(fd, request.data(), request.size(), 0);
  if (size > 0) {
    if (send(fd, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL) ==
        static_cast<ssize_t>(kAnswer.size())) {
      return;
    }
  } else if (size < 0 && errno == EAGAIN) {
    return;
  }
  close(fd);
}

[[noreturn]] void serve(int listener) {
  const int epoll = check(epoll_create1(0), "epoll_create1");
  watch(epoll, listener);
  std::array<epoll_event, 128> events;
  for (;;) {
    const int ready = epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < ready; ++i) {
      const int fd = events[static_cast<std::size_t>(i)].data.fd;
      fd == listener ? accept_all(epoll, listener) : answer(fd);
    }
  }
}

} // namespace

int main(int argc, char** argv) {
  try {
    rlimit files{};
    check(getrlimit(RLIMIT_NOFILE, &files), "getrlimit");
    files.rlim_cur = files.rlim_max;
    check(setrlimit(RLIMIT_NOFILE, &files), "setrlimit");
    serve(listen_on(static_cast<std::uint16_t>(argc > 1 ? std::atoi(argv[1]) : 0)));
  } catch (const std::system_error& error) {
    std::fprintf(stderr, "bare_epoll: %s\n", error.what());
    return 1;
  }
}
