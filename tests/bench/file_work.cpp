// The inner loops of the benchmark, so that nothing but system calls is timed: prints seconds.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

[[noreturn]] void fail(const std::string& what) {
  std::perror(what.c_str());
  std::exit(1);
}

int open_or_fail(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
  if (fd < 0) fail(path);
  return fd;
}

/// Writes `bytes` in pieces of 1 MiB and syncs.
void stream_out(const std::string& path, long bytes) {
  const std::vector<char> piece(1 << 20, 'x');
  const int fd = open_or_fail(path, O_WRONLY | O_CREAT);
  for (long done = 0; done < bytes; done += static_cast<long>(piece.size()))
    if (::write(fd, piece.data(), piece.size()) != static_cast<ssize_t>(piece.size())) fail(path);
  if (::fsync(fd) != 0) fail(path);
  ::close(fd);
}

void stream_in(const std::string& path) {
  std::vector<char> piece(1 << 20);
  const int fd = open_or_fail(path, O_RDONLY);
  ssize_t got = 0;
  while ((got = ::read(fd, piece.data(), piece.size())) > 0) {
  }
  if (got < 0) fail(path);
  ::close(fd);
}

/// `count` files of `size` bytes, `fan` to a folder; 0 puts all into one.
void create_files(const std::string& root, long count, long size, long fan) {
  const std::vector<char> data(static_cast<std::size_t>(size), 'y');
  std::string folder = root;
  for (long number = 0; number < count; ++number) {
    if (fan != 0 && number % fan == 0) {
      folder = root + "/d" + std::to_string(number / fan);
      if (::mkdir(folder.c_str(), 0755) != 0) fail(folder);
    }
    const std::string path = folder + "/file-" + std::to_string(number);
    const int fd = open_or_fail(path, O_WRONLY | O_CREAT | O_EXCL);
    if (size != 0 && ::write(fd, data.data(), data.size()) != size) fail(path);
    ::close(fd);
  }
}

/// Appends 4 KiB and syncs, `count` times.
void append_and_sync(const std::string& path, long count) {
  const std::vector<char> data(4096, 'z');
  const int fd = open_or_fail(path, O_WRONLY | O_CREAT | O_APPEND);
  for (long number = 0; number < count; ++number)
    if (::write(fd, data.data(), data.size()) != 4096 || ::fsync(fd) != 0) fail(path);
  ::close(fd);
}

/// Removes what create_files() made in one folder.
void unlink_files(const std::string& root, long count) {
  for (long number = 0; number < count; ++number) {
    const std::string path = root + "/file-" + std::to_string(number);
    if (::unlink(path.c_str()) != 0) fail(path);
  }
}

/// As many files as `callers`, each appended to and synced by a thread of its own.
void sync_in_parallel(const std::string& root, int callers, long count) {
  std::vector<std::thread> threads;
  for (int number = 0; number < callers; ++number)
    threads.emplace_back([&, number] { append_and_sync(root + "/log-" + std::to_string(number), count); });
  for (auto& thread : threads) thread.join();
}

void in_parallel(const std::string& root, int writers, long bytes) {
  std::vector<std::thread> threads;
  for (int number = 0; number < writers; ++number)
    threads.emplace_back([&, number] { stream_out(root + "/parallel-" + std::to_string(number), bytes); });
  for (auto& thread : threads) thread.join();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view job = argc > 2 ? argv[1] : "";
  const auto number = [&](int index) { return argc > index ? std::atol(argv[index]) : 0; };
  const auto start = std::chrono::steady_clock::now();
  if (job == "stream-out")
    stream_out(argv[2], number(3));
  else if (job == "stream-in")
    stream_in(argv[2]);
  else if (job == "parallel")
    in_parallel(argv[2], static_cast<int>(number(3)), number(4));
  else if (job == "create")
    create_files(argv[2], number(3), number(4), number(5));
  else if (job == "append-sync")
    append_and_sync(argv[2], number(3));
  else if (job == "parallel-sync")
    sync_in_parallel(argv[2], static_cast<int>(number(3)), number(4));
  else if (job == "unlink")
    unlink_files(argv[2], number(3));
  else
    return std::fputs(
               "usage: file_work stream-out|stream-in|parallel|create|append-sync|parallel-sync|unlink PATH "
               "NUMBER...\n",
               stderr),
           1;
  std::printf("%.6f\n", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}
