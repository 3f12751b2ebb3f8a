// Documents: what the resources of the admin listener answer with. They are composed outside of an
// exchange, and some must be waited for, because other threads have a part in them.
#pragma once

#include "server/resources.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace server {

struct Document {
  Status status = Status::ok;
  std::string_view content_type = "text/plain";
  std::string body{};
};

class Documents {
public:
  // Asks for a document as it is from now on. Returns the number to take it with.
  virtual std::uint64_t request(Resource::Kind kind) = 0;

  // The document; none while it has to be waited for.
  virtual std::optional<Document> take(Resource::Kind kind, std::uint64_t number) = 0;

protected:
  ~Documents() = default;
};

} // namespace server
