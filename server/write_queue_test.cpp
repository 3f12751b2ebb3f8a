#include "server/write_queue.hpp"

#include <gtest/gtest.h>

#include <string>

namespace server {
namespace {

void queue_response(WriteQueue& queue, std::string_view bytes, std::uint64_t filler = 0) {
  queue.bytes() += bytes;
  queue.start_filler(filler);
  queue.end_response();
}

std::string front(const WriteQueue& queue) {
  const auto pieces = queue.front();
  return std::string(pieces[0]) + std::string(pieces[1]);
}

TEST(WriteQueue, IsEmptyAtFirst) {
  const WriteQueue queue;
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.size(), 0U);
  EXPECT_EQ(front(queue), "");
}

TEST(WriteQueue, GoesOnWhereAWriteEnded) {
  WriteQueue queue;
  queue_response(queue, "abc");
  queue_response(queue, "def");
  EXPECT_EQ(queue.responses(), 2U);
  queue.consume(4);
  EXPECT_EQ(front(queue), "ef");
  EXPECT_EQ(queue.size(), 2U);
  EXPECT_EQ(queue.responses(), 2U) << "of the batch, until it has left";
  queue.consume(2);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.responses(), 0U);
}

TEST(WriteQueue, HandsOutFillerInPiecesBehindItsHeader) {
  constexpr std::size_t kPiece = 64 * 1024;
  WriteQueue queue;
  queue_response(queue, "head", kPiece + 10);
  EXPECT_EQ(front(queue), "head" + std::string(kPiece, 'x'));
  queue.consume(2);
  EXPECT_EQ(front(queue), "ad" + std::string(kPiece, 'x'));
  queue.consume(2 + kPiece - 1);
  EXPECT_EQ(front(queue), std::string(11, 'x'));
  EXPECT_FALSE(queue.empty());
  queue.consume(11);
  EXPECT_TRUE(queue.empty());
}

TEST(WriteQueue, HasRoomUntilAWindowIsFull) {
  WriteQueue queue;
  EXPECT_TRUE(queue.has_room({.bytes = 0, .responses = 1})) << "the first always may join";
  queue_response(queue, "abcd");
  EXPECT_FALSE(queue.has_room({.bytes = 0, .responses = 100}));
  EXPECT_FALSE(queue.has_room({.bytes = 4, .responses = 100}));
  EXPECT_TRUE(queue.has_room({.bytes = 5, .responses = 100}));
  EXPECT_FALSE(queue.has_room({.bytes = 5, .responses = 1}));
  EXPECT_TRUE(queue.has_room({.bytes = 5, .responses = 2}));
}

TEST(WriteQueue, HasNoRoomBehindFiller) {
  WriteQueue queue;
  queue_response(queue, "a", 1);
  EXPECT_FALSE(queue.has_room({.bytes = 8192, .responses = 100}));
  queue.consume(1);
  EXPECT_FALSE(queue.has_room({.bytes = 8192, .responses = 100}));
  queue.consume(1);
  EXPECT_TRUE(queue.has_room({.bytes = 8192, .responses = 100}));
}

TEST(WriteQueue, IsUrgentUntilItHasLeft) {
  WriteQueue queue;
  queue.bytes() += "interim";
  queue.mark_urgent();
  queue.consume(3);
  EXPECT_TRUE(queue.urgent());
  queue.consume(4);
  EXPECT_FALSE(queue.urgent());
}

TEST(WriteQueue, WritesWhatCameBackBeforeWhatWasAppendedSince) {
  WriteQueue queue;
  queue_response(queue, "abc");
  queue.consume(3);
  queue_response(queue, "def");
  queue.put_back("bc");
  EXPECT_EQ(front(queue), "bcdef");
  EXPECT_EQ(queue.size(), 5U);
}

TEST(WriteQueue, WritesWhatCameBackBeforeFiller) {
  WriteQueue queue;
  queue_response(queue, "head", 3);
  queue.consume(4);
  queue.put_back("ad");
  EXPECT_EQ(front(queue), "adxxx");
  queue.consume(3);
  EXPECT_EQ(front(queue), "xx");
}

TEST(WriteQueue, WritesWhatCameBackBeforeTheRestOfWhatWasPartlyWritten) {
  WriteQueue queue;
  queue_response(queue, "abcdef");
  queue.consume(4);
  queue.put_back("cd");
  EXPECT_EQ(front(queue), "cdef");
  queue.consume(3);
  EXPECT_EQ(front(queue), "f");
  queue.consume(1);
  EXPECT_TRUE(queue.empty());
}

TEST(WriteQueue, ClearedForgetsEverything) {
  WriteQueue queue;
  queue_response(queue, "abc", 5);
  queue.mark_urgent();
  queue.consume(1);
  queue.clear();
  EXPECT_TRUE(queue.empty());
  EXPECT_FALSE(queue.urgent());
  EXPECT_EQ(queue.responses(), 0U);
  EXPECT_EQ(front(queue), "");
}

TEST(WriteQueue, GivesBackMemoryBeyondWhatIsToBeKept) {
  WriteQueue queue;
  queue.bytes().reserve(100'000);
  queue.shrink(200'000);
  EXPECT_GE(queue.bytes().capacity(), 100'000U);
  queue.shrink(1000);
  EXPECT_LE(queue.bytes().capacity(), 1000U);
}

} // namespace
} // namespace server
