#include "worker/fuse/session.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/worker/fuse/served_volume.h"

namespace tests {
namespace {

constexpr std::uint64_t kEveryBit = ~std::uint64_t{0};

TEST(Session, serves_from_init_to_the_end_and_closes_once) {
  ServedVolume served;
  const auto out = served.kernel.initialise();
  EXPECT_TRUE(served.server().wait_initialised());
  EXPECT_EQ(out.major, 7U);
  EXPECT_EQ(out.max_write, 1U << 20);
  EXPECT_TRUE(out.flags & FUSE_WRITEBACK_CACHE);
  EXPECT_EQ(served.attributes(1).ino, 2U);
  EXPECT_EQ(served.server().served(FUSE_GETATTR), 1U);
  served.unmount();
  EXPECT_EQ(served.closed(), 1);
}

TEST(Session, destroy_is_answered_after_the_volume_is_closed) {
  ServedVolume served;
  served.kernel.initialise();
  served.create(1, "file");
  EXPECT_EQ(served.kernel.ask(FUSE_DESTROY, 0).error, 0);
  EXPECT_EQ(served.closed(), 1);
  EXPECT_EQ(served.image.header("Filesystem state"), "clean");
  EXPECT_EQ(served.kernel.ask(FUSE_GETATTR, 1, Body{}.add(fuse_getattr_in{})).error, EIO);
  served.unmount();
  EXPECT_EQ(served.closed(), 1);
}

TEST(Session, nothing_is_served_before_init_and_init_comes_once) {
  ServedVolume served;
  EXPECT_EQ(served.kernel.ask(FUSE_GETATTR, 1, Body{}.add(fuse_getattr_in{})).error, EIO);
  EXPECT_EQ(served.kernel.ask(FUSE_DESTROY, 0).error, EIO);
  served.kernel.initialise();
  EXPECT_THROW(served.kernel.initialise(), std::runtime_error);
  EXPECT_EQ(served.attributes(1).ino, 2U);
}

TEST(Session, a_kernel_of_another_age_is_told_so) {
  ServedVolume served;
  fuse_init_in offer{};
  offer.major = 8;
  const auto other = exactly<fuse_init_out>(served.kernel.ask(FUSE_INIT, 0, Body{}.add(offer)));
  EXPECT_EQ(other.major, 7U);
  offer.major = 6;
  EXPECT_EQ(served.kernel.ask(FUSE_INIT, 0, Body{}.add(offer)).error, EPROTO);
  offer.major = 7;
  offer.minor = 12;
  EXPECT_EQ(served.kernel.ask(FUSE_INIT, 0, Body{}.add(offer)).error, EPROTO);
  served.kernel.initialise(kEveryBit, 36);
}

TEST(Session, init_is_ours_not_libfuse_s) {
  ServedVolume served;
  const auto out = served.kernel.initialise();
  EXPECT_TRUE(out.flags & FUSE_PARALLEL_DIROPS);
  EXPECT_TRUE(out.flags & FUSE_HANDLE_KILLPRIV_V2);
  EXPECT_TRUE(out.flags & FUSE_SETXATTR_EXT);
  EXPECT_FALSE(out.flags & FUSE_AUTO_INVAL_DATA);
  EXPECT_FALSE(out.flags & FUSE_HANDLE_KILLPRIV);
  EXPECT_EQ(out.flags2, 0U);
}

TEST(Session, a_kernel_that_offers_nothing_is_served_too) {
  ServedVolume served;
  const auto out = served.kernel.initialise(0);
  EXPECT_EQ(out.flags, 0U);
  const auto open = exactly<fuse_open_out>(served.kernel.ask(FUSE_OPENDIR, 1, Body{}.add(fuse_open_in{})));
  EXPECT_TRUE(open.open_flags & FOPEN_CACHE_DIR);
  const auto file = served.create(1, "file");
  struct {
    std::uint32_t size = 3, flags = 0;
  } small;
  EXPECT_EQ(served.kernel.ask(FUSE_SETXATTR, file.nodeid, Body{}.add(small).text("user.x").raw("abc")).error, 0);
}

TEST(Session, what_we_do_not_do_is_refused_for_good) {
  ServedVolume served;
  served.kernel.initialise();
  for (const std::uint32_t opcode :
       {std::uint32_t{FUSE_FLUSH}, std::uint32_t{FUSE_OPENDIR}, std::uint32_t{FUSE_ACCESS}, std::uint32_t{FUSE_TMPFILE},
        std::uint32_t{FUSE_COPY_FILE_RANGE}, std::uint32_t{53}, std::uint32_t{FUSE_GETLK}, std::uint32_t{FUSE_POLL},
        std::uint32_t{FUSE_INTERRUPT}, std::uint32_t{54}, std::uint32_t{4096}, ~std::uint32_t{0}}) {
    EXPECT_EQ(served.kernel.ask(opcode, 1, std::vector<std::byte>(64)).error, ENOSYS) << opcode;
  }
}

TEST(Session, many_requests_at_once_are_all_answered) {
  ServedVolume served{{.threads = 3}};
  served.kernel.initialise();
  const Body body = Body{}.add(fuse_getattr_in{});
  std::set<std::uint64_t> open;
  for (int i = 0; i < 60; ++i) open.insert(served.kernel.send(FUSE_GETATTR, 1, body.bytes()));
  while (!open.empty()) {
    std::uint64_t unique = 0;
    EXPECT_EQ(served.kernel.receive(unique).error, 0);
    EXPECT_EQ(open.erase(unique), 1U);
  }
}

TEST(Session, a_mebibyte_goes_in_and_comes_back) {
  ServedVolume served;
  served.kernel.initialise();
  const auto file = served.create(1, "large");
  std::string bytes(1 << 20, 'x');
  for (std::size_t i = 0; i < bytes.size(); i += 7) bytes[i] = static_cast<char>(i);
  served.write(file.nodeid, 4096, bytes);
  EXPECT_EQ(served.read(file.nodeid, 4096, 1 << 20), bytes);
}

TEST(Session, a_volume_that_is_only_read_refuses_changes) {
  ServedVolume served{{.read_only = true}};
  served.kernel.initialise();
  EXPECT_EQ(served.kernel.ask(FUSE_MKDIR, 1, Body{}.add(fuse_mkdir_in{0755, 0}).text("x")).error, EROFS);
  const auto kept = served.lookup(1, "lost+found");
  fuse_open_in open{};
  open.flags = O_RDWR;
  EXPECT_EQ(served.kernel.ask(FUSE_OPEN, kept.nodeid, Body{}.add(open)).error, EROFS);
  served.forget(kept.nodeid);
}

TEST(Server, cancelled_before_it_started_it_sends_its_threads_home) {
  worker::fuse::Server server{2};
  std::jthread one{[&] { server.serve(); }}, two{[&] { server.serve(); }};
  server.cancel();
  EXPECT_FALSE(server.wait_initialised());
}

TEST(Server, a_change_that_waits_for_the_mount_does_not_outlive_the_session) {
  ServedVolume served{{.writing = false}};
  served.kernel.initialise();
  served.kernel.send(FUSE_MKDIR, 1, Body{}.add(fuse_mkdir_in{0755, 0}).text("never").bytes());
  EXPECT_TRUE(served.kernel.silent());
  EXPECT_EQ(served.attributes(1).ino, 2U);
  served.unmount();
  EXPECT_EQ(served.closed(), 1);
}

TEST(Server, an_end_before_init_is_noticed) {
  ServedVolume served;
  served.kernel.hang_up();
  EXPECT_FALSE(served.server().wait_initialised());
}

}  // namespace
}  // namespace tests
