#include "server/signals.hpp"

namespace server {
namespace {

// SIGPIPE, SIGXFSZ: a write that fails says so by its result.
// SIGTTIN, SIGTTOU: these would stop a server in the background that logs to its terminal.
constexpr std::array kIgnoredSignals{SIGPIPE, SIGXFSZ, SIGTTIN,   SIGTTOU, SIGUSR2,
                                     SIGALRM, SIGPROF, SIGVTALRM, SIGIO,   SIGSTKFLT};

void ignore(int signal) {
  struct sigaction action {};
  if (sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_DFL) {
    std::signal(signal, SIG_IGN);
  }
}

sigset_t handled_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : kDrainSignals) {
    sigaddset(&signals, signal);
  }
  for (const int signal : kReopenSignals) {
    sigaddset(&signals, signal);
  }
  return signals;
}

void set_mask(int how) {
  const sigset_t signals = handled_signals();
  pthread_sigmask(how, &signals, nullptr);
}

} // namespace

void prepare_signals() {
  set_mask(SIG_SETMASK);
  for (const int signal : kIgnoredSignals) {
    ignore(signal);
  }
  for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) {
    ignore(signal);
  }
}

void let_signals_through() { set_mask(SIG_UNBLOCK); }

void hold_signals() { set_mask(SIG_BLOCK); }

} // namespace server
