#include "broker/state_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>

#include "broker/process.h"

namespace broker {
namespace {

namespace fs = std::filesystem;

/// A process that only waits to be killed.
class Bystander {
 public:
  Bystander() : pid_{::fork()} {
    if (pid_ == 0)
      for (;;) ::pause();
  }
  ~Bystander() { end(); }
  Bystander(const Bystander&) = delete;
  void end() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    pid_ = -1;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

MountState sample(pid_t worker) {
  MountState state;
  state.source = "/images/a b\\\n=c.img";
  state.mount_point = "/mnt";
  state.type = "ext4";
  state.loop_device = "/dev/loop7";
  state.block = true;
  state.worker_pid = worker;
  state.worker_start_time = process_start_time(worker);
  state.supervisor_pid = 5;
  state.identity = {77, 1234567890123, "/dev/loop7", 9876543210};
  state.range = {12, 34, {4096, 8192}};
  state.worker_uid = 0x70000001;
  return state;
}

class StateFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "state files are root's";
    char name[] = "/var/tmp/ext4box-state-XXXXXX";
    directory_ = ::mkdtemp(name);
    ::setenv("EXT4BOX_RUN_DIR", directory_.c_str(), 1);
  }
  void TearDown() override {
    ::unsetenv("EXT4BOX_RUN_DIR");
    if (!directory_.empty()) fs::remove_all(directory_);
  }
  static std::vector<MountState> living() { return living_mounts(Visibility::anywhere); }

  std::string directory_;
};

TEST(StateText, every_field_comes_back) {
  const MountState state = sample(::getpid());
  const std::string text = encode_state(state);
  const auto again = decode_state(text);

  ASSERT_TRUE(again);
  EXPECT_EQ(encode_state(*again), text);
  EXPECT_EQ(again->source, state.source);
  EXPECT_EQ(again->identity.unique_id, state.identity.unique_id);
  EXPECT_EQ(again->range.window.length, 8192U);
  EXPECT_TRUE(again->block);
}

TEST(StateText, malformed_text_is_no_state) {
  const std::string text = encode_state(sample(::getpid()));

  for (std::size_t length = 0; length < text.size(); ++length)
    EXPECT_FALSE(decode_state(text.substr(0, length))) << length;
  EXPECT_FALSE(decode_state("no equals sign\n" + text));
  std::string odd = text;
  odd.replace(odd.find("worker_pid="), 11, "worker_pid=x");
  EXPECT_FALSE(decode_state(odd));
  odd = text;
  odd.replace(odd.find("read_only=0"), 11, "read_only=2");
  EXPECT_FALSE(decode_state(odd));
}

TEST_F(StateFileTest, slots_are_distinct_and_come_back) {
  auto first = StateFile::claim(), second = StateFile::claim();
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->slot(), 0U);
  EXPECT_EQ(second->slot(), 1U);

  { const StateFile gone = std::move(*first); }
  auto third = StateFile::claim();
  ASSERT_TRUE(third.ok());
  EXPECT_EQ(third->slot(), 0U);
}

TEST_F(StateFileTest, a_state_lives_as_long_as_its_worker) {
  Bystander worker;
  auto file = StateFile::claim();
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(living().empty());
  ASSERT_TRUE(file->publish(sample(worker.pid())).ok());

  ASSERT_EQ(living().size(), 1U);
  EXPECT_EQ(living()[0].worker_pid, worker.pid());
  EXPECT_TRUE(living_mounts().empty()) << "it is mounted nowhere";
  worker.end();
  EXPECT_TRUE(living().empty());
}

TEST_F(StateFileTest, a_reused_pid_is_not_the_worker) {
  Bystander other;
  MountState state = sample(other.pid());
  ++state.worker_start_time;
  auto file = StateFile::claim();
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->publish(state).ok());

  EXPECT_TRUE(living().empty());
  state.worker_start_time = 0;
  ASSERT_TRUE(file->publish(state).ok());
  EXPECT_TRUE(living().empty());
}

TEST_F(StateFileTest, a_slot_whose_worker_outlived_its_supervisor_stays_taken) {
  Bystander worker;
  {
    auto file = StateFile::claim();
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->publish(sample(worker.pid())).ok());
  }
  {
    auto next = StateFile::claim();
    ASSERT_TRUE(next.ok());
    EXPECT_EQ(next->slot(), 1U);
  }
  EXPECT_EQ(living().size(), 1U);
  worker.end();
  auto next = StateFile::claim();
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(next->slot(), 0U);
  EXPECT_FALSE(fs::exists(directory_ + "/0.mount")) << "what is stale goes away";
}

TEST_F(StateFileTest, files_of_others_are_not_believed) {
  Bystander worker;
  const std::string path = directory_ + "/9.mount";
  const auto write = [&] { std::ofstream{path} << encode_state(sample(worker.pid())); };
  write();
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  EXPECT_EQ(living().size(), 1U);

  ASSERT_EQ(::chmod(path.c_str(), 0664), 0);
  EXPECT_TRUE(living().empty()) << "writable by a group";
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  ASSERT_EQ(::chown(path.c_str(), 1000, 0), 0);
  EXPECT_TRUE(living().empty()) << "owned by a user";
  ASSERT_EQ(::chown(path.c_str(), 0, 0), 0);
  fs::rename(path, directory_ + "/real");
  fs::create_symlink("real", path);
  EXPECT_TRUE(living().empty()) << "a link";
  fs::remove(path);
  ASSERT_EQ(::mkfifo(path.c_str(), 0644), 0);
  EXPECT_TRUE(living().empty()) << "a pipe, which must not hold us up";
}

TEST_F(StateFileTest, an_unprivileged_reader_sees_the_same) {
  Bystander worker;
  auto file = StateFile::claim();
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->publish(sample(worker.pid())).ok());
  ASSERT_EQ(::chmod(directory_.c_str(), 0755), 0);

  const pid_t reader = ::fork();
  if (reader == 0) {
    if (::setresgid(65534, 65534, 65534) != 0 || ::setresuid(65534, 65534, 65534) != 0) ::_exit(3);
    ::_exit(living().size() == 1 && ::access((directory_ + "/slots").c_str(), R_OK) != 0 ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(reader, &status, 0), reader);
  EXPECT_EQ(status, 0);
}

TEST_F(StateFileTest, a_superblock_that_is_gone_is_not_found_by_its_number) {
  Bystander worker;
  auto file = StateFile::claim();
  ASSERT_TRUE(file.ok());
  auto state = sample(worker.pid());
  state.identity.backing = 1;
  ASSERT_TRUE(file->publish(state).ok());
  EXPECT_FALSE(find_state({77, 0, "/dev/loop7", 0}));
}

TEST_F(StateFileTest, the_outcome_can_be_read_after_the_name_has_gone) {
  Bystander worker;
  auto file = StateFile::claim();
  ASSERT_TRUE(file.ok());
  auto state = sample(worker.pid());
  state.identity.backing = 0;  // not known: there is no superblock behind this one that could be looked for
  ASSERT_TRUE(file->publish(state).ok());
  const auto open = find_state({77, 0, "/dev/loop7", 0});
  ASSERT_TRUE(open);
  EXPECT_FALSE(find_state({77, 0, "/dev/loop6", 0}));
  EXPECT_FALSE(open->outcome());
  EXPECT_TRUE(open->supervised());

  file->finish("a \\ reason\nin two lines");
  EXPECT_EQ(open->outcome(), "a \\ reason\nin two lines");
  EXPECT_FALSE(fs::exists(directory_ + "/0.mount"));
  { const StateFile gone = std::move(*file); }
  EXPECT_FALSE(open->supervised());
}

TEST(Process, knows_itself_and_notices_an_end) {
  Bystander other;
  const auto start = process_start_time(other.pid());
  EXPECT_NE(start, 0U);
  auto process = open_process(other.pid(), start);
  ASSERT_TRUE(process.ok());
  EXPECT_FALSE(wait_until_readable(process->get(), std::chrono::milliseconds{0}));
  EXPECT_FALSE(open_process(other.pid(), start + 1).ok());
  EXPECT_FALSE(open_process(0, start).ok());

  other.end();
  EXPECT_TRUE(wait_until_readable(process->get(), std::chrono::milliseconds{0}));
}

TEST(Process, one_that_does_nothing_is_stuck) {
  Bystander idle;
  ProgressWatch watch{idle.pid(), std::chrono::milliseconds{120}};
  EXPECT_FALSE(watch.stuck());
  ::usleep(150'000);
  EXPECT_TRUE(watch.stuck());

  ProgressWatch busy{::getpid(), std::chrono::milliseconds{120}};
  EXPECT_FALSE(busy.stuck());
  ::usleep(150'000);
  (void)!::write(STDERR_FILENO, "", 0);
  EXPECT_FALSE(busy.stuck()) << "it has written";
}

}  // namespace
}  // namespace broker
