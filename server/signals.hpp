// What the process does when it gets a signal. README.md has the table for users.
//
// Supervisors, log rotators and terminals send more signals than SIGTERM, and the default action of
// most of them ends a process. Here only those that report a bug do that.
#pragma once

#include <array>
#include <csignal>

namespace server {

// Each of these asks the server to drain and end.
inline constexpr std::array kDrainSignals{SIGTERM, SIGINT, SIGQUIT, SIGPWR, SIGXCPU};

// Each of these asks it to reopen its log; the first one also to read its configuration again.
inline constexpr int kReloadSignal = SIGHUP;
inline constexpr std::array kReopenSignals{SIGHUP, SIGUSR1};

// To be called first. From here on each signal does what the table says, unless a library that was
// loaded before main() handles it, as profilers do. What the process inherits, signals that are
// ignored or blocked, changes nothing. Two kinds are special until the server handles them: one
// that asks the server to end does so at once, with exit code 0, because there is nothing to drain.
// One that asks it to reopen its log is held back.
void prepare_signals();

// To be called once the signals above are handled: lets through what was held back.
void let_signals_through();

// Holds back the signals above, because nobody will handle them any more, and their default action
// must not end a process that is being torn down.
void hold_signals();

} // namespace server
