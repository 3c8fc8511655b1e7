#include "broker/mount_words.h"
#include "broker/options.h"

namespace broker {
namespace {

constexpr std::string_view kUsage =
    R"(Usage: fuservicemount SOURCE MOUNTPOINT [-t TYPE] [-o OPTIONS] [-r|-w] [-n] [-s] [-v] [-f]
       fuservicemount -t TYPE --check
       fuservicemount --unmount MOUNTPOINT [-l]
       fuservicemount --status [MOUNTPOINT] [--json]

Mounts an ext2, ext3 or ext4 image file or block device that nobody has to trust.

  -t TYPE             ext4 (default), ext3 or ext2, also as fuse.TYPE or fuseblk.TYPE
  -o OPTIONS          words separated by commas, listed below
  -r, -w              read-only, read-write: the same as -o ro, -o rw
  -n                  accepted: there is no mtab to write
  -s                  tolerate unknown option words
  -v                  say which words have no effect, and what is done
  -f                  stay in the foreground until the unmount
  --check             whether a service for TYPE is there
  --unmount           unmount; returns when the image is complete and durable
  -l                  with --unmount: detach at once and do not wait
  --status            what is mounted, by which worker, in which mode
  --json              with --status: as a JSON array
  --spawn             start a worker of our own even if a service is there
  --service           use the service only
  --worker PATH       the worker binary to spawn
  --socket-dir DIR    where the services' sockets are
  --timeout SECONDS   for the whole mount or unmount; 30 if not given
  -h, --help          this text
  -V, --version       the version

Exit status:
  0   done; with --check: there is one
  1   wrong usage or no permission; with --check: there is none
  4   internal failure
  8   interrupted; everything was undone
  32  the mount, unmount or remount failed, or nobody knows that the image is complete
)";

/// What the worker honours; it has the last word on these.
constexpr std::string_view kWorkerWords[] = {"errors=",    "commit=",      "acl",   "noacl",
                                             "user_xattr", "nouser_xattr", "bsddf", "minixdf"};

/// Appends to a paragraph whose lines stay below 80 columns.
void add_word(std::string& text, std::string_view word) {
  const auto line_start = text.rfind('\n') + 1;
  text += text.size() - line_start + word.size() + 1 > 79 ? "\n  " : " ";
  text += word;
}

enum class Treatment { honoured, ignored, refused };

Treatment treatment(Effect effect) {
  if (effect == Effect::refused) return Treatment::refused;
  return effect == Effect::bookkeeping || effect == Effect::no_effect ? Treatment::ignored : Treatment::honoured;
}

void add_words(std::string& text, std::string_view heading, Treatment wanted) {
  text += heading;
  for (const MountWord& word : mount_words())
    if (treatment(word.effect) == wanted)
      for (std::string_view rest = word.names; !rest.empty();) {
        const WordName name = next_name(rest);
        add_word(text, std::string{name.text} + (name.takes == Takes::value ? "=" : ""));
      }
}

}  // namespace

std::string help_text() {
  std::string text{kUsage};
  add_words(text, "\nOption words that are honoured:\n ", Treatment::honoured);
  for (const std::string_view word : kWorkerWords) add_word(text, word);
  add_words(text, "\nOption words without effect:\n ", Treatment::ignored);
  add_words(text, "\nOption words that are refused:\n ", Treatment::refused);
  return text + "\nThe words of kernel ext4 are listed in fuservicemount(8).\n";
}

}  // namespace broker
