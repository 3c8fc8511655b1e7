// The broker's end of a mount, against workers that do what they should not.
#include <algorithm>

#include "protocol/log.h"
#include "tests/broker/session_fixture.h"

namespace session_fixture {
namespace {

TEST_F(SessionTest, a_private_worker_is_mounted_attached_and_serves) {
  const auto outcome = run([](FakeWorker& worker) {
    worker.mount(kPrivateVersion);
    worker.serve();
  });
  EXPECT_EQ(outcome.exit_code, 0) << outcome.reason;
  EXPECT_EQ(outcome.version, kPrivateVersion);
  EXPECT_EQ(actions.acts, "meet 17716, check, source 0, create, attach");
  EXPECT_EQ(outcome.facts.journal.value, "internal");
  EXPECT_TRUE(outcome.specification.block);
  EXPECT_EQ(outcome.specification.source, "/dev/loop7");
  EXPECT_EQ(outcome.specification.block_size, 4096u);
  EXPECT_TRUE(outcome.specification.default_permissions);
}

TEST_F(SessionTest, a_version_1_worker_is_attached_once_the_mount_answers) {
  const auto outcome = run([](FakeWorker& worker) {
    worker.mount(kVersion1);
    worker.say(Goodbye{0});
  });
  EXPECT_EQ(outcome.exit_code, 0) << outcome.reason;
  EXPECT_EQ(actions.acts, "meet 1, check, source 0, create, probe, answered, attach");
}

TEST_F(SessionTest, plays_the_golden_exchange_byte_for_byte) {
  grants.arguments = {"ptest", "/tmp/source.img_", "/tmp/mountpoint_", "-o", "ro,foo=bar"};
  grants.mount_point = "/tmp/mountpoint_";
  const auto outcome = run([](FakeWorker& worker) {
    // The helper of libfuse offers [1, 1]; our offer of a higher maximum is the one difference.
    EXPECT_EQ(worker.hear().bytes, bytes("53414654 0001 4534 00000003"));
    worker.say_raw(bytes("4c415354 0001 0000"));
    const auto arguments = worker.hear();
    EXPECT_EQ(arguments.bytes, bytes("46494c45 00000000 'argv' 00"));
    EXPECT_EQ((*read_argument_file(arguments.descriptor.get()))[4], "ro,foo=bar");
    const auto device = worker.hear();
    EXPECT_EQ(device.bytes, bytes("46494c45 00000000 'fusedev' 00"));
    EXPECT_TRUE(device.descriptor);
    for (const auto request : {"54595045 00000000", "4e414d45 'hello' 00", "4d4e5450 4000 0000 '/tmp/mountpoint_' 00",
                               "4f505453 'default_permissions' 00", "4d544142 'x-foo=bar' 00", "444f4954 00000006"}) {
      worker.say_raw(bytes(request));
      EXPECT_EQ(worker.hear().bytes, bytes("5245504c 00000000")) << request;
    }
    worker.say_raw(bytes("42594545 00000000"));
  });
  EXPECT_EQ(outcome.exit_code, 0) << outcome.reason;
  EXPECT_FALSE(actions.created->block);
  EXPECT_EQ(actions.created->source, "/var/disk.img");
}

TEST_F(SessionTest, knows_who_speaks) {
  run([](FakeWorker& worker) { worker.greet(kPrivateVersion); });
  ASSERT_TRUE(actions.sender);
  EXPECT_EQ(actions.sender->pid, ::getpid());
}

TEST_F(SessionTest, an_odd_version_gets_a_second_connection_with_the_plain_offer) {
  const auto outcome = run(
      [](FakeWorker& worker) {
        worker.hear();
        worker.say(HelloReply{2, {}});
      },
      [](FakeWorker& worker) {
        EXPECT_EQ(worker.hear().bytes, bytes("53414654 0001 0001 00000003"));
        worker.say(HelloReply{1, {}});
        worker.hear(), worker.hear();
        EXPECT_EQ(worker.open(), 0u);
        worker.prepare(kVersion1);
        EXPECT_EQ(worker.ask(DoMount{6}), 0u);
        worker.say(Goodbye{0});
      });
  EXPECT_EQ(outcome.exit_code, 0) << outcome.reason;
}

TEST_F(SessionTest, the_private_version_is_not_for_who_was_not_offered_it) {
  const auto outcome = run(
      [](FakeWorker& worker) {
        worker.hear();
        worker.say(HelloReply{0x7fff, {}});
      },
      [](FakeWorker& worker) {
        worker.hear();
        worker.say(HelloReply{kPrivateVersion, {}});
        EXPECT_TRUE(worker.hung_up());
      });
  EXPECT_EQ(outcome.exit_code, 32);
}

TEST_F(SessionTest, messages_out_of_turn_end_it) {
  const auto out_of_turn = "out of turn";
  expect_ended([](FakeWorker& worker) { worker.hear(), worker.say(OpenFile{2, 0, 0, 0, {"disk.img"}}); }, "");
  expect_ended(opened(kVersion1, [](auto& worker) { worker.say(DoMount{6}); }), out_of_turn);
  expect_ended(opened(kVersion1, [](auto& worker) { worker.say(SetName{{"x"}}); }), out_of_turn);
  expect_ended(opened(kVersion1, [](auto& worker) { worker.say(HelloReply{1, {}}); }), out_of_turn);
  expect_ended(opened(kVersion1, [](auto& worker) { worker.say(Ready{}); }), out_of_turn);
  expect_ended(opened(kPrivateVersion, [](auto& worker) { worker.say(SetType{}); }), out_of_turn);
  expect_ended(opened(kPrivateVersion, [](auto& worker) { worker.say(Goodbye{0}); }), out_of_turn);
  expect_ended(opened(kPrivateVersion, [](auto& worker) { worker.say(Reply{0}); }), out_of_turn);
  expect_ended(opened(kVersion1,
                      [](auto& worker) {
                        EXPECT_EQ(worker.ask(SetType{}), 0u);
                        worker.say(OpenFile{2, 0, 0, 0, {"disk.img"}});
                      }),
               out_of_turn);
}

TEST_F(SessionTest, granted_messages_may_not_be_repeated) {
  const auto out_of_turn = "out of turn";
  expect_ended(opened(kVersion1, [](auto& worker) { worker.ask(SetType{}), worker.say(SetType{}); }), out_of_turn);
  expect_ended(opened(kVersion1,
                      [](auto& worker) {
                        worker.prepare(kVersion1);
                        worker.say(SetMountPoint{0, 0, {"/mnt"}});
                      }),
               out_of_turn);
  expect_ended([](FakeWorker& worker) { worker.mount(kVersion1), worker.say(DoMount{6}); }, out_of_turn);
  expect_ended([](FakeWorker& worker) { worker.mount(kPrivateVersion), worker.say(DoMount{6}); }, out_of_turn);
  expect_ended(opened(kPrivateVersion,
                      [](auto& worker) {
                        worker.say(Facts{1024, 0, {}, {"none"}});
                        worker.say(Facts{1024, 0, {}, {"none"}});
                      }),
               out_of_turn);
}

TEST_F(SessionTest, unknown_malformed_and_oversized_messages_end_it) {
  const auto sends = [](std::vector<std::byte> packet) {
    return opened(kVersion1, [=](FakeWorker& worker) { worker.say_raw(packet); });
  };
  expect_ended(sends(bytes("494f4d41 503f 0000")), "out of turn");  // IOMA
  expect_ended(sends(bytes("5459")), "malformed");
  expect_ended(sends(bytes("54595045 000000")), "malformed");
  expect_ended(sends(bytes("54595045 00000000 00")), "malformed");
  expect_ended(sends(bytes("4f50454e 00000002 00000000 00000000 00000000 00")), "malformed");
  expect_ended(sends(bytes("4f50454e 00000002 00000000 00000000 00000000 'disk.img'")), "malformed");
  expect_ended(sends(bytes("4f50454e 00000002 00000000 00000000 00000000 'disk.img' 00 'x' 00")), "malformed");
  auto large = bytes("4f505453");
  large.resize(kMaximumPacket + 1, std::byte{'a'});
  expect_ended(sends(large), "oversized");
  expect_ended(opened(kPrivateVersion, [](auto& worker) { worker.say(Facts{1000, 0, {}, {"none"}}); }), "malformed");
  expect_ended(opened(kPrivateVersion, [](auto& worker) { worker.say(Facts{1024, 64, {}, {"none"}}); }), "malformed");
}

TEST_F(SessionTest, a_descriptor_from_the_worker_ends_it) {
  const auto outcome = run([](FakeWorker& worker) {
    worker.greet(kVersion1);
    const auto file = open_null();
    // A kernel that knows SO_PASSRIGHTS refuses at the sender.
    const auto sent = worker.channel.send(SetType{}, soon(), file.get());
    EXPECT_TRUE(!sent || worker.hung_up());
  });
  EXPECT_EQ(outcome.exit_code, 32);
}

TEST_F(SessionTest, only_the_source_is_opened_and_only_plainly) {
  run(opened(kVersion1, [](auto& worker) { EXPECT_EQ(worker.open(), EPERM) << "a second time"; }));
  run([](FakeWorker& worker) {
    worker.greet(kVersion1);
    for (const auto path : {"/etc/shadow", "disk.img/", "./disk.img", "/dev/loop7", "/mnt", "ext4", "-o"})
      EXPECT_EQ(worker.open(O_RDWR, path), EPERM) << path;
    for (const int flags : {O_CREAT, O_TRUNC, O_APPEND, O_PATH, O_TMPFILE, O_DIRECTORY, O_ACCMODE, O_ASYNC})
      EXPECT_EQ(worker.open(std::uint32_t(O_RDWR | flags)), EPERM) << std::oct << flags;
    EXPECT_EQ(worker.ask(OpenFile{O_RDWR, 0, 2, 0, {"disk.img"}}), EINVAL) << "unknown request flag";
    EXPECT_EQ(worker.ask(OpenBlockDevice{O_RDWR, 0, 0, 1000, {"disk.img"}}), EINVAL) << "no block size";
    EXPECT_EQ(worker.ask(OpenBlockDevice{O_RDWR | O_EXCL, 0, kOpenQuiet, 4096, {"disk.img"}}), 0u);
  });
  EXPECT_EQ(actions.acts, "meet 1, check, source 0, meet 1, check, source 4096");
  grants.source_is_block = false;
  run([](FakeWorker& worker) {
    worker.greet(kVersion1);
    EXPECT_EQ(worker.ask(OpenBlockDevice{O_RDWR, 0, 0, 0, {"disk.img"}}), ENOTBLK);
  });
}

TEST_F(SessionTest, our_own_worker_gets_the_source_once_more_and_only_directly) {
  run(opened(kPrivateVersion, [](auto& worker) {
    EXPECT_EQ(worker.open(), EPERM) << "not directly";
    EXPECT_EQ(worker.open(O_RDWR | O_DIRECT, "/etc/shadow"), EPERM);
    EXPECT_EQ(worker.open(O_RDWR | O_DIRECT | O_TRUNC), EPERM);
    EXPECT_EQ(worker.ask(OpenBlockDevice{O_RDWR | O_DIRECT, 0, 0, 4096, {"disk.img"}}), EPERM);
    EXPECT_EQ(worker.open(O_RDWR | O_DIRECT), 0u);
    EXPECT_EQ(worker.open(O_RDWR | O_DIRECT), EPERM) << "a third time";
  }));
  EXPECT_EQ(actions.acts, "meet " + std::to_string(kPrivateVersion) + ", check, source 0, check, direct");
  run(opened(kVersion1, [](auto& worker) { EXPECT_EQ(worker.open(O_RDWR | O_DIRECT), EPERM); }));
  grants.read_only = true;
  run([](FakeWorker& worker) {
    worker.greet(kPrivateVersion);
    EXPECT_EQ(worker.open(O_RDONLY), 0u);
    EXPECT_EQ(worker.open(O_RDWR | O_DIRECT), EROFS);
    EXPECT_EQ(worker.open(O_RDONLY | O_DIRECT), 0u);
  });
}

TEST_F(SessionTest, opens_may_be_tried_again_while_they_are_refused) {
  actions.source_error = EBUSY;
  run([](FakeWorker& worker) {
    worker.greet(kVersion1);
    for (int i = 0; i < 100; ++i) EXPECT_EQ(worker.open(), EBUSY);
  });
}

TEST_F(SessionTest, a_read_only_mount_is_opened_read_only) {
  grants.read_only = true;
  run([](FakeWorker& worker) {
    worker.greet(kVersion1);
    EXPECT_EQ(worker.open(O_RDWR), EROFS);
    EXPECT_EQ(worker.open(O_WRONLY), EROFS);
    EXPECT_EQ(worker.open(O_RDONLY), 0u);
  });
}

TEST_F(SessionTest, an_uncontained_worker_gets_no_volume) {
  const auto outcome = run([&](FakeWorker& worker) {
    actions.contained = false;
    worker.greet(kPrivateVersion);
    worker.say(OpenFile{O_RDWR, 0, 0, 0, {"disk.img"}});
    EXPECT_TRUE(worker.hung_up());
  });
  EXPECT_NE(outcome.reason.find("not contained"), std::string::npos);
  EXPECT_EQ(actions.acts, "meet 17716, check");
}

TEST_F(SessionTest, refused_requests_say_why_and_may_be_corrected) {
  const auto outcome = run(opened(kVersion1, [](FakeWorker& worker) {
    EXPECT_EQ(worker.ask(SetType{2}), EINVAL);
    EXPECT_EQ(worker.ask(SetType{0}), 0u);
    EXPECT_EQ(worker.ask(SetName{{"x"}}), 0u);
    EXPECT_EQ(worker.ask(SetMountPoint{S_IFDIR, 0, {"/"}}), EINVAL);
    EXPECT_EQ(worker.ask(SetMountPoint{S_IFLNK, 0, {"/mnt"}}), EINVAL);
    EXPECT_EQ(worker.ask(SetMountPoint{S_IFDIR, 1, {"/mnt"}}), EINVAL);
    EXPECT_EQ(worker.ask(SetMountPoint{S_IFREG, 0, {"/mnt"}}), EISDIR);
    EXPECT_EQ(worker.ask(SetMountPoint{S_IFDIR, 0, {"/mnt"}}), 0u);
    EXPECT_EQ(worker.ask(SetOptions{{"default_permissions,frobnicate"}}), EINVAL);
    EXPECT_EQ(worker.ask(SetOptions{{"allow_other,max_read=131072,fd=7,rootmode=40755,user_id=1000"}}), 0u);
    EXPECT_EQ(worker.ask(SetTableOptions{{"user=eve,x-a=b"}}), 0u);
    EXPECT_EQ(worker.ask(DoMount{MS_BIND}), EPERM);
    EXPECT_EQ(worker.ask(DoMount{MS_NOEXEC}), 0u);
    worker.say(Goodbye{0});
  }));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.reason;
  EXPECT_EQ(actions.created->max_read, 131072u);
  EXPECT_EQ(actions.created->attributes, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

TEST_F(SessionTest, nothing_may_be_tried_for_ever) {
  expect_ended(opened(kVersion1,
                      [](auto& worker) {
                        for (unsigned i = 0; i < kRetries; ++i) EXPECT_EQ(worker.ask(SetType{2}), EINVAL);
                        worker.say(SetType{2});
                      }),
               "too often");
  expect_ended(
      [](FakeWorker& worker) {
        worker.greet(kPrivateVersion);
        for (unsigned i = 0; i <= kNotes; ++i) worker.say(Note{0, {"spam"}});
      },
      "too often");
}

TEST_F(SessionTest, a_kernel_that_refuses_the_mount_is_quoted) {
  actions.create_error = EINVAL;
  const auto outcome = run(opened(kVersion1, [](FakeWorker& worker) {
    worker.prepare(kVersion1);
    EXPECT_EQ(worker.ask(DoMount{}), EINVAL);
    worker.say(Goodbye{1});
  }));
  EXPECT_EQ(outcome.exit_code, 32);
  EXPECT_EQ(outcome.reason, "cannot create the file system: Invalid argument");
}

TEST_F(SessionTest, silence_ends_it_in_every_phase) {
  limits.message = 100ms;
  const auto waits = "no answer in time";
  expect_ended([](FakeWorker& worker) { worker.hear(); }, waits);
  expect_ended([](FakeWorker& worker) { worker.greet(kPrivateVersion); }, waits);
  expect_ended(opened(kVersion1, [](auto&) {}), waits);
  expect_ended([](FakeWorker& worker) { worker.mount(kPrivateVersion); }, waits);
  expect_ended([](FakeWorker& worker) { worker.mount(kVersion1); }, waits);
  EXPECT_EQ(actions.acts.find("attach"), std::string::npos);
}

TEST_F(SessionTest, the_whole_mount_has_a_deadline_too) {
  limits.overall = std::chrono::steady_clock::now() + 150ms;
  expect_ended(
      [](FakeWorker& worker) {
        worker.greet(kPrivateVersion);
        for (int i = 0; i < 10; ++i) {
          worker.say(Note{0, {"still here"}});
          std::this_thread::sleep_for(20ms);
        }
      },
      "no answer in time");
}

TEST_F(SessionTest, an_early_end_is_a_failure_in_every_phase) {
  const auto ends = [&](const Script& script) {
    actions = FakeActions{};
    const auto outcome = run([&](FakeWorker& worker) {
      script(worker);
      worker.channel = Channel{UniqueFd{}};
    });
    EXPECT_EQ(outcome.exit_code, 32);
    EXPECT_NE(outcome.reason.find("connection was closed"), std::string::npos) << outcome.reason;
  };
  ends([](FakeWorker&) {});
  ends([](FakeWorker& worker) { worker.greet(kVersion1); });
  ends([](FakeWorker& worker) { worker.mount(kVersion1); });
  ends([](FakeWorker& worker) { worker.mount(kPrivateVersion); });
  ends([](FakeWorker& worker) {
    worker.mount(kPrivateVersion);
    worker.say(Ready{});
    worker.hear();
  });
}

TEST_F(SessionTest, the_workers_exit_code_is_never_passed_on) {
  for (const std::uint32_t code : {1u, 2u, 255u, 256u, ~0u}) {
    const auto outcome = run([&](FakeWorker& worker) {
      worker.greet(kVersion1);
      worker.say(Goodbye{code});
    });
    EXPECT_EQ(outcome.exit_code, 32);
  }
  const auto outcome = run([](FakeWorker& worker) {
    worker.greet(kVersion1);
    worker.say(Goodbye{0});
  });
  EXPECT_EQ(outcome.exit_code, 32) << "leaving before the mount is no success, whatever the code";
}

TEST_F(SessionTest, a_refusal_is_printed_escaped_with_a_known_exit_code) {
  const auto refuse = [&](std::uint32_t exit_class) {
    return run([=](FakeWorker& worker) {
      worker.greet(kPrivateVersion);
      worker.say(Refusal{exit_class, {"unknown option\n\x1b[2J"}});
    });
  };
  EXPECT_EQ(refuse(32).reason, "unknown option\\x0a\\x1b[2J");
  EXPECT_EQ(refuse(1).exit_code, 1);
  EXPECT_EQ(refuse(0).exit_code, 32);
  EXPECT_EQ(refuse(2).exit_code, 32);
}

TEST_F(SessionTest, a_refusal_instead_of_serving_is_a_failure_after_the_attach) {
  const auto outcome = run([](FakeWorker& worker) {
    worker.mount(kPrivateVersion);
    worker.say(Ready{});
    worker.hear();
    worker.say(Refusal{32, {"cannot write"}});
  });
  EXPECT_EQ(outcome.exit_code, 32);
  EXPECT_EQ(outcome.reason, "cannot write");
  EXPECT_NE(actions.acts.find("attach"), std::string::npos);
}

TEST_F(SessionTest, notes_are_kept_escaped_in_order) {
  const auto outcome = run([](FakeWorker& worker) {
    worker.greet(kPrivateVersion);
    worker.say(Note{1, {"was not cleanly unmounted"}});
    worker.say(Note{0, {"bell \a"}});
    worker.say(Refusal{});
  });
  ASSERT_EQ(outcome.notes.size(), 2u);
  EXPECT_EQ(outcome.notes[1].text.value, "bell \\x07");
}

TEST_F(SessionTest, a_version_1_mount_that_never_answers_is_not_attached) {
  actions.probe_answers = false;
  limits.message = 200ms;
  const auto outcome = run([](FakeWorker& worker) {
    worker.mount(kVersion1);
    worker.say(Goodbye{0});
  });
  EXPECT_EQ(outcome.exit_code, 32);
  EXPECT_EQ(actions.acts.find("attach"), std::string::npos);
}

TEST_F(SessionTest, a_volume_that_can_only_be_read_is_mounted_read_only) {
  run([](FakeWorker& worker) {
    worker.greet(kPrivateVersion);
    EXPECT_EQ(worker.open(), 0u);
    worker.say(Facts{4096, kFactReadOnly, {}, {"none"}});
    EXPECT_EQ(worker.ask(SetType{0}), 0u);
    EXPECT_EQ(worker.ask(SetName{{"x"}}), 0u);
    EXPECT_EQ(worker.ask(SetMountPoint{0, 0, {"/mnt"}}), 0u);
    EXPECT_EQ(worker.ask(DoMount{}), 0u);
  });
  EXPECT_TRUE(actions.created->read_only);
  EXPECT_NE(actions.created->attributes & MOUNT_ATTR_RDONLY, 0u);
}

std::string audited;
void keep_audit(Severity, std::string_view line) noexcept { audited += std::string{line} + "\n"; }

TEST_F(SessionTest, every_request_leaves_a_line_of_what_was_asked_and_granted) {
  audited.clear();
  set_log_sink(keep_audit);
  run([](FakeWorker& worker) {
    worker.greet(kPrivateVersion);
    EXPECT_EQ(worker.open(O_RDWR, "/etc/shadow\n<3>forged"), EPERM);
    EXPECT_EQ(worker.open(), 0u);
    worker.prepare(kPrivateVersion);
    EXPECT_EQ(worker.ask(SetOptions{{"dev"}}), EINVAL);
    EXPECT_EQ(worker.ask(DoMount{MS_BIND}), EPERM);
    EXPECT_EQ(worker.ask(DoMount{}), 0u);
  });
  set_log_sink(log_to_standard_error);
  const auto audit_of = [](const std::string& asked) {
    const auto at = audited.find(asked);
    return at == std::string::npos ? "nothing about " + asked + " in " + audited
                                   : audited.substr(at, audited.find('\n', at) - at);
  };
  const auto ends = [&](const std::string& asked, const std::string& verdict) {
    EXPECT_TRUE(audit_of(asked).ends_with(verdict)) << audit_of(asked);
  };
  ends("/etc/shadow\\x0a<3>forged", "Operation not permitted");
  ends("\"disk.img\"", "granted");
  ends("\"dev\"", "Invalid argument");
  EXPECT_EQ(std::count(audited.begin(), audited.end(), '\n'), 1 + 2 + 3 + 1 + 2) << audited;
}

TEST_F(SessionTest, interrupting_ends_it_with_exit_code_8) {
  interrupt_after = 100ms;
  const auto outcome = run([](FakeWorker& worker) {
    worker.greet(kPrivateVersion);
    EXPECT_TRUE(worker.hung_up());
  });
  EXPECT_EQ(outcome.exit_code, 8);
}

TEST_F(SessionTest, an_attached_mount_is_too_late_to_interrupt) {
  interrupt_after = 100ms;
  const auto outcome = run([](FakeWorker& worker) {
    worker.mount(kPrivateVersion);
    worker.say(Ready{});
    worker.hear();
    std::this_thread::sleep_for(200ms);
    worker.say(Serving{});
  });
  EXPECT_EQ(outcome.exit_code, 0) << outcome.reason;
}

}  // namespace
}  // namespace session_fixture
