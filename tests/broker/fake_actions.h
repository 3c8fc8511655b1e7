// What a session asks of the system, without the system.
#pragma once

#include <fcntl.h>

#include <optional>
#include <string>

#include "broker/session.h"

namespace support {

inline protocol::UniqueFd open_null() { return protocol::UniqueFd{::open("/dev/null", O_RDWR | O_CLOEXEC)}; }

/// Notes what the session did; fails where told to.
class FakeActions final : public broker::MountActions {
 public:
  protocol::Result<protocol::Channel> reconnect() override {
    note("reconnect");
    if (!second) return protocol::errno_error(EPROTO);
    return std::move(*second);
  }
  protocol::Result<void> meet_worker(protocol::Packet& packet, std::uint16_t version) override {
    note("meet " + std::to_string(version));
    sender = packet.sender;
    return {};
  }
  protocol::Result<void> check_worker() override {
    note("check");
    return contained ? protocol::Result<void>{} : protocol::errno_error(EPERM, "the worker is not contained");
  }
  protocol::Result<protocol::UniqueFd> open_source(std::uint32_t block_size) override {
    note("source " + std::to_string(block_size));
    if (source_error != 0) return protocol::errno_error(source_error);
    return open_null();
  }
  protocol::Result<protocol::UniqueFd> open_fuse_device() override { return open_null(); }
  protocol::Result<void> create_mount(broker::MountSpecification& specification) override {
    note("create");
    created = specification;
    if (create_error != 0) return protocol::errno_error(create_error, "cannot create the file system");
    return {};
  }
  protocol::Result<protocol::UniqueFd> start_probe() override {
    note("probe");
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return protocol::last_error();
    probe_writer.reset(ends[1]);
    if (probe_answers) probe_writer.reset();
    return protocol::UniqueFd{ends[0]};
  }
  protocol::Result<void> finish_probe(bool answered) override {
    note(answered ? "answered" : "not answered");
    probe_writer.reset();
    return {};
  }
  protocol::Result<void> attach() override {
    note("attach");
    return attach_error == 0 ? protocol::Result<void>{} : protocol::errno_error(attach_error, "cannot attach");
  }

  void note(const std::string& act) { acts.append(acts.empty() ? "" : ", ").append(act); }

  std::string acts;
  std::optional<ucred> sender;
  std::optional<protocol::Channel> second;
  std::optional<broker::MountSpecification> created;
  protocol::UniqueFd probe_writer;
  bool contained = true, probe_answers = true;
  int source_error = 0, create_error = 0, attach_error = 0;
};

}  // namespace support
