#include "server/signals.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <span>

namespace server {
namespace {

// SIGPIPE, SIGXFSZ: a write that fails says so by its result.
// SIGTTIN, SIGTTOU: these would stop a server in the background that logs to its terminal.
constexpr std::array kIgnoredSignals{SIGPIPE, SIGXFSZ, SIGTTIN,   SIGTTOU, SIGUSR2,
                                     SIGALRM, SIGPROF, SIGVTALRM, SIGIO,   SIGSTKFLT};

// Those that report a bug, and the one that stops the process.
constexpr std::array kDefaultSignals{SIGILL, SIGTRAP, SIGABRT, SIGBUS,
                                     SIGFPE, SIGSEGV, SIGSYS,  SIGTSTP};

constexpr int kFirstRealTimeSignal = 32;

using Handler = void (*)(int);

// Replaces what the process has inherited, but no handler.
void set_action(int signal, Handler handler) {
  struct sigaction action {};
  if (sigaction(signal, nullptr, &action) == 0 &&
      (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN)) {
    std::signal(signal, handler);
  }
}

// The C library keeps the first real-time signals for itself, and refuses to set their action. It
// replaces this one when it comes to need them.
void ignore_reserved(int signal) {
  struct { // the argument of the system call
    Handler handler = SIG_DFL;
    unsigned long flags = 0;
    void (*restorer)() = nullptr;
    unsigned long mask = 0;
  } action;
  if (syscall(SYS_rt_sigaction, signal, nullptr, &action, sizeof action.mask) == 0 &&
      action.handler == SIG_DFL) {
    action.handler = SIG_IGN;
    syscall(SYS_rt_sigaction, signal, &action, nullptr, sizeof action.mask);
  }
}

void change_mask(int how, std::span<const int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : signals) {
    sigaddset(&set, signal);
  }
  pthread_sigmask(how, &set, nullptr);
}

} // namespace

void prepare_signals() {
  for (const int signal : kIgnoredSignals) {
    set_action(signal, SIG_IGN);
  }
  for (int signal = kFirstRealTimeSignal; signal < SIGRTMIN; ++signal) {
    ignore_reserved(signal);
  }
  for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) {
    set_action(signal, SIG_IGN);
  }
  for (const int signal : kDefaultSignals) {
    set_action(signal, SIG_DFL);
  }
  // The default action would not end the first process of a container.
  for (const int signal : kDrainSignals) {
    set_action(signal, [](int) { _exit(0); });
  }
  change_mask(SIG_SETMASK, kReopenSignals);
}

void let_signals_through() { change_mask(SIG_UNBLOCK, kReopenSignals); }

void hold_signals() {
  change_mask(SIG_BLOCK, kReopenSignals);
  change_mask(SIG_BLOCK, kDrainSignals);
}

} // namespace server
