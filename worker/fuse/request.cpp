#include "worker/fuse/request.h"

#include "worker/fuse/dispatcher.h"

namespace worker::fuse {

Request::Request(fuse_req_t decoded_by_library) noexcept
    : dispatcher_{*static_cast<Dispatcher*>(fuse_req_userdata(decoded_by_library))}, library_{decoded_by_library} {
  const fuse_ctx* asker = fuse_req_ctx(library_);
  uid_ = asker->uid;
  gid_ = asker->gid;
}

Request::Request(Dispatcher& dispatcher, const fuse_in_header& header) noexcept
    : dispatcher_{dispatcher}, unique_{header.unique}, uid_{header.uid}, gid_{header.gid} {}

volume::Volume& Request::volume() const noexcept { return dispatcher_.volume(); }

std::uint32_t Request::umask() const noexcept { return library_ ? fuse_req_ctx(library_)->umask : 0; }

int Request::reply_error(int number) const noexcept {
  if (library_) return -fuse_reply_err(library_, number);
  const fuse_out_header header{.len = sizeof(header), .error = -number, .unique = unique_};
  const iovec piece{const_cast<fuse_out_header*>(&header), sizeof(header)};
  return dispatcher_.transport().send({&piece, 1});
}

int Request::reply(std::span<const std::byte> body) const noexcept {
  if (library_) return -fuse_reply_buf(library_, reinterpret_cast<const char*>(body.data()), body.size());
  const fuse_out_header header{
      .len = static_cast<std::uint32_t>(sizeof(header) + body.size()), .error = 0, .unique = unique_};
  const iovec pieces[] = {{const_cast<fuse_out_header*>(&header), sizeof(header)},
                          {const_cast<std::byte*>(body.data()), body.size()}};
  return dispatcher_.transport().send(pieces);
}

}  // namespace worker::fuse
