// The other end of a worker's channel, saying whatever a test wants.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/argv_memfd.h"
#include "protocol/channel.h"
#include "protocol/codec.h"

namespace testing_support {

using protocol::UniqueFd;

class HostileBroker {
 public:
  explicit HostileBroker(UniqueFd socket) : socket_{std::move(socket)} {}

  /// Bytes as they are, with any number of descriptors. False: the other end has gone or takes no descriptors.
  bool send(std::string_view bytes, const std::vector<int>& descriptors = {}) {
    iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
    std::vector<char> control(CMSG_SPACE(descriptors.size() * sizeof(int)));
    msghdr header{};
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    if (!descriptors.empty()) {
      header.msg_control = control.data();
      header.msg_controllen = control.size();
      cmsghdr* rights = CMSG_FIRSTHDR(&header);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
      std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size() * sizeof(int));
    }
    return ::sendmsg(socket_.get(), &header, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }

  template <typename Message>
  bool say(const Message& message, const std::vector<int>& descriptors = {}) {
    const auto bytes = protocol::encode(message).value();
    return send({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, descriptors);
  }

  /// The next packet; empty at the end.
  std::string hear() {
    std::string packet(70'000, '\0');
    const ssize_t length = ::recv(socket_.get(), packet.data(), packet.size(), 0);
    packet.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
    return packet;
  }

  void hang_up() { socket_.reset(); }

  // What an honest broker does; each of them a place to stop and do otherwise.
  bool greet(std::uint16_t maximum = protocol::kVersion1, std::uint32_t flags = 3) {
    return say(protocol::Hello{1, maximum, flags}) && !hear().empty();
  }
  bool give_arguments(const std::vector<std::string>& arguments = {"ext4", "disk.img", "/mnt"}) {
    const auto file = protocol::make_argument_file(arguments);
    return say(protocol::File{0, {"argv"}}, {file->get()});
  }
  bool give_device(const char* path = "/dev/fuse") {
    const UniqueFd device{::open(path, O_RDWR | O_CLOEXEC)};
    return say(protocol::File{0, {"fusedev"}}, {device.get()});
  }
  bool prepare(std::uint16_t maximum = protocol::kVersion1) {
    return greet(maximum) && give_arguments() && give_device();
  }

 private:
  UniqueFd socket_;
};

/// A file in memory with these bytes.
inline UniqueFd memory_file(std::string_view contents) {
  UniqueFd file{::memfd_create("test", MFD_CLOEXEC)};
  (void)!::write(file.get(), contents.data(), contents.size());
  return file;
}

}  // namespace testing_support
