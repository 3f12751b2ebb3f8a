// How basic_stream::async_connect() (basic_stream.hpp) tells a condition from a completion token.
// No program includes this.
#pragma once

#include <boost/asio/connect.hpp>
#include <boost/system/error_code.hpp>

#include <concepts>
#include <iterator>
#include <type_traits>
#include <utility>

namespace timers::detail {

template <class Type>
concept EndpointSequence = boost::asio::is_endpoint_sequence<Type>::value != 0;

// The condition of those who name none. Asio 1.81 cannot tell a condition from a token where an
// executor has a default token, so it gets both.
struct EveryEndpoint {
  template <class Endpoint>
  bool operator()(const boost::system::error_code&, const Endpoint&) const noexcept {
    return true;
  }
};

// A function that is asked before each attempt to connect. It gets the endpoint, or in the old form
// the iterator.
template <class Type, class Iterator>
concept ConnectCondition = requires(Type& condition, const boost::system::error_code& error,
                                    Iterator at) {
  { condition(error, *at) } -> std::convertible_to<bool>;
}
|| (!std::invocable<Type&, const boost::system::error_code&, std::iter_reference_t<Iterator>> &&
    requires(Type & condition, const boost::system::error_code& error, Iterator at) {
      { condition(error, at) } -> std::convertible_to<Iterator>;
    });

template <class Type, class Iterator>
concept TakesIterator = requires(Type& handler, const boost::system::error_code& error,
                                 Iterator at) {
  { handler(error, at) } -> std::same_as<void>;
};

// Whether an argument that may be a token is a condition instead. `kRange`: the handler of a range
// gets the iterator, so a function that takes one and returns nothing is no condition.
template <class Type, class Iterator, bool kRange>
concept NoRangeHandler = !kRange || !TakesIterator<Type, Iterator>;
template <class Type, class Iterator, bool kRange>
concept ConditionOf = NoRangeHandler<Type, Iterator, kRange> && ConnectCondition<Type, Iterator>;

// Where no token may be left out, the number of arguments tells, and nothing is tried that a user's
// function may not be able to compile.
template <class DefaultToken, bool kRange, class Type, class Iterator>
concept IsToken =
    std::is_void_v<DefaultToken> || !ConditionOf<std::remove_cvref_t<Type>, Iterator, kRange>;
template <class DefaultToken, bool kRange, class Type, class Iterator>
concept IsCondition = std::is_void_v<DefaultToken> || ConditionOf<Type, Iterator, kRange>;

template <class Endpoints> using IteratorOf = decltype(std::declval<const Endpoints&>().begin());

} // namespace timers::detail
