// Conversations without a socket. The tests put bytes in, and look at the bytes of the answers and
// at what the exchange says about itself.
#include "server/exchange_testing.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <string_view>

namespace server {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

using namespace std::string_view_literals;

constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
constexpr std::string_view kHalf = "GET / HTTP/1.1\r\nHo";

std::string times(std::size_t count, std::string_view text) {
  std::string all;
  for (std::size_t i = 0; i < count; ++i) {
    all += text;
  }
  return all;
}

// ---- Requests and answers.

TEST(Exchange, AnswersACompleteRequestAndNeedsMore) {
  Conversation talk;
  EXPECT_EQ(talk.answer(kGet), Outcome::need_more);
  EXPECT_TRUE(talk.exchange.between_requests());
  EXPECT_TRUE(talk.exchange.in_progress()); // its response is not written yet
  const std::string answer = talk.read();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\nServer: idlewheel\r\nDate: "));
  EXPECT_THAT(answer, EndsWith("\r\nContent-Length: 0\r\n\r\n"));
  EXPECT_FALSE(talk.exchange.in_progress());
  EXPECT_EQ(talk.counters().requests, 1U);
  EXPECT_EQ(talk.counters().responses, 1U);
}

TEST(Exchange, KeepsHalfARequestUntilTheRestComes) {
  Conversation talk;
  EXPECT_EQ(talk.answer(kGet.substr(0, 10)), Outcome::need_more);
  EXPECT_FALSE(talk.exchange.between_requests());
  EXPECT_TRUE(talk.exchange.in_progress());
  EXPECT_TRUE(talk.exchange.may_refuse());
  EXPECT_FALSE(talk.exchange.take_answered());
  EXPECT_EQ(talk.answer(kGet.substr(10)), Outcome::need_more);
  EXPECT_THAT(talk.statuses(), ElementsAre("200"));
  EXPECT_TRUE(talk.exchange.take_answered());
  EXPECT_FALSE(talk.exchange.take_answered()); // none was since the last call
}

TEST(Exchange, AnswersWhatComesInSingleBytes) {
  Conversation talk;
  for (const char byte : times(3, kGet)) {
    EXPECT_EQ(talk.answer({&byte, 1}), Outcome::need_more);
  }
  EXPECT_THAT(talk.statuses(), ElementsAre("200", "200", "200"));
}

TEST(Exchange, HasARequestInProgressWhileItsBodyIsAwaited) {
  Conversation talk;
  EXPECT_EQ(talk.answer("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n"),
            Outcome::need_more);
  EXPECT_TRUE(talk.exchange.in_progress());
  EXPECT_FALSE(talk.exchange.between_requests());
  EXPECT_TRUE(talk.exchange.may_refuse());
}

TEST(Exchange, TakesEmptyLinesBeforeARequestForSilence) {
  for (const std::string_view lines : {"\r\n", "\r\n\r\n", "\r", "\r\n\r"}) {
    Conversation talk;
    talk.receive(lines);
    EXPECT_TRUE(talk.exchange.silent()) << lines; // the owner arms no timer
    EXPECT_TRUE(talk.exchange.between_requests()) << lines;
    EXPECT_EQ(talk.exchange.answer(false), Outcome::need_more);
    EXPECT_TRUE(talk.exchange.between_requests()) << lines;
    EXPECT_FALSE(talk.exchange.in_progress()) << lines;
    EXPECT_FALSE(talk.exchange.may_refuse()) << lines;
    EXPECT_EQ(talk.exchange.empty(), !lines.ends_with('\r')) << lines;
    talk.receive("\nGET"sv.substr(lines.ends_with('\r') ? 0 : 1));
    EXPECT_FALSE(talk.exchange.silent()) << lines;
    EXPECT_FALSE(talk.exchange.between_requests()) << lines;
  }
}

// The owner may have given back the exchange that had the CR.
TEST(Exchange, TakesTheSecondHalfOfALineEndForSilenceAndRefusesIt) {
  Conversation talk;
  talk.receive("\n");
  EXPECT_TRUE(talk.exchange.silent());
  EXPECT_EQ(talk.exchange.answer(false), Outcome::last_response);
  EXPECT_THAT(talk.statuses(), ElementsAre("400"));
}

TEST(Exchange, TakesEmptyLinesBehindARequestForSilence) {
  for (const std::string_view lines : {"\r\n", "\r", "\r\n\r\n\r"}) {
    Conversation talk;
    EXPECT_EQ(talk.answer(std::string(kGet) + std::string(lines)), Outcome::need_more);
    EXPECT_TRUE(talk.exchange.between_requests());
    EXPECT_THAT(talk.statuses(), ElementsAre("200"));
    EXPECT_FALSE(talk.exchange.in_progress());
    EXPECT_EQ(talk.answer(lines.ends_with('\r') ? "\nGET" : "GET"), Outcome::need_more);
    EXPECT_FALSE(talk.exchange.between_requests());
  }
}

TEST(Exchange, SaysThatItClosesAlthoughEmptyLinesFollowTheLastRequestOfADrain) {
  Conversation talk;
  EXPECT_EQ(talk.answer(std::string(kGet) + "\r\n\r", true), Outcome::last_response);
  EXPECT_THAT(talk.read(), HasSubstr("\r\nConnection: close\r\n"));
}

TEST(Exchange, AnswersHeadWithTheHeaderOfGetAndNoBody) {
  Conversation talk;
  EXPECT_EQ(talk.answer("HEAD /bytes/9 HTTP/1.1\r\nHost: h\r\n\r\n"), Outcome::need_more);
  EXPECT_THAT(talk.read(), EndsWith("\r\nContent-Length: 9\r\n\r\n"));
}

TEST(Exchange, EchoesABodyThatComesInPieces) {
  Conversation talk;
  EXPECT_EQ(talk.answer("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab"),
            Outcome::need_more);
  EXPECT_TRUE(talk.exchange.output().empty());
  EXPECT_EQ(talk.answer("cde"), Outcome::need_more);
  EXPECT_THAT(talk.read(), EndsWith("\r\nContent-Length: 5\r\n\r\nabcde"));
}

TEST(Exchange, ClosesHttp10UnlessKeepAliveIsAskedFor) {
  Conversation closing;
  EXPECT_EQ(closing.answer("GET / HTTP/1.0\r\n\r\n"), Outcome::last_response);
  EXPECT_EQ(closing.exchange.close_reason(), CloseReason::client);
  EXPECT_THAT(closing.read(), HasSubstr("\r\nConnection: close\r\n"));

  Conversation keeping;
  EXPECT_EQ(keeping.answer("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), Outcome::need_more);
  EXPECT_THAT(keeping.read(), HasSubstr("\r\nConnection: keep-alive\r\n"));
}

TEST(Exchange, LooksAtNothingBehindTheLastRequest) {
  Conversation talk;
  EXPECT_EQ(talk.answer("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + times(2, kGet)),
            Outcome::last_response);
  EXPECT_EQ(talk.exchange.close_reason(), CloseReason::client);
  EXPECT_THAT(talk.statuses(), ElementsAre("200"));
  EXPECT_EQ(talk.counters().requests, 1U);
}

// ---- 100 Continue.

constexpr std::string_view kExpecting = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n"
                                        "Expect: 100-continue\r\n\r\n";

TEST(Exchange, SaysContinueWhenTheBodyIsAwaited) {
  Conversation talk;
  EXPECT_EQ(talk.answer(kExpecting), Outcome::need_more);
  EXPECT_FALSE(talk.exchange.may_gather()) << "the client waits for it";
  EXPECT_EQ(talk.exchange.output().responses(), 0U);
  EXPECT_EQ(talk.read(), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(talk.answer("abc"), Outcome::need_more);
  EXPECT_THAT(talk.statuses(), ElementsAre("200"));
  EXPECT_EQ(talk.counters().responses, 1U); // an interim response is not counted
}

TEST(Exchange, DoesNotSayContinueWhenTheBodyIsHereAlready) {
  Conversation talk;
  EXPECT_EQ(talk.answer(std::string(kExpecting) + "abc"), Outcome::need_more);
  EXPECT_THAT(talk.statuses(), ElementsAre("200"));
}

TEST(Exchange, DoesNotSayContinueWhenTheBodyHasBegunToCome) {
  Conversation talk;
  EXPECT_EQ(talk.answer("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
                        "Expect: 100-continue\r\n\r\n3"),
            Outcome::need_more);
  EXPECT_TRUE(talk.exchange.output().empty());
  EXPECT_EQ(talk.answer("\r\nabc\r\n0\r\n\r\n"), Outcome::need_more);
  EXPECT_THAT(talk.statuses(), ElementsAre("200"));
}

TEST(Exchange, SaysContinueBehindTheAnswersBeforeIt) {
  Conversation talk;
  EXPECT_EQ(talk.answer(std::string(kGet) + std::string(kExpecting)), Outcome::need_more);
  EXPECT_THAT(talk.statuses(), ElementsAre("200", "100"));
}

// ---- Refusals.

TEST(Exchange, RefusesWhatIsNoRequestAndNothingFollows) {
  Conversation talk;
  EXPECT_EQ(talk.answer(std::string(kGet) + "GET / HTTP/1.1\r\n\r\n" + std::string(kGet)),
            Outcome::last_response);
  EXPECT_EQ(talk.exchange.close_reason(), CloseReason::error);
  const std::string answers = talk.read();
  EXPECT_THAT(answers, HasSubstr("HTTP/1.1 400 Bad Request\r\n"));
  EXPECT_THAT(answers, EndsWith("Connection: close\r\nContent-Length: 0\r\n\r\n"));
  EXPECT_EQ(talk.counters().requests, 1U);
  EXPECT_EQ(talk.counters().responses, 2U);
}

TEST(Exchange, RefusesABodyOverTheLimitBeforeItComes) {
  Conversation talk;
  EXPECT_EQ(talk.answer("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 101\r\n\r\n"),
            Outcome::last_response);
  EXPECT_THAT(talk.statuses(), ElementsAre("413"));
}

TEST(Exchange, RefusesAtTheOwnersWishInPlaceOfAnAnswer) {
  Conversation talk;
  EXPECT_FALSE(talk.exchange.may_refuse()); // nothing has begun
  EXPECT_EQ(talk.answer(kHalf), Outcome::need_more);
  EXPECT_TRUE(talk.exchange.may_refuse());
  talk.exchange.refuse(Status::request_timeout);
  EXPECT_FALSE(talk.exchange.may_refuse()); // an answer is queued
  EXPECT_THAT(talk.statuses(), ElementsAre("408"));
}

TEST(Exchange, MayNotRefuseWhileOtherAnswersAreQueued) {
  Conversation talk;
  EXPECT_EQ(talk.answer(std::string(kGet) + std::string(kHalf)), Outcome::need_more);
  EXPECT_FALSE(talk.exchange.may_refuse());
  talk.read();
  EXPECT_TRUE(talk.exchange.may_refuse());
}

TEST(Exchange, RefusesWithoutARequest) {
  Conversation talk;
  talk.exchange.refuse(Status::service_unavailable);
  EXPECT_THAT(talk.statuses(), ElementsAre("503"));
}

// ---- Windows.

TEST(Windows, OfBytesCloseOnceThatManyAreQueued) {
  Conversation talk({.window = {.bytes = 1000}});
  EXPECT_EQ(talk.answer(times(30, kGet)), Outcome::window_full);
  std::size_t answers = 0;
  std::size_t windows = 0;
  Outcome outcome = Outcome::window_full;
  for (; outcome == Outcome::window_full; ++windows) {
    EXPECT_GE(talk.exchange.output().size(), 1000U);
    EXPECT_LT(talk.exchange.output().size(), 1200U) << "more than one response too many";
    answers += talk.statuses().size();
    outcome = talk.exchange.answer(false);
  }
  answers += talk.statuses().size();
  EXPECT_EQ(outcome, Outcome::need_more);
  EXPECT_EQ(answers, 30U);
  EXPECT_GE(windows, 2U);
}

TEST(Windows, OfNoBytesTakeAResponseEach) {
  Conversation talk({.window = {.bytes = 0}});
  EXPECT_EQ(talk.answer(times(2, kGet)), Outcome::window_full);
  EXPECT_THAT(talk.statuses(), ElementsAre("200"));
  EXPECT_EQ(talk.exchange.answer(false), Outcome::window_full);
  EXPECT_THAT(talk.statuses(), ElementsAre("200"));
  EXPECT_EQ(talk.exchange.answer(false), Outcome::need_more);
  EXPECT_THAT(talk.statuses(), IsEmpty());
}

TEST(Windows, OfResponsesCloseAtThatNumber) {
  Conversation talk({.window = {.bytes = 8192, .responses = 3}});
  EXPECT_EQ(talk.answer(times(5, kGet)), Outcome::window_full);
  EXPECT_EQ(talk.statuses().size(), 3U);
  EXPECT_EQ(talk.exchange.answer(false), Outcome::need_more);
  EXPECT_EQ(talk.statuses().size(), 2U);
}

TEST(Windows, CloseBehindFillerAndTheRestIsAnsweredAfterIt) {
  Conversation talk;
  EXPECT_EQ(talk.answer("GET /bytes/100000 HTTP/1.1\r\nHost: h\r\n\r\n" + std::string(kGet)),
            Outcome::window_full);
  EXPECT_FALSE(talk.exchange.may_gather());
  const std::string first = talk.read();
  EXPECT_EQ(first.size() - first.find("\r\n\r\n") - 4, 100000U);
  EXPECT_EQ(talk.exchange.answer(false), Outcome::need_more);
  EXPECT_THAT(talk.statuses(), ElementsAre("200"));
}

TEST(Windows, ThatAreNotWrittenTakeNoMoreRequests) {
  Conversation talk({.window = {.responses = 1}});
  EXPECT_EQ(talk.answer(times(2, kGet)), Outcome::window_full);
  EXPECT_EQ(talk.exchange.answer(false), Outcome::window_full);
  EXPECT_EQ(talk.counters().requests, 1U);
  talk.read();
  EXPECT_TRUE(talk.exchange.in_progress());
  EXPECT_FALSE(talk.exchange.between_requests());
}

TEST(Windows, LetAnswersGatherOnlyWhileTheyAreOpen) {
  Conversation talk({.window = {.responses = 2}});
  EXPECT_FALSE(talk.exchange.may_gather()); // nothing is queued
  EXPECT_EQ(talk.answer(kGet), Outcome::need_more);
  EXPECT_TRUE(talk.exchange.may_gather());
  EXPECT_EQ(talk.answer(kGet), Outcome::window_full);
  EXPECT_FALSE(talk.exchange.may_gather());
}

// ---- Draining.

TEST(Draining, MakesTheLastRequestThatIsHereTheLastOfAll) {
  Conversation talk;
  EXPECT_EQ(talk.answer(times(2, kGet), true), Outcome::last_response);
  EXPECT_EQ(talk.exchange.close_reason(), CloseReason::drain);
  const std::string answers = talk.read();
  EXPECT_THAT(answers, EndsWith("Connection: close\r\nContent-Length: 0\r\n\r\n"));
  EXPECT_EQ(answers.find("Connection: close"), answers.rfind("Connection: close"));
}

TEST(Draining, WithoutARequestChangesNothing) {
  Conversation talk;
  EXPECT_EQ(talk.exchange.answer(true), Outcome::need_more);
  EXPECT_TRUE(talk.exchange.output().empty());
  EXPECT_FALSE(talk.exchange.in_progress());
}

TEST(Draining, WaitsForTheRestOfARequestThatHasBegun) {
  Conversation talk;
  EXPECT_EQ(talk.answer(kGet.substr(0, 10), true), Outcome::need_more);
  EXPECT_TRUE(talk.exchange.in_progress());
  EXPECT_EQ(talk.answer(kGet.substr(10), true), Outcome::last_response);
  EXPECT_THAT(talk.read(), HasSubstr("Connection: close"));
}

TEST(Draining, AnswersAllWindowsBeforeItEnds) {
  Conversation talk({.window = {.responses = 1}});
  EXPECT_EQ(talk.answer(times(2, kGet), true), Outcome::window_full);
  EXPECT_THAT(talk.read(), Not(HasSubstr("Connection: close")));
  EXPECT_EQ(talk.exchange.answer(true), Outcome::last_response);
  EXPECT_THAT(talk.read(), HasSubstr("Connection: close"));
}

TEST(Draining, BehindARequestThatClosesIsTheClientsClose) {
  Conversation talk;
  EXPECT_EQ(talk.answer("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", true),
            Outcome::last_response);
  EXPECT_EQ(talk.exchange.close_reason(), CloseReason::client);
}

TEST(Draining, WithholdsWhatTheScenarioWithholds) {
  Conversation talk({.scenario = Scenario::increasing_timeout});
  EXPECT_EQ(talk.answer(kGet, true), Outcome::withheld);
}

// ---- Withheld requests.

TEST(Withholding, LeavesTheRequestUnansweredAndSaysHowLong) {
  using std::chrono::milliseconds;
  Conversation talk({.scenario = Scenario::increasing_timeout});
  EXPECT_EQ(talk.answer(times(2, kGet)), Outcome::withheld);
  EXPECT_EQ(talk.exchange.withheld_timeout(), milliseconds(1));
  EXPECT_TRUE(talk.exchange.output().empty());
  talk.exchange.reset(0);
  EXPECT_EQ(talk.answer(kGet), Outcome::withheld);
  EXPECT_EQ(talk.exchange.withheld_timeout(), milliseconds(2));
  EXPECT_EQ(talk.counters().requests, 2U) << "nothing behind the first was looked at";
  EXPECT_EQ(talk.counters().responses, 0U);
}

TEST(Withholding, KeepsTheAnswersBeforeIt) {
  Conversation talk({.scenario = Scenario::mixed, .mixed_period = 3});
  EXPECT_EQ(talk.answer(times(5, kGet)), Outcome::withheld);
  EXPECT_THAT(talk.statuses(), ElementsAre("200", "200"));
}

} // namespace
} // namespace server
