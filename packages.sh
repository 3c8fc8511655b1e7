# The Debian packages that ext4box is built and tested with; sourced by quickstart and check.

build_packages=(g++ meson ninja-build pkg-config libfuse3-dev libext2fs-dev libcap-ng-dev libseccomp-dev libboost-dev)
run_packages=(e2fsprogs fuse3 mount util-linux)
test_packages=(libgtest-dev python3 attr acl fuse2fs mandoc procps kmod)

# install_packages NAME...: installs what is missing, and asks apt only then.
install_packages() {
  local missing=() name
  for name in "$@"; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  echo "installing ${missing[*]}"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
