// Result: a value, or one line that says what is wrong, where, and what to do. kseg never throws.
#pragma once

#include <cassert>
#include <string>
#include <utility>
#include <variant>

namespace kseg {

struct Error {
  std::string message;  // One line, the same as deploy/python/run.py prints.
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  explicit operator bool() const { return state_.index() == 0; }

  T& operator*() {
    assert(*this);
    return *std::get_if<0>(&state_);
  }
  const T& operator*() const {
    assert(*this);
    return *std::get_if<0>(&state_);
  }
  T* operator->() { return &**this; }
  const T* operator->() const { return &**this; }
  const Error& error() const {
    assert(!*this);
    return *std::get_if<1>(&state_);
  }

 private:
  std::variant<T, Error> state_;
};

struct Done {};
using Status = Result<Done>;

}  // namespace kseg
