#include "harness/faults/inject/fault.h"

#include <cstring>
#include <sstream>
#include <vector>

#include "common/failure.h"

namespace box {
namespace {

constexpr int kHighestErrno = 4095;  // MAX_ERRNO of the kernel

std::vector<std::string> fields_of(const std::string& text, std::size_t count, const char* form) {
  std::vector<std::string> fields;
  std::istringstream in(text);
  for (std::string field; std::getline(in, field, ':');) fields.push_back(field);
  bool complete = fields.size() == count;
  for (const std::string& field : fields) complete = complete && !field.empty();
  if (!complete) throw Failure("'" + text + "' is not of the form " + form);
  return fields;
}

long number_of(const std::string& text) {
  std::size_t end = 0;
  long number = 0;
  try {
    number = std::stol(text, &end);
  } catch (const std::logic_error&) {  // std::stol() throws it for text that is not a number
  }
  if (end == 0 || end != text.size()) throw Failure("'" + text + "' is not a number");
  return number;
}

int errno_called(const std::string& text) {
  for (int error = 1; error <= kHighestErrno; ++error) {
    const char* name = strerrorname_np(error);
    if (name != nullptr && text == name) return error;
  }
  throw Failure("no errno is called " + text);
}

Point point_of(const std::vector<std::string>& fields) {
  const long nth = number_of(fields[2]);
  if (nth < 1) throw Failure("calls are counted from 1, not from " + fields[2]);
  return {fields[0], fields[1], static_cast<int>(nth)};
}

}  // namespace

Fault parse_failing_call(const std::string& text) {
  const auto fields = fields_of(text, 4, "PROCESS:CALL:NTH:ERRNO");
  return {Fault::Kind::kReturn, point_of(fields), -errno_called(fields[3]), ""};
}

Fault parse_short_call(const std::string& text) {
  const auto fields = fields_of(text, 4, "PROCESS:CALL:NTH:RESULT");
  return {Fault::Kind::kReturn, point_of(fields), number_of(fields[3]), ""};
}

Fault parse_kill(const std::string& text) {
  constexpr const char* kForm = "VICTIM@PROCESS:CALL:NTH";
  const auto at = text.find('@');
  if (at == std::string::npos || at == 0) {
    throw Failure("'" + text + "' is not of the form " + kForm);
  }
  const auto fields = fields_of(text.substr(at + 1), 3, kForm);
  return {Fault::Kind::kKill, point_of(fields), 0, text.substr(0, at)};
}

}  // namespace box
