// The acts of one mount on the real kernel, and their undoing.
#pragma once

#include <optional>
#include <string>

#include "broker/session.h"
#include "broker/state_file.h"
#include "broker/worker_process.h"

namespace broker {

/// Owns everything a mount is made of. Unless release() was called its destructor undoes all of it: the worker is
/// killed first, because taking a mount away can wait for its server.
class Mounting final : public MountActions {
 public:
  /// `deadline`: for waiting until others let go; `interrupt`: a descriptor that ends such waits when it is readable.
  Mounting(const MountPlan& plan, protocol::Deadline deadline, int interrupt)
      : plan_{plan}, deadline_{deadline}, interrupt_{interrupt} {}
  Mounting(const Mounting&) = delete;
  Mounting& operator=(const Mounting&) = delete;
  ~Mounting() override;

  /// Opens and claims all that the plan names: mount point, source, slot, loop device, FUSE device. No worker exists
  /// yet.
  Result<void> open_everything();
  /// Spawns the worker or connects to its service. The channel is the session's to own.
  Result<protocol::Channel> start_worker();
  Grants grants() const;

  Result<protocol::Channel> reconnect() override;
  Result<void> meet_worker(protocol::Packet& packet, std::uint16_t version) override;
  Result<void> check_worker() override;
  Result<UniqueFd> open_source(std::uint32_t block_size) override;
  Result<UniqueFd> open_direct_source() override;
  Result<UniqueFd> open_fuse_device() override;
  Result<void> create_mount(MountSpecification& specification) override;
  Result<UniqueFd> start_probe() override;
  Result<void> finish_probe(bool answered) override;
  Result<void> attach(const SessionOutcome& so_far) override;

  /// What the supervisor goes on with; every other descriptor is closed.
  struct Remains {
    MountState state;
    StateFile file;
    WorkerProcess worker;
    UniqueFd claim;  ///< on a block device whose mount is no claim; else none
  };
  Remains release();
  const std::string& source_warning() const noexcept { return source_->warning; }

 private:
  Result<protocol::Channel> connect_service();

  const MountPlan& plan_;
  const protocol::Deadline deadline_;
  const int interrupt_;
  std::optional<MountPoint> where_;
  std::optional<Source> source_;
  MountState state_;
  std::optional<LoopDevice> loop_;
  std::optional<WorkerProcess> worker_;
  std::optional<FuseMount> mount_;
  UniqueFd direct_, fuse_device_, probe_, claim_;
  bool spawned_ = false, block_ = false, attached_ = false;
};

}  // namespace broker
