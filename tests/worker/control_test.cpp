#include "worker/control.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <functional>
#include <thread>

#include "protocol/errors.h"
#include "tests/worker/workers_end.h"

namespace {

using protocol::Violation;
using testing_support::code;
using testing_support::HostileBroker;
using testing_support::memory_file;
using testing_support::WorkersEnd;
using worker::Control;
using worker::Error;
using worker::Result;
using worker::UniqueFd;

worker::MountRequest some_mount() {
  worker::MountRequest request;
  request.name = "x";
  request.mount_point = "/mnt";
  return request;
}

protocol::Facts some_facts() {
  protocol::Facts facts;
  facts.block_size = 4096;
  return facts;
}

// Greeting.

TEST_F(WorkersEnd, speaks_version_1_to_whoever_does_not_offer_exactly_the_private_one) {
  for (const std::uint16_t maximum : {std::uint16_t{1}, std::uint16_t{2}, std::uint16_t{0x7fff}}) {
    std::string reply;
    const bool greeted = play(
        [&](HostileBroker& broker) {
          broker.say(protocol::Hello{1, maximum, 3});
          reply = broker.hear();
          broker.give_arguments() && broker.give_device();
        },
        [](Control& control) {
          const auto gifts = control.greet();
          return gifts.ok() && !control.private_version() && control.permitted() == 3;
        });
    EXPECT_TRUE(greeted);
    EXPECT_EQ(reply, std::string("LAST\0\1\0\0", 8)) << maximum;
  }
}

TEST_F(WorkersEnd, speaks_the_private_version_when_it_is_offered) {
  std::string reply;
  const bool greeted = play(
      [&](HostileBroker& broker) {
        broker.say(protocol::Hello{1, protocol::kPrivateVersion, 0});
        reply = broker.hear();
        broker.give_arguments({"ext4", "a", "b", "-o", "ro"}) && broker.give_device();
      },
      [](Control& control) {
        const auto gifts = control.greet();
        return gifts.ok() && control.private_version() && gifts->arguments.size() == 5 && gifts->fuse_device;
      });
  EXPECT_TRUE(greeted);
  EXPECT_EQ(reply, std::string("LASTE4\0\0", 8));
}

struct BadPacket {
  const char* what;
  std::string bytes;
};

TEST_F(WorkersEnd, ends_without_an_answer_on_a_hello_that_is_wrong) {
  const BadPacket packets[] = {
      {"short", std::string("SAFT\0\1\0\1\0\0\0", 11)},
      {"long", std::string("SAFT\0\1\0\1\0\0\0\0\0", 13)},
      {"tag alone", "SAFT"},
      {"less than a tag", "SAF"},
      {"unknown flag", std::string("SAFT\0\1\0\1\0\0\0\4", 12)},
      {"high flag", std::string("SAFT\0\1\0\1\200\0\0\0", 12)},
      {"minimum above maximum", std::string("SAFT\0\2\0\1\0\0\0\0", 12)},
      {"only later versions", std::string("SAFT\0\2\0\3\0\0\0\0", 12)},
      {"only the private version", std::string("SAFTE4E4\0\0\0\0", 12)},
      {"only version 0", std::string("SAFT\0\0\0\0\0\0\0\0", 12)},
      {"unknown tag", std::string("XYZZ\0\1\0\1\0\0\0\0", 12)},
      {"a gift first", std::string("FILE\0\0\0\0argv\0", 13)},
      {"a reply first", std::string("REPL\0\0\0\0", 8)},
      {"attached first", "ATCH"},
      {"oversized", std::string(66'000, 'S')},
  };
  for (const auto& packet : packets) {
    std::string answer = "none";
    const auto gifts = greeted_by([&](HostileBroker& broker) {
      broker.send(packet.bytes);
      answer = broker.hear();
    });
    EXPECT_EQ(code(gifts).category(), protocol::protocol_category()) << packet.what;
    EXPECT_EQ(answer, "") << packet.what;
  }
}

TEST_F(WorkersEnd, takes_no_descriptor_with_a_hello) {
  const auto gifts = greeted_by([&](HostileBroker& broker) { broker.say(protocol::Hello{1, 1, 0}, {0}); });
  EXPECT_EQ(code(gifts), Violation::extra_descriptor);
}

TEST_F(WorkersEnd, gives_up_when_no_hello_comes) {
  const auto before = std::chrono::steady_clock::now();
  const auto gifts = greeted_by([](HostileBroker& broker) { broker.hear(); });
  EXPECT_EQ(code(gifts), Violation::deadline);
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds{3});
}

TEST_F(WorkersEnd, gives_up_when_the_broker_goes) {
  EXPECT_EQ(code(greeted_by([](HostileBroker& broker) { broker.hang_up(); })), Violation::closed);
  EXPECT_EQ(code(greeted_by([](HostileBroker& broker) {
              broker.greet();
              broker.hang_up();
            })),
            Violation::closed);
  EXPECT_EQ(code(greeted_by([](HostileBroker& broker) {
              broker.greet() && broker.give_arguments();
              broker.hang_up();
            })),
            Violation::closed);
}

// The gifts.

TEST_F(WorkersEnd, gives_up_when_a_gift_does_not_come) {
  EXPECT_EQ(code(greeted_by([](HostileBroker& broker) {
              broker.greet();
              broker.hear();
            })),
            Violation::deadline);
}

TEST_F(WorkersEnd, wants_each_gift_once_in_its_place_with_one_descriptor) {
  const auto fails = [&](const char* what, std::function<void(HostileBroker&)> deed) {
    const auto gifts = greeted_by([&](HostileBroker& broker) {
      if (broker.greet()) deed(broker);
    });
    EXPECT_EQ(code(gifts).category(), protocol::protocol_category()) << what;
  };
  fails("second hello", [](auto& broker) { broker.say(protocol::Hello{1, 1, 0}); });
  fails("no descriptor", [](auto& broker) { broker.say(protocol::File{0, {"argv"}}); });
  fails("two descriptors", [](auto& broker) { broker.say(protocol::File{0, {"argv"}}, {0, 1}); });
  fails("many descriptors", [](auto& broker) { broker.say(protocol::File{0, {"argv"}}, std::vector<int>(40, 0)); });
  fails("a descriptor with an error", [](auto& broker) { broker.say(protocol::File{EIO, {"argv"}}, {0}); });
  fails("an impossible error", [](auto& broker) { broker.say(protocol::File{0xffff'fff0, {"argv"}}); });
  fails("the other gift", [](auto& broker) { broker.give_device(); });
  fails("arguments twice", [](auto& broker) { broker.give_arguments() && broker.give_arguments(); });
  fails("a reply", [](auto& broker) { broker.say(protocol::Reply{0}); });
  fails("no name", [](auto& broker) { broker.send(std::string("FILE\0\0\0\0\0", 9), {0}); });
  fails("name without its end", [](auto& broker) { broker.send(std::string("FILE\0\0\0\0argv", 12), {0}); });
  fails("two names", [](auto& broker) { broker.send(std::string("FILE\0\0\0\0argv\0x\0", 15), {0}); });
}

TEST_F(WorkersEnd, reports_an_error_in_place_of_a_gift) {
  EXPECT_EQ(code(greeted_by([](HostileBroker& broker) {
              broker.greet() && broker.say(protocol::File{ENOMEM, {"argv"}});
            })),
            std::errc::not_enough_memory);
}

TEST_F(WorkersEnd, believes_nothing_of_the_argument_file) {
  const auto with = [&](const UniqueFd& file) {
    return greeted_by([&](HostileBroker& broker) {
      broker.greet() && broker.say(protocol::File{0, {"argv"}}, {file.get()});
    });
  };
  const std::string_view kHeader{"ARGS\0\0\0\1", 8};
  EXPECT_FALSE(with(memory_file("")));
  EXPECT_FALSE(with(memory_file("ARGS")));
  EXPECT_FALSE(with(memory_file(std::string(64, 'x')))) << "another magic";
  EXPECT_FALSE(with(memory_file({"ARGS\0\0\0\0", 8}))) << "no argument";
  EXPECT_FALSE(with(memory_file({"ARGS\377\377\377\377", 8}))) << "more arguments than bytes";
  EXPECT_FALSE(with(memory_file(kHeader))) << "no table";
  EXPECT_FALSE(with(memory_file({"ARGS\0\0\0\1\0\0\0\20\0\0\0\100x", 17}))) << "length beyond the end";
  EXPECT_FALSE(with(memory_file({"ARGS\0\0\0\1\377\377\377\370\0\0\0\20x", 17}))) << "position beyond the end";
  EXPECT_FALSE(with(memory_file({"ARGS\0\0\0\1\0\0\0\20\0\0\0\1x", 17}))) << "no NUL";
  EXPECT_FALSE(with(memory_file({"ARGS\0\0\0\1\0\0\0\20\0\0\0\0x", 17}))) << "not even room for a NUL";
  EXPECT_FALSE(with(memory_file(std::string((1U << 20) + 1, '\0')))) << "above the limit";
  EXPECT_FALSE(with(UniqueFd{::open("/", O_RDONLY | O_DIRECTORY)}));
  EXPECT_FALSE(with(UniqueFd{::open("/dev/zero", O_RDONLY)}));
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const UniqueFd read_end{ends[0]}, write_end{ends[1]};
  EXPECT_FALSE(with(read_end)) << "a pipe, which would block";
}

TEST_F(WorkersEnd, takes_only_the_fuse_device_as_such) {
  for (const char* other : {"/dev/null", "/dev/zero"}) {
    EXPECT_EQ(code(greeted_by([&](HostileBroker& broker) {
                broker.greet() && broker.give_arguments() && broker.give_device(other);
              })),
              std::errc::no_such_device)
        << other;
  }
}

// The volume.

TEST_F(WorkersEnd, asks_for_the_source_by_the_name_it_was_told) {
  std::string asked;
  const UniqueFd file = memory_file("volume");
  const auto source = after_greeting(
      1,
      [&](HostileBroker& broker) {
        asked = broker.hear();
        broker.say(protocol::File{0, {"disk.img"}}, {file.get()});
      },
      [](Control& control) { return control.open_source("disk.img", true, true); });
  ASSERT_TRUE(source) << source.error().message();
  EXPECT_EQ(asked, std::string("OPEN\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0disk.img\0", 29));
}

TEST_F(WorkersEnd, takes_no_descriptor_once_it_has_the_source) {
  const UniqueFd file = memory_file("volume");
  bool delivered = true;
  const auto mounted = after_greeting(
      1,
      [&](HostileBroker& broker) {
        broker.hear();
        broker.say(protocol::File{0, {"disk.img"}}, {file.get()});
        broker.hear();
        delivered = broker.say(protocol::Reply{0}, {file.get()});
        if (!delivered) broker.hang_up();
      },
      [](Control& control) {
        (void)control.open_source("disk.img", true, true);
        return control.mount(some_mount());
      });
  EXPECT_FALSE(mounted);
  EXPECT_EQ(code(mounted), delivered ? Violation::extra_descriptor : Violation::closed);
}

// The mount.

TEST_F(WorkersEnd, mounts_with_the_bytes_of_the_golden_exchange) {
  std::vector<std::string> said;
  const auto mounted = after_greeting(
      1,
      [&](HostileBroker& broker) {
        for (int request = 0; request < 6; ++request) {
          said.push_back(broker.hear());
          broker.say(protocol::Reply{0});
        }
        said.push_back(broker.hear());
      },
      [](Control& control) -> Result<void> {
        worker::MountRequest request;
        request.name = "hello";
        request.mount_point = "/mnt";
        request.options = "default_permissions";
        request.table_options = "x-foo=bar";
        request.flags = 6;
        TRY(control.mount(request));
        TRY(control.await_attached());
        return control.announce_serving();
      });
  ASSERT_TRUE(mounted) << mounted.error().message();
  const std::vector<std::string> expected{
      {"TYPE\0\0\0\0", 8},     {"NAMEhello\0", 10}, {"MNTP\x40\0\0\0/mnt\0", 13}, {"OPTSdefault_permissions\0", 24},
      {"MTABx-foo=bar\0", 14}, {"DOIT\0\0\0\6", 8}, {"BYEE\0\0\0\0", 8}};
  EXPECT_EQ(said, expected);
}

TEST_F(WorkersEnd, stops_at_the_first_request_that_is_refused) {
  for (int refused = 0; refused < 4; ++refused) {
    int asked = 0;
    const auto mounted = after_greeting(
        1,
        [&](HostileBroker& broker) {
          for (; !broker.hear().empty(); ++asked) broker.say(protocol::Reply{asked == refused ? EPERM : 0U});
        },
        [](Control& control) { return control.mount(some_mount()); });
    EXPECT_EQ(code(mounted), std::errc::operation_not_permitted);
    EXPECT_EQ(asked, refused + 1);
  }
}

TEST_F(WorkersEnd, ends_on_answers_that_nobody_asked_for) {
  const auto with = [&](std::function<void(HostileBroker&)> deed) {
    return code(after_greeting(
        protocol::kPrivateVersion,
        [&](HostileBroker& broker) {
          broker.hear();
          deed(broker);
          broker.hear();
        },
        [](Control& control) -> Result<void> {
          TRY(control.state_facts(some_facts()));
          return control.mount(some_mount());
        }));
  };
  EXPECT_EQ(with([](auto& broker) { broker.say(protocol::File{0, {"x"}}, {0}); }), Violation::out_of_phase);
  EXPECT_EQ(with([](auto& broker) { broker.say(protocol::Attached{}); }), Violation::out_of_phase);
  EXPECT_EQ(with([](auto& broker) { broker.say(protocol::Hello{}); }), Violation::out_of_phase);
  EXPECT_EQ(with([](auto& broker) { broker.send(std::string("REPL\0\0\0", 7)); }), Violation::malformed);
  EXPECT_EQ(with([](auto& broker) { broker.send(std::string("REPL\0\0\0\0\0", 9)); }), Violation::malformed);
  EXPECT_EQ(with([](auto& broker) { broker.say(protocol::Reply{0x8000'0000}); }), Violation::malformed);
  EXPECT_EQ(with([](auto& broker) { broker.hang_up(); }), Violation::closed);
}

/// Our own broker up to the reply to DOIT.
void mount_for(HostileBroker& broker) {
  broker.hear();  // FACT
  for (int request = 0; request < 4; ++request) {
    broker.hear();
    broker.say(protocol::Reply{0});
  }
}

Result<void> mount_with(Control& control) {
  TRY(control.state_facts(some_facts()));
  return control.mount(some_mount());
}

TEST_F(WorkersEnd, goes_through_ready_attached_serving_and_goodbye_with_our_own_broker) {
  std::vector<std::string> said;
  const auto served = after_greeting(
      protocol::kPrivateVersion,
      [&](HostileBroker& broker) {
        mount_for(broker);
        said.push_back(broker.hear());
        broker.say(protocol::Attached{});
        said.push_back(broker.hear());
        said.push_back(broker.hear());
      },
      [](Control& control) -> Result<void> {
        TRY(mount_with(control));
        TRY(control.await_attached());
        TRY(control.announce_serving());
        control.announce_closed(0);
        return {};
      });
  EXPECT_TRUE(served);
  EXPECT_EQ(said, (std::vector<std::string>{"REDY", "SERV", {"BYEE\0\0\0\0", 8}}));
}

TEST_F(WorkersEnd, does_not_go_on_before_it_is_attached) {
  const auto with = [&](std::function<void(HostileBroker&)> deed) {
    return code(after_greeting(
        protocol::kPrivateVersion,
        [&](HostileBroker& broker) {
          mount_for(broker);
          broker.hear();
          deed(broker);
        },
        [](Control& control) -> Result<void> {
          TRY(mount_with(control));
          return control.await_attached();
        }));
  };
  EXPECT_EQ(with([](auto& broker) { broker.hear(); }), Violation::deadline);
  EXPECT_EQ(with([](auto& broker) { broker.hang_up(); }), Violation::closed);
  EXPECT_EQ(with([](auto& broker) { broker.say(protocol::Reply{0}); }), Violation::out_of_phase);
  EXPECT_EQ(with([](auto& broker) { broker.send(std::string("ATCH\0", 5)); }), Violation::malformed);
}

TEST_F(WorkersEnd, outlives_a_broker_that_goes_once_it_serves) {
  const bool outlived = after_greeting(
      protocol::kPrivateVersion,
      [&](HostileBroker& broker) {
        mount_for(broker);
        broker.hear();
        broker.say(protocol::Attached{});
        broker.hang_up();
      },
      [](Control& control) {
        if (!mount_with(control) || !control.await_attached()) return false;
        (void)control.announce_serving();
        control.announce_closed(0);
        return true;
      });
  EXPECT_TRUE(outlived);
}

// Refusing.

TEST_F(WorkersEnd, gives_its_reason_to_our_own_broker_and_a_code_to_another) {
  std::string said;
  const auto refuse = [](Control& control) {
    control.refuse(32, "bad\0magic");
    return true;
  };
  const auto listen = [&](HostileBroker& broker) { said = broker.hear(); };
  after_greeting(protocol::kPrivateVersion, listen, refuse);
  EXPECT_EQ(said, std::string("REFU\0\0\0\40bad\0", 12));
  after_greeting(1, listen, refuse);
  EXPECT_EQ(said, std::string("BYEE\0\0\0\40", 8));
}

TEST_F(WorkersEnd, says_nothing_to_a_broker_that_has_not_greeted) {
  std::string said = "none";
  play([&](HostileBroker& broker) { said = broker.hear(); },
       [](Control& control) {
         control.refuse(32, "reason");
         return true;
       });
  EXPECT_EQ(said, "");
}

TEST_F(WorkersEnd, cuts_and_bounds_what_comes_from_the_volume) {
  std::string facts, note;
  after_greeting(
      protocol::kPrivateVersion,
      [&](HostileBroker& broker) {
        facts = broker.hear();
        note = broker.hear();
      },
      [](Control& control) {
        protocol::Facts long_facts;
        long_facts.block_size = 1024;
        long_facts.label.value = std::string("la\0bel", 6);
        EXPECT_TRUE(control.state_facts(long_facts));
        EXPECT_TRUE(control.note(1, std::string(5000, 'w')));
        return true;
      });
  EXPECT_EQ(facts, std::string("FACT\0\0\4\0\0\0\0\0la\0\0", 16));
  EXPECT_EQ(note.size(), 8 + protocol::kMaximumProse + 1);
}

// Being started.

/// In a child: descriptor 3 and the environment as given, then Control::adopt. Returns its errno.
int adopt(const std::function<int()>& make_descriptor, const char* process, const char* count, bool spawned = false) {
  const pid_t child = ::fork();
  if (child == 0) {
    const int descriptor = make_descriptor();
    if (descriptor >= 0 && descriptor != 3) ::dup2(descriptor, 3);
    if (descriptor < 0) ::close(3);
    const std::string self = std::to_string(::getpid());
    if (process != nullptr) ::setenv("LISTEN_PID", *process == 'x' ? self.c_str() : process, 1);
    if (count != nullptr) ::setenv("LISTEN_FDS", count, 1);
    const auto control = Control::adopt(spawned);
    const bool forgotten = ::getenv("LISTEN_PID") == nullptr && ::getenv("LISTEN_FDS") == nullptr;
    ::_exit(!forgotten ? 255 : control ? 0 : control.error().code.value());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int socket_of(int type, uid_t uid = 0) {
  if (uid != 0 && ::setresuid(uid, uid, uid) != 0) return -1;
  int ends[2];
  return ::socketpair(AF_UNIX, type, 0, ends) == 0 ? ends[0] : -1;
}

TEST(Adopting, wants_one_seqpacket_socket_that_is_meant_for_this_process) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const auto good = [] { return socket_of(SOCK_SEQPACKET); };
  EXPECT_EQ(adopt(good, "x", "1"), 0);
  EXPECT_EQ(adopt(good, nullptr, nullptr), ENOENT);
  EXPECT_EQ(adopt(good, "x", nullptr), ENOENT);
  EXPECT_EQ(adopt(good, nullptr, "1"), ENOENT);
  EXPECT_EQ(adopt(good, "1", "1"), ENOENT);
  EXPECT_EQ(adopt(good, "x", "1x"), ENOENT);
  EXPECT_EQ(adopt(good, "x", ""), ENOENT);
  EXPECT_EQ(adopt(good, "x", "0"), E2BIG);
  EXPECT_EQ(adopt(good, "x", "2"), E2BIG);
  EXPECT_EQ(adopt([] { return socket_of(SOCK_STREAM); }, "x", "1"), EPROTOTYPE);
  EXPECT_EQ(adopt([] { return ::socket(AF_INET, SOCK_DGRAM, 0); }, "x", "1"), EPROTOTYPE);
  EXPECT_EQ(adopt([] { return ::open("/dev/null", O_RDWR); }, "x", "1"), ENOTSOCK);
  EXPECT_EQ(adopt([] { return -1; }, "x", "1"), EBADF);
}

TEST(Adopting, serves_nobody_but_root_unless_its_maker_cannot_be_seen) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const auto others = [] { return socket_of(SOCK_SEQPACKET, 65534); };
  EXPECT_EQ(adopt(others, "x", "1"), EACCES);
  EXPECT_EQ(adopt(others, "x", "1", true), 0);
}

}  // namespace
