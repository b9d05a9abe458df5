// Corrupts a .tflite or .onnx and its contract, reproducibly, and reads them as a runner does: fuzz_contract
// FILE ROUNDS. Build it with the sanitizers. Exits with 1 if corruption goes unnoticed.
// No runtime is called: it never gets a file that verify_checksum refuses.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "kseg/contract.h"
#include "kseg/onnx_file.h"
#include "kseg/tflite_file.h"

namespace {

// xorshift64*: the same numbers everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::size_t below(std::size_t bound) {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<std::size_t>((state_ * 0x2545F4914F6CDD1DULL) >> 33) % bound;
  }

 private:
  std::uint64_t state_;
};

// Bytes to which JSON and FlatBuffers are most sensitive.
constexpr std::uint8_t kBytes[] = {0,   1,   4,   0x7F, 0x80, 0xFF, '"', '\\', '{', '}',
                                   '[', ']', ',', ':',  '-',  '.',  'e', '9',  'u', 0xED};

template <typename Container>
void corrupt(Container& bytes, Random& random) {
  using Byte = typename Container::value_type;
  const std::size_t times = 1 + random.below(4);
  for (std::size_t i = 0; i < times && !bytes.empty(); ++i) {
    const std::size_t at = random.below(bytes.size());
    const auto from = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    const auto pick = static_cast<Byte>(kBytes[random.below(sizeof kBytes)]);
    switch (random.below(5)) {
      case 0:
        bytes[at] = static_cast<Byte>(bytes[at] ^ (1 << random.below(8)));
        break;
      case 1:
        bytes[at] = pick;
        break;
      case 2:
        bytes.insert(from, 1 + random.below(40), pick);
        break;
      case 3:
        bytes.erase(from, from + static_cast<std::ptrdiff_t>(1 + random.below(bytes.size() - at)));
        break;
      default:  // Makes numbers and offsets too large.
        for (std::size_t k = at; k < bytes.size() && k < at + 4; ++k) {
          bytes[k] = static_cast<Byte>(0xFF);
        }
    }
  }
}

// Finds the contract's text. Aborts if that lies outside the file.
kseg::Result<std::string_view> find_text(const kseg::Bytes& bytes) {
  const auto text = kseg::is_onnx(bytes) ? kseg::onnx_contract_text(bytes, "file")
                                         : kseg::contract_text(bytes, "file");
  if (!text) return text;
  const auto* begin = reinterpret_cast<const std::uint8_t*>(text->data());
  const bool inside = begin >= bytes.data() && begin <= bytes.data() + bytes.size() &&
                      text->size() <= static_cast<std::size_t>(bytes.data() + bytes.size() - begin);
  if (!inside) std::abort();
  return text;
}

// Reads the contract as a runner does. Returns whether it is valid.
bool read_contract(const kseg::Bytes& bytes) {
  const auto text = find_text(bytes);
  return text && kseg::parse_contract(*text, "file");
}

// Corrupts `tflite`, whose contract is `text`, at random. Returns how many cases went unnoticed.
int corrupt_at_random(const kseg::Bytes& tflite, const std::string& text, int rounds) {
  Random random(1);
  int unnoticed = 0;
  for (int round = 0; round < rounds; ++round) {
    std::string document = text;
    corrupt(document, random);
    static_cast<void>(kseg::parse_contract(document, "file"));
    kseg::Bytes bytes = tflite;
    corrupt(bytes, random);
    if (bytes != tflite && kseg::verify_checksum(bytes, "file")) ++unnoticed;
    read_contract(bytes);
  }
  return unnoticed;
}

// Writes extreme values, one after the other, wherever an offset or a length may lie.
void corrupt_every_offset(kseg::Bytes bytes) {
  const auto size = static_cast<std::uint32_t>(bytes.size());
  const std::uint32_t words[] = {0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, size, size - 4};
  for (std::size_t at = 0; at + 4 <= bytes.size(); at += 2) {
    std::uint32_t before = 0;
    std::memcpy(&before, bytes.data() + at, 4);
    for (const std::uint32_t word : words) {
      std::memcpy(bytes.data() + at, &word, 4);
      static_cast<void>(find_text(bytes));
    }
    std::memcpy(bytes.data() + at, &before, 4);
  }
}

// Truncates the contract's text at every byte, and the file at some. None may pass.
int truncate_all(const kseg::Bytes& tflite, const std::string& text) {
  int unnoticed = 0;
  for (std::size_t size = 0; size < text.size(); ++size) {
    const std::string part(text, 0, size);
    if (kseg::parse_contract(part, "file")) ++unnoticed;
  }
  for (std::size_t size = 0; size < tflite.size(); size += 61) {
    const auto end = tflite.begin() + static_cast<std::ptrdiff_t>(size);
    const kseg::Bytes part(tflite.begin(), end);
    if (kseg::verify_checksum(part, "file")) ++unnoticed;
    read_contract(part);
  }
  return unnoticed;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto tflite = kseg::read_file(argv[1]);
  if (!tflite || !read_contract(*tflite)) return 2;
  std::string text(*find_text(*tflite));
  text.insert(text.find('{') + 1, R"("a": "\u00e9 \ud83d\ude97 \n \"", "b": [-1.5e-3, null],)");
  if (!kseg::parse_contract(text, "file")) return 2;
  const int rounds = std::atoi(argv[2]);
  const int unnoticed = corrupt_at_random(*tflite, text, rounds) + truncate_all(*tflite, text);
  corrupt_every_offset(*tflite);
  std::printf("%d rounds, %d unnoticed\n", rounds, unnoticed);
  return unnoticed == 0 ? 0 : 1;
}
