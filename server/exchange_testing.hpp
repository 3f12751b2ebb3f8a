// What tests of an exchange share: a client that talks to it without a socket.
#pragma once

#include "server/exchange.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace server {

class LineLog final : public ResponseLog {
public:
  void note(std::string_view client, std::string_view line, Status status,
            std::uint64_t content_length) override {
    lines.push_back(std::string(client) + " \"" + std::string(line) + "\" " +
                    std::to_string(static_cast<unsigned>(status)) + " " +
                    std::to_string(content_length));
  }
  std::vector<std::string> lines;
};

struct Config {
  WriteWindow window{};
  Scenario scenario = Scenario::respond;
  std::uint64_t mixed_period = 10;
  ResponseLog* log = nullptr;
};

// An exchange, and a client that sends and reads.
class Conversation {
public:
  explicit Conversation(Config config = {})
      : context_{.limits = {.max_header_bytes = 200, .max_headers = 5, .max_body_bytes = 100},
                 .window = config.window,
                 .scenario = {config.scenario, config.mixed_period},
                 .counters = counters_,
                 .log = config.log} {}

  void receive(std::string_view bytes) {
    exchange.receive(bytes);
    exchange.keep_input();
  }

  Outcome answer(std::string_view bytes, bool draining = false) {
    exchange.receive(bytes);
    const Outcome outcome = exchange.answer(draining);
    exchange.keep_input();
    return outcome;
  }

  // Everything that is queued, as a client reads it.
  std::string read() {
    std::string all;
    while (!exchange.output().empty()) {
      const auto pieces = exchange.output().front();
      all.append(pieces[0]).append(pieces[1]);
      exchange.output().consume(pieces[0].size() + pieces[1].size());
    }
    return all;
  }

  // The status lines of what is queued.
  std::vector<std::string> statuses() {
    std::vector<std::string> lines;
    const std::string all = read();
    for (std::size_t at = 0; (at = all.find("HTTP/1.1 ", at)) != std::string::npos; ++at) {
      lines.push_back(all.substr(at + 9, 3));
    }
    return lines;
  }

  const Counters& counters() const { return counters_; }

private:
  Counters counters_;
  ExchangeContext context_;

public:
  Exchange exchange{context_};
};

} // namespace server
