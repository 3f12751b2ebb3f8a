#include "server/log_file.hpp"

#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace server {
namespace {

class LogFiles : public testing::Test {
protected:
  ~LogFiles() override { std::filesystem::remove_all(folder_); }

  static std::uint64_t append(LogFile& file, std::string lines) { return file.append(lines); }

  static std::string text_of(const std::string& name) {
    std::ifstream file(name);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  static std::string read_all(int descriptor) {
    std::string text(1 << 20, '\0');
    const ssize_t size = read(descriptor, text.data(), text.size());
    text.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
    return text;
  }

  std::string pattern_ = std::filesystem::temp_directory_path() / "log_file_XXXXXX";
  const std::string folder_ = mkdtemp(pattern_.data());
  const std::string name_ = folder_ + "/log";
};

// As long as it lives, no file of this process may grow beyond a size.
class SizeLimit {
public:
  explicit SizeLimit(rlim_t size) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{.rlim_cur = size, .rlim_max = before_.rlim_max};
    std::signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }
  SizeLimit(const SizeLimit&) = delete;
  SizeLimit& operator=(const SizeLimit&) = delete;

private:
  rlimit before_{};
};

TEST_F(LogFiles, FinishALineThatWasCutBeforeAnyOther) {
  LogFile file(name_);
  {
    const SizeLimit limit(7);
    EXPECT_EQ(append(file, "one\ntwo and\nthree\nfour\n"), 2U);
    EXPECT_EQ(append(file, "five\n"), 1U);
  }
  EXPECT_EQ(append(file, "six\n"), 0U);
  EXPECT_EQ(text_of(name_), "one\ntwo and\nsix\n");
}

TEST_F(LogFiles, DropALineThatWasCutWhenTheNextFileIsOpened) {
  LogFile file(name_);
  {
    const SizeLimit limit(5);
    EXPECT_EQ(append(file, "one\ntwo\n"), 0U);
    std::filesystem::rename(name_, name_ + ".1");
    EXPECT_EQ(file.reopen(), std::nullopt);
  }
  EXPECT_EQ(append(file, "three\n"), 1U);
  EXPECT_EQ(text_of(name_), "three\n");
}

TEST_F(LogFiles, FinishALineThatWasCutBeforeTheNextFileIsOpened) {
  LogFile file(name_);
  {
    const SizeLimit limit(5);
    EXPECT_EQ(append(file, "one\ntwo\n"), 0U);
  }
  std::filesystem::rename(name_, name_ + ".1");
  EXPECT_EQ(file.reopen(), std::nullopt);
  EXPECT_EQ(append(file, "three\n"), 0U);
  EXPECT_EQ(text_of(name_ + ".1"), "one\ntwo\n");
  EXPECT_EQ(text_of(name_), "three\n");
}

TEST_F(LogFiles, KeepALongLineTogetherInAPipeThatFillsUp) {
  ASSERT_EQ(mkfifo(name_.c_str(), 0600), 0);
  const int reader = open(name_.c_str(), O_RDONLY | O_NONBLOCK);
  LogFile file(name_);
  const std::string filler = std::string(4095, 'f') + '\n';
  std::string expected;
  while (append(file, filler) == 0) {
    expected += filler;
  }
  ASSERT_GE(expected.size(), 2 * filler.size());
  EXPECT_EQ(read(reader, expected.data(), filler.size()), static_cast<ssize_t>(filler.size()));
  expected.erase(0, filler.size());
  const std::string line = std::string(6000, 'x') + '\n';
  EXPECT_EQ(append(file, line), 0U);   // there is room for a part
  EXPECT_EQ(append(file, "no\n"), 1U); // and now for none
  expected += read_all(reader).substr(expected.size());
  EXPECT_EQ(append(file, "yes\n"), 0U);
  EXPECT_EQ(expected.substr(expected.size() - 4096) + read_all(reader), line + "yes\n");
  close(reader);
}

} // namespace
} // namespace server
