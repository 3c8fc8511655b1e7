#include "tests/worker/fuse/served_volume.h"

#include <linux/fs.h>

namespace tests {

ServedVolume::ServedVolume(Wishes wishes) : image{wishes.make, wishes.size}, server_{wishes.threads} {
  device_ = image.open(wishes.read_only);
  auto options = wishes.options;
  options.read_only = wishes.read_only;
  auto opened = worker::volume::Volume::open(*device_, options);
  if (!opened.ok()) throw std::runtime_error{opened.error().message()};
  volume_ = std::move(opened).value();
  for (unsigned i = 0; i < wishes.threads; ++i) threads_.emplace_back([this] { server_.serve(); });
  const auto started =
      server_.start(*volume_, kernel.server_end(), {.initialised = {}, .closed = [this](const auto&) { ++closed_; }});
  if (!started.ok()) throw std::runtime_error{started.error().message()};
  if (!wishes.writing) return;
  const auto writing = volume_->start_writing();
  if (!writing.ok()) throw std::runtime_error{writing.error().message()};
}

void ServedVolume::unmount() {
  if (over_) return;
  over_ = true;
  kernel.hang_up();
  EXPECT_TRUE(server_.wait_closed().ok());
  threads_.clear();
}

ServedVolume::~ServedVolume() {
  unmount();
  EXPECT_EQ(closed_, 1);
  EXPECT_EQ(image.complaints(), "");
}

fuse_entry_out ServedVolume::lookup(std::uint64_t parent, std::string_view name) {
  return exactly<fuse_entry_out>(kernel.ask(FUSE_LOOKUP, parent, named(name)));
}

fuse_entry_out ServedVolume::create(std::uint64_t parent, std::string_view name, std::uint32_t mode, Asker asker) {
  fuse_create_in in{};
  in.flags = 0102;  // O_RDWR | O_CREAT
  in.mode = S_IFREG | mode;
  const Reply reply = kernel.ask(FUSE_CREATE, parent, Body{}.add(in).text(name), asker);
  EXPECT_EQ(reply.error, 0);
  EXPECT_EQ(reply.body.size(), sizeof(fuse_entry_out) + sizeof(fuse_open_out));
  return reply.as<fuse_entry_out>();
}

fuse_entry_out ServedVolume::make_directory(std::uint64_t parent, std::string_view name, std::uint32_t mode) {
  return exactly<fuse_entry_out>(kernel.ask(FUSE_MKDIR, parent, Body{}.add(fuse_mkdir_in{mode, 022}).text(name)));
}

void ServedVolume::write(std::uint64_t node, std::uint64_t offset, std::string_view bytes, std::uint32_t flags) {
  fuse_write_in in{};
  in.offset = offset;
  in.size = static_cast<std::uint32_t>(bytes.size());
  in.write_flags = flags;
  const auto out = exactly<fuse_write_out>(kernel.ask(FUSE_WRITE, node, Body{}.add(in).raw(bytes)));
  EXPECT_EQ(out.size, bytes.size());
}

std::string ServedVolume::read(std::uint64_t node, std::uint64_t offset, std::uint32_t size) {
  const Reply reply = kernel.ask(FUSE_READ, node, read_request(offset, size));
  EXPECT_EQ(reply.error, 0);
  return std::string{reply.text()};
}

fuse_attr ServedVolume::attributes(std::uint64_t node) {
  return exactly<fuse_attr_out>(kernel.ask(FUSE_GETATTR, node, Body{}.add(fuse_getattr_in{}))).attr;
}

void ServedVolume::forget(std::uint64_t node, std::uint64_t count) {
  kernel.send(FUSE_FORGET, node, Body{}.add(fuse_forget_in{count}).bytes());
}

int ServedVolume::set_flags(std::uint64_t node, std::uint32_t flags) {
  fuse_ioctl_in in{};
  in.cmd = FS_IOC_SETFLAGS;
  in.in_size = sizeof(flags);
  return kernel.ask(FUSE_IOCTL, node, Body{}.add(in).add(flags)).error;
}

}  // namespace tests
