# shellcheck shell=bash
# Debian's packages, installed where that may be done.  elisp/try and tests/run read this.

# as_root COMMAND...: run it as root; sudo asks for a password only on a terminal.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif [ -t 0 ] && [ -t 2 ]; then
    sudo "$@"
  else
    sudo -n "$@"
  fi
}

# may_install PACKAGE...: return 0 if they can be installed here; say before a password is asked.
may_install() {
  command -v apt-get >/dev/null || return 1
  [ "$(id -u)" != 0 ] || return 0
  command -v sudo >/dev/null || return 1
  if ! sudo -n true 2>/dev/null; then
    [ -t 0 ] && [ -t 2 ] || return 1
    echo "To install $*, sudo asks for your password."
    sudo true
  fi
}

# install_packages PACKAGE...: with nothing recommended, asked or started.
install_packages() (
  policy=/usr/sbin/policy-rc.d
  log=$(mktemp)
  own_policy=
  # shellcheck disable=SC2317
  put_back() {
    rm -f "$log"
    [ -z "$own_policy" ] || as_root rm -f "$policy"
  }
  trap put_back EXIT
  echo "Installing with apt: $*"
  # A server that a test needs is started by the test, never by its package.
  if [ ! -e "$policy" ]; then
    own_policy=yes
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod +x "$policy"
  fi
  if [[ " $* " == *" postfix "* ]]; then
    # Nor does it begin to take in mail when the machine is started next.
    echo "postfix postfix/main_mailer_type select No configuration" |
      as_root debconf-set-selections
  fi
  # Old lists may do; what is missing then is told below.
  as_root apt-get -qq update >"$log" 2>&1 || true
  if ! as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq install -y --no-install-recommends "$@" >>"$log" 2>&1; then
    tail -n 20 "$log" >&2
    return 1
  fi
)

# has_emacs: return 0 if there is one that is new enough.
has_emacs() {
  command -v emacs >/dev/null &&
    emacs -Q --batch --eval '(kill-emacs (if (version< emacs-version "28.1") 1 0))' 2>/dev/null
}

# has_installer: return 0 if install.py has, or will find, a way to install the libraries.
has_installer() {
  [ -x .venv/bin/python ] || python3 -I -c 'import ensurepip' 2>/dev/null ||
    command -v uv >/dev/null || python3 -I -m pip --version >/dev/null 2>&1
}
