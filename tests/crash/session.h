// A volume under work: carries operations out, keeps the model in step, and marks in the recording what was promised.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "tests/crash/model.h"
#include "tests/crash/recorder.h"
#include "worker/volume/volume.h"

namespace crash {

/// One mount of a device, by one thread.
class Session {
 public:
  /// Opens `device` and starts writing; check `failed()`. `recorder` may be null, and is not written to.
  Session(worker::disk::BlockDevice& device, Recorder* recorder, Model& model);

  /// True when the operation succeeded; then the model has it as well. An error goes into `errors`.
  bool run(const Operation& operation);
  /// A sync by another thread, while run() goes on. True if it succeeded.
  bool sync_beside();
  /// Ends the mount as umount does.
  bool close();

  /// Why the volume could not be opened, empty if it could.
  const std::string& failed() const noexcept { return failed_; }
  worker::volume::Volume& volume() noexcept { return *volume_; }
  Recorder* recorder() noexcept { return recorder_; }
  const Model& model() const noexcept { return model_; }
  /// By the names under which they were opened; they may have others now, or none.
  const std::map<std::string, InodeNumber>& open_files() const noexcept { return open_; }

  /// A sync or fsync has failed: nothing may be changed any more, and nobody may be told that all is well.
  bool broken() const noexcept { return broken_; }

  /// ENOSPC may come from the device: as EIO, it then leaves the contents of a file half changed.
  bool device_may_fill = false;
  std::set<int> errors;  ///< every errno that an operation ended with
  /// Of the latest version when the last sync, fsync or close that succeeded began.
  Version promised = 0;

 private:
  struct Outcome {
    bool ok = false;
    InodeNumber inode = 0;
    std::uint64_t written = 0;
  };
  template <typename T>
  bool note(const protocol::Result<T>& outcome);
  Outcome make(const Operation& operation);
  Outcome change(const Operation& operation);
  Outcome change_names(const Operation& operation);
  Outcome change_data(const Operation& operation, InodeNumber inode);
  bool make_durable(const Operation& operation);
  bool open_or_close(const Operation& operation);

  Recorder* recorder_;
  Model& model_;
  std::unique_ptr<worker::volume::Volume> volume_;
  std::string failed_;
  bool broken_ = false;
  std::atomic<Version> completed_;  ///< the model's latest version, for other threads
  std::map<std::string, InodeNumber> open_;
};

}  // namespace crash
