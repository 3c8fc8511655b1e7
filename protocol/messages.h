// Every message of the mount protocol: libfuse's fuse-service version 1, and what our own pair adds to it.
//
// Each message has one list of its fields, `fields`, that encoder, decoder, log and fuzzer walk (protocol/codec.h). Who
// may send which when, and how often, is the table in protocol/phase.h. Wire layouts: a 32-bit tag that reads as ASCII,
// then the fields in order, big-endian, nothing in between.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "protocol/wire.h"

namespace protocol {

/// Version 1 is libfuse's. The private one, "E4", is spoken only between our broker and our worker.
inline constexpr std::uint16_t kVersion1 = 1;
inline constexpr std::uint16_t kPrivateVersion = 0x4534;

/// A peer with a smaller SO_SNDBUF can not send an open command with the longest path.
inline constexpr int kMinimumSendBuffer = 4117;
/// The longest path, bytes without its NUL.
inline constexpr std::size_t kMaximumPath = 4095;
/// The longest comma list of options, bytes.
inline constexpr std::size_t kMaximumOptions = kMaximumPacket - 16;
/// The longest text for people, bytes.
inline constexpr std::size_t kMaximumProse = 1024;

/// Bits of Hello::flags: what the broker will permit. No others may ever be sent: version 1 servers refuse them.
inline constexpr std::uint32_t kHelloAllowOther = 1u << 0;
inline constexpr std::uint32_t kHelloBlock = 1u << 1;  ///< a fuseblk mount; our own broker: one is wanted
/// Bit of SetType::flags.
inline constexpr std::uint32_t kTypeBlock = 1u << 0;
/// Bit of OpenFile::request_flags: a failure is not worth a line to the user.
inline constexpr std::uint32_t kOpenQuiet = 1u << 0;
/// Bits of Facts::flags.
inline constexpr std::uint32_t kFactReadOnly = 1u << 0;  ///< the volume can only be read
inline constexpr std::uint32_t kFactJournal = 1u << 1;
inline constexpr std::uint32_t kFactUnclean = 1u << 2;  ///< was not cleanly unmounted
/// Names of the two descriptors that the broker gives unasked.
inline constexpr std::string_view kArgumentsName = "argv";
inline constexpr std::string_view kFuseDeviceName = "fusedev";

/// The first four bytes of a packet.
enum class Tag : std::uint32_t {
  hello = 0x53414654,              // SAFT
  hello_reply = 0x4c415354,        // LAST
  file = 0x46494c45,               // FILE
  reply = 0x5245504c,              // REPL
  open_file = 0x4f50454e,          // OPEN
  open_block_device = 0x42444556,  // BDEV
  set_type = 0x54595045,           // TYPE
  set_name = 0x4e414d45,           // NAME
  set_mount_point = 0x4d4e5450,    // MNTP
  set_options = 0x4f505453,        // OPTS
  set_table_options = 0x4d544142,  // MTAB
  do_mount = 0x444f4954,           // DOIT
  goodbye = 0x42594545,            // BYEE
  facts = 0x46414354,              // FACT, private
  note = 0x4e4f5445,               // NOTE, private
  refusal = 0x52454655,            // REFU, private
  ready = 0x52454459,              // REDY, private
  attached = 0x41544348,           // ATCH, private
  serving = 0x53455256,            // SERV, private
};

/// Who sends a message.
enum class End : std::uint8_t { broker, worker };

/// NUL-terminated text of `Minimum` to `Maximum` bytes.
template <std::size_t Maximum, std::size_t Minimum = 0>
struct Text {
  std::string value;
  bool operator==(const Text&) const = default;
};
using Path = Text<kMaximumPath, 1>;
using Prose = Text<kMaximumProse>;

/// Two bytes that must be zero.
struct Padding {
  bool operator==(const Padding&) const = default;
};

/// The first message: which versions the broker speaks and what it will permit.
struct Hello {
  static constexpr Tag kTag = Tag::hello;
  std::uint16_t minimum_version = kVersion1, maximum_version = kVersion1;
  std::uint32_t flags = 0;  ///< kHello*
  static void fields(auto& self, auto&& visit) {
    visit("minimum_version", self.minimum_version), visit("maximum_version", self.maximum_version);
    visit("flags", self.flags);
  }
  bool operator==(const Hello&) const = default;
};

/// The version the worker chose.
struct HelloReply {
  static constexpr Tag kTag = Tag::hello_reply;
  std::uint16_t version = kVersion1;
  Padding padding = {};
  static void fields(auto& self, auto&& visit) { visit("version", self.version), visit("padding", self.padding); }
  bool operator==(const HelloReply&) const = default;
};

/// A descriptor (error 0: exactly one rides on the packet) or why there is none. The name is byte for byte the one
/// asked for.
struct File {
  static constexpr Tag kTag = Tag::file;
  std::uint32_t error = 0;  ///< positive errno
  Path name;
  static void fields(auto& self, auto&& visit) { visit("error", self.error), visit("name", self.name); }
  bool operator==(const File&) const = default;
};

/// The answer to everything but opens.
struct Reply {
  static constexpr Tag kTag = Tag::reply;
  std::uint32_t error = 0;  ///< positive errno, or 0
  static void fields(auto& self, auto&& visit) { visit("error", self.error); }
  bool operator==(const Reply&) const = default;
};

/// Asks for a descriptor. The flags are Linux's O_ values; the broker opens with its own and only looks whether these
/// fit.
template <Tag kind>
struct Open {
  static constexpr Tag kTag = kind;
  std::uint32_t open_flags = 0;
  std::uint32_t create_mode = 0;
  std::uint32_t request_flags = 0;  ///< kOpenQuiet
  std::uint32_t block_size = 0;     ///< bytes; of a block device only
  Path path;
  static void fields(auto& self, auto&& visit) {
    visit("open_flags", self.open_flags), visit("create_mode", self.create_mode);
    visit("request_flags", self.request_flags), visit("block_size", self.block_size), visit("path", self.path);
  }
  bool operator==(const Open&) const = default;
};
using OpenFile = Open<Tag::open_file>;
using OpenBlockDevice = Open<Tag::open_block_device>;

/// Whether the mount is to be fuse or fuseblk.
struct SetType {
  static constexpr Tag kTag = Tag::set_type;
  std::uint32_t flags = 0;  ///< kTypeBlock
  static void fields(auto& self, auto&& visit) { visit("flags", self.flags); }
  bool operator==(const SetType&) const = default;
};

/// What the mount table is to show as the source.
struct SetName {
  static constexpr Tag kTag = Tag::set_name;
  Text<kMaximumOptions, 1> name;
  static void fields(auto& self, auto&& visit) { visit("name", self.name); }
  bool operator==(const SetName&) const = default;
};

/// Where to mount, and what has to be there: S_IFDIR, S_IFREG or 0 for either.
struct SetMountPoint {
  static constexpr Tag kTag = Tag::set_mount_point;
  std::uint16_t expected_type = 0;
  std::uint16_t padding = 0;  ///< anything but 0 is answered EINVAL, as libfuse's helper does
  Path path;
  static void fields(auto& self, auto&& visit) {
    visit("expected_type", self.expected_type), visit("padding", self.padding), visit("path", self.path);
  }
  bool operator==(const SetMountPoint&) const = default;
};

/// A comma list: of kernel mount options, or of words for the mount table alone.
template <Tag kind>
struct Options {
  static constexpr Tag kTag = kind;
  Text<kMaximumOptions, 1> options;
  static void fields(auto& self, auto&& visit) { visit("options", self.options); }
  bool operator==(const Options&) const = default;
};
using SetOptions = Options<Tag::set_options>;
using SetTableOptions = Options<Tag::set_table_options>;

/// Mount now, with these MS_ flags.
struct DoMount {
  static constexpr Tag kTag = Tag::do_mount;
  std::uint32_t flags = 0;
  static void fields(auto& self, auto&& visit) { visit("flags", self.flags); }
  bool operator==(const DoMount&) const = default;
};

/// The worker's last message. Version 1: it has mounted, or gives up. Private: the volume is closed, complete and
/// durable; a code other than 0 says that closing it failed.
struct Goodbye {
  static constexpr Tag kTag = Tag::goodbye;
  std::uint32_t exit_code = 0;
  static void fields(auto& self, auto&& visit) { visit("exit_code", self.exit_code); }
  bool operator==(const Goodbye&) const = default;
};

/// What the worker found when it opened the volume.
struct Facts {
  static constexpr Tag kTag = Tag::facts;
  std::uint32_t block_size = 0;  ///< bytes
  std::uint32_t flags = 0;       ///< kFact*
  Prose label;                   ///< bytes from the superblock
  Prose journal;                 ///< "none", "internal"
  static void fields(auto& self, auto&& visit) {
    visit("block_size", self.block_size), visit("flags", self.flags);
    visit("label", self.label), visit("journal", self.journal);
  }
  bool operator==(const Facts&) const = default;
};

/// One line for the user. Level 0 is shown only when asked to be verbose, level 1 is a warning.
struct Note {
  static constexpr Tag kTag = Tag::note;
  std::uint32_t level = 0;
  Prose text;
  static void fields(auto& self, auto&& visit) { visit("level", self.level), visit("text", self.text); }
  bool operator==(const Note&) const = default;
};

/// The worker will not serve this volume, in one line, and ends.
struct Refusal {
  static constexpr Tag kTag = Tag::refusal;
  std::uint32_t exit_class = 32;  ///< mount(8)'s: 1 usage, 32 mount failed
  Prose reason;
  static void fields(auto& self, auto&& visit) { visit("exit_class", self.exit_class), visit("reason", self.reason); }
  bool operator==(const Refusal&) const = default;
};

/// A message that says all with its tag.
template <Tag kind>
struct Signal {
  static constexpr Tag kTag = kind;
  static void fields(auto&, auto&&) {}
  bool operator==(const Signal&) const = default;
};
using Ready = Signal<Tag::ready>;        ///< FUSE_INIT was answered
using Attached = Signal<Tag::attached>;  ///< the mount is in place: the worker may write from now on
using Serving = Signal<Tag::serving>;    ///< the worker is ready to write, and serves

/// All that a worker may ever say, and all that a broker may.
using FromWorker = std::variant<HelloReply, OpenFile, OpenBlockDevice, SetType, SetName, SetMountPoint, SetOptions,
                                SetTableOptions, DoMount, Goodbye, Facts, Note, Refusal, Ready, Serving>;
using FromBroker = std::variant<Hello, File, Reply, Attached>;

}  // namespace protocol
