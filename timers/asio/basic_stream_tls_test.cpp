// TLS over basic_stream, by asio::ssl::stream and by Beast's ssl_stream. The certificate is made
// anew, in memory. Needs OpenSSL.
#if !defined(TIMERS_TEST_TLS)

#include <gtest/gtest.h>

#include <cstdlib>

// Where scripts/test has installed everything, nothing may be missing.
TEST(Tls, OverAStream) {
  ASSERT_EQ(std::getenv("IDLEWHEEL_SKIP_NOTHING"), nullptr) << "OpenSSL was not found";
  GTEST_SKIP() << "OpenSSL was not found";
}

#else

#include "timers/asio/beast.hpp"
#include "timers/testing/streams.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/ssl.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

namespace timers::test {
namespace {

namespace asio = boost::asio;
namespace beast = timers::beast;
namespace websocket = beast::websocket;
namespace ssl = boost::asio::ssl;
using namespace std::chrono_literals;

using Stream = beast::basic_stream<Unix>;

// A context for servers, with a key and a certificate that it has signed itself.
ssl::context certified() {
  ssl::context context(ssl::context::tls_server);
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const std::unique_ptr<X509, decltype(&X509_free)> certificate(X509_new(), X509_free);
  X509* const made = certificate.get();
  X509_set_version(made, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(made), 1);
  X509_gmtime_adj(X509_getm_notBefore(made), -3600);
  X509_gmtime_adj(X509_getm_notAfter(made), 3600);
  X509_set_pubkey(made, key.get());
  X509_NAME* const name = X509_get_subject_name(made);
  const unsigned char host[] = "localhost";
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, host, -1, -1, 0);
  X509_set_issuer_name(made, name);
  EXPECT_NE(X509_sign(made, key.get(), EVP_sha256()), 0);
  EXPECT_EQ(SSL_CTX_use_certificate(context.native_handle(), made), 1);
  EXPECT_EQ(SSL_CTX_use_PrivateKey(context.native_handle(), key.get()), 1);
  return context;
}

template <class TlsStream> class Tls : public testing::Test {
protected:
  void SetUp() override {
    asio::local::connect_pair(beast::get_lowest_layer(client).socket(),
                              beast::get_lowest_layer(server).socket());
  }

  void run() {
    io.restart();
    io.run_for(kPatience);
    EXPECT_TRUE(io.stopped()) << "an operation is pending that should have ended";
  }

  void expire_after(std::chrono::nanoseconds duration) {
    beast::get_lowest_layer(client).expires_after(duration);
    beast::get_lowest_layer(server).expires_after(duration);
  }

  void shake_hands() {
    Operation here;
    Operation there;
    expire_after(kPatience);
    client.async_handshake(ssl::stream_base::client, here.note());
    server.async_handshake(ssl::stream_base::server, there.note());
    run();
    EXPECT_EQ(here.result(), success(0));
    EXPECT_EQ(there.result(), success(0));
  }

  asio::io_context io;
  ssl::context client_context{ssl::context::tls_client};
  ssl::context server_context = certified();
  TlsStream client{Stream(io), client_context};
  TlsStream server{Stream(io), server_context};
};

using TlsStreams = testing::Types<ssl::stream<Stream>, beast::ssl_stream<Stream>>;
TYPED_TEST_SUITE(Tls, TlsStreams);

TYPED_TEST(Tls, CarriesDataBothWaysAndShutsDown) {
  this->shake_hands();
  std::string sent(200'000, 's');
  std::string received(sent.size(), ' ');
  std::string back(sent.size(), ' ');
  Operation ops[4];
  this->expire_after(kPatience);
  asio::async_write(this->client, asio::buffer(sent), ops[0].note());
  asio::async_read(this->server, asio::buffer(received), ops[1].note());
  asio::async_write(this->server, asio::buffer(sent), ops[2].note());
  asio::async_read(this->client, asio::buffer(back), ops[3].note());
  this->run();
  for (const Operation& op : ops) {
    EXPECT_EQ(op.result(), success(sent.size()));
  }
  EXPECT_EQ(received, sent);
  EXPECT_EQ(back, sent);

  Operation here;
  Operation there;
  this->expire_after(kPatience);
  this->client.async_shutdown(here.note());
  this->server.async_shutdown(there.note());
  this->run();
  EXPECT_EQ(here.result(), success(0));
  EXPECT_EQ(there.result(), success(0));
}

TYPED_TEST(Tls, AHandshakeTimesOut) {
  Operation handshake;
  this->expire_after(kSoon);
  this->server.async_handshake(ssl::stream_base::server, handshake.note());
  this->run();
  EXPECT_EQ(handshake.result(), kTimedOut);
}

// An empty write is completed early, by an empty read of the stream, while a read is pending.
TYPED_TEST(Tls, AnEmptyWriteCompletesWhileAReadIsPending) {
  this->shake_hands();
  char byte = 0;
  Operation read;
  Operation write;
  this->expire_after(kSoon);
  this->client.async_read_some(asio::buffer(&byte, 1), read.note());
  this->client.async_write_some(asio::const_buffer(), write.note());
  while (!write.ended()) {
    this->io.restart();
    this->io.run_one_for(kPatience);
  }
  EXPECT_EQ(write.result(), success(0));
  EXPECT_FALSE(read.ended());
  this->run();
  EXPECT_EQ(read.result(), kTimedOut);
}

using BeastsTls = Tls<beast::ssl_stream<Stream>>;

TEST_F(BeastsTls, CarriesWebSocket) {
  shake_hands();
  websocket::stream<beast::ssl_stream<Stream>> here(std::move(client));
  websocket::stream<beast::ssl_stream<Stream>> there(std::move(server));
  Operation shaken;
  Operation accepted;
  Operation written;
  Operation read;
  Operation closed;
  Operation end;
  beast::flat_buffer buffer;
  const std::string text(50'000, 'w');
  here.async_handshake("localhost", "/", shaken.note());
  there.async_accept(accepted.note());
  run();
  EXPECT_EQ(shaken.result(), success(0));
  EXPECT_EQ(accepted.result(), success(0));
  beast::get_lowest_layer(here).expires_never();
  beast::get_lowest_layer(there).expires_never();
  here.async_write(asio::buffer(text), written.note());
  there.async_read(buffer, read.note());
  run();
  EXPECT_EQ(written.result(), success(text.size()));
  EXPECT_EQ(beast::buffers_to_string(buffer.data()), text);
  here.async_close(websocket::close_code::normal, closed.note());
  there.async_read(buffer, end.note());
  run();
  EXPECT_EQ(closed.result(), success(0));
  EXPECT_EQ(end.result()->error, websocket::error::closed);
}

} // namespace
} // namespace timers::test

#endif
