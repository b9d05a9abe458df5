// Damages a .tflite and its contract in a fixed number of fixed ways and reads them as a runner
// does: fuzz_contract FILE.tflite ROUNDS. Build it with the sanitizers; exits with 1 when damage is
// not noticed. LiteRT is not called: it never sees a file that check_whole refuses.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "kseg/contract.h"
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

// What JSON and FlatBuffers are most sensitive to.
constexpr std::uint8_t kBytes[] = {0,   1,   4,   0x7F, 0x80, 0xFF, '"', '\\', '{', '}',
                                   '[', ']', ',', ':',  '-',  '.',  'e', '9',  'u', 0xED};

template <typename Container>
void damage(Container& bytes, Random& random) {
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
      default:  // Numbers and offsets that are too large.
        for (std::size_t k = at; k < bytes.size() && k < at + 4; ++k) {
          bytes[k] = static_cast<Byte>(0xFF);
        }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto tflite = kseg::read_file(argv[1]);
  if (!tflite) {
    std::fprintf(stderr, "%s\n", tflite.error().message.c_str());
    return 2;
  }
  const auto whole_text = kseg::contract_text(*tflite, "file");
  if (!whole_text || !kseg::parse_contract(*whole_text, "file")) return 2;
  const std::string whole(*whole_text);
  const int rounds = std::atoi(argv[2]);
  Random random(1);
  int unnoticed = 0, readable = 0;
  for (int round = 0; round < rounds; ++round) {
    std::string text = whole;
    damage(text, random);
    if (kseg::parse_contract(text, "file")) ++readable;
    kseg::Bytes bytes = *tflite;
    if (round % 2 == 0) bytes.erase(bytes.begin() + 4096, bytes.end() - 4096);  // Offsets dangle.
    damage(bytes, random);
    if (bytes == *tflite) continue;
    if (kseg::check_whole(bytes, "file")) ++unnoticed;
    const auto found = kseg::contract_text(bytes, "file");
    if (found && kseg::parse_contract(*found, "file")) ++readable;
  }
  for (std::size_t size = 0; size < whole.size(); ++size) {
    if (kseg::parse_contract(std::string_view(whole).substr(0, size), "file")) ++unnoticed;
  }
  std::printf("%d rounds, %d still readable, %d unnoticed\n", rounds, readable, unnoticed);
  return unnoticed == 0 ? 0 : 1;
}
