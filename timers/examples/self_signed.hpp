// A certificate for localhost that its own key signs, made in memory. Good for trying a server out:
// clients have no reason to trust it.
#pragma once

#include <boost/asio/ssl.hpp>

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <stdexcept>

namespace serving {

namespace detail {

template <auto* Free> struct Freed {
  template <class Object> void operator()(Object* object) const { Free(object); }
};
template <class Object, auto* Free> using Owned = std::unique_ptr<Object, Freed<Free>>;

inline void require(bool made) {
  if (!made) {
    throw std::runtime_error("cannot make a certificate");
  }
}

} // namespace detail

// Gives the context a new key and certificate. Throws std::runtime_error when OpenSSL cannot.
inline void use_self_signed(boost::asio::ssl::context& context) {
  using namespace detail;
  constexpr long kDaySeconds = 24L * 60 * 60;
  const Owned<EVP_PKEY, EVP_PKEY_free> key(EVP_EC_gen("P-256"));
  const Owned<X509, X509_free> certificate(X509_new());
  require(key && certificate);

  X509_NAME* const name = X509_get_subject_name(certificate.get());
  const unsigned char localhost[] = "localhost";
  SSL_CTX* const ssl = context.native_handle();
  require(X509_set_version(certificate.get(), X509_VERSION_3) == 1 &&
          ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), 1) == 1 &&
          X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -kDaySeconds) != nullptr &&
          X509_gmtime_adj(X509_getm_notAfter(certificate.get()), kDaySeconds) != nullptr &&
          X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, localhost, -1, -1, 0) == 1 &&
          X509_set_issuer_name(certificate.get(), name) == 1 &&
          X509_set_pubkey(certificate.get(), key.get()) == 1 &&
          X509_sign(certificate.get(), key.get(), EVP_sha256()) != 0 &&
          SSL_CTX_use_certificate(ssl, certificate.get()) == 1 &&
          SSL_CTX_use_PrivateKey(ssl, key.get()) == 1);
}

} // namespace serving
