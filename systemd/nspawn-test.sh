#!/bin/bash
# Tries the unit under a real systemd, booted in a container: start, kill,
# hang, stop, hardening. Needs root, debootstrap and systemd-container; leaves
# nothing behind but the tree that it boots from.
#
#   PATCHBAY_BIN   the program to install (default: bin/patchbay of this repository)
#   PATCHBAY_ROOT  the tree, made once (default: /var/tmp/patchbay-root)
set -u
here=$(cd "$(dirname "$0")" && pwd)
bin=${PATCHBAY_BIN:-$here/../bin/patchbay}
root=${PATCHBAY_ROOT:-/var/tmp/patchbay-root}
name=patchbay-$$
work=$(mktemp -d /tmp/patchbay-nspawn.XXXXXX)
container=
passed=0 failed=0

die() { echo "nspawn-test: $*" >&2; exit 1; }
check() { # check STATUS TEXT
  if [ "$1" = 0 ]; then passed=$((passed + 1)); echo "PASS $2"; else failed=$((failed + 1)); echo "FAIL $2"; fi
}
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.2f s", b - a }'; }
below() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && a <= b) }'; }

# The tree: Debian with systemd and little else. It is never written to.
build() {
  [ -e "$root/.complete" ] && return 0
  echo "making $root"
  local mirror
  mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/*.sources 2>/dev/null)
  [ -n "$mirror" ] || mirror=$(awk '$1 == "deb" { print $2; exit }' /etc/apt/sources.list 2>/dev/null)
  rm -rf "$root"
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,iproute2,procps,ca-certificates \
    bookworm "$root" "${mirror:-http://deb.debian.org/debian}" >"$work/debootstrap" 2>&1 ||
    { tail -5 "$work/debootstrap"; return 1; }
  : >"$root/etc/machine-id"
  touch "$root/.complete"
}

# PID 1 of the container as seen from here: a child or grandchild of nspawn.
leader() {
  local c d
  for c in $(cat "/proc/$container/task/"*/children 2>/dev/null); do
    [ "$(cat "/proc/$c/comm" 2>/dev/null)" = systemd ] && { echo "$c"; return 0; }
    for d in $(cat "/proc/$c/task/"*/children 2>/dev/null); do
      [ "$(cat "/proc/$d/comm" 2>/dev/null)" = systemd ] && { echo "$d"; return 0; }
    done
  done
  return 1
}

# inside CMD...: runs a command in the container.
inside() {
  local pid
  pid=$(leader) || return 1
  nsenter -t "$pid" -m -u -i -n -p -C -r -w -- /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 SYSTEMD_COLORS=0 "$@"
}
put() { inside sh -c "mkdir -p '$(dirname "$2")' && cat >'$2' && chmod $3 '$2'" <"$1"; }

# wait_for SECONDS CMD...: prints the time that it took.
wait_for() {
  local t0 limit=$1
  t0=$(now)
  shift
  while ! "$@" >/dev/null 2>&1; do
    below "$limit" "$(since "$t0" | cut -d' ' -f1)" && { since "$t0"; return 1; }
    sleep 0.02
  done
  since "$t0"
}

# A throw-away copy. --register=no --keep-unit: there may be no systemd here.
boot() {
  systemd-nspawn -q -D "$root" --machine="$name" --volatile=overlay --register=no --keep-unit --private-network \
    --capability=CAP_NET_ADMIN,CAP_NET_RAW --resolv-conf=off --timezone=off --link-journal=no -b --console=pipe \
    </dev/null >"$work/console" 2>&1 &
  container=$!
  wait_for 30 leader >/dev/null || { tail -5 "$work/console"; return 1; }
  wait_for 30 settled >/dev/null || { inside systemctl --failed; return 1; }
}
settled() { case $(inside systemctl is-system-running 2>/dev/null) in running | degraded) ;; *) return 1 ;; esac; }

down() {
  if [ -n "$container" ] && kill -0 "$container" 2>/dev/null; then
    inside systemctl poweroff >/dev/null 2>&1
    for _ in $(seq 100); do kill -0 "$container" 2>/dev/null || break; sleep 0.1; done
    kill -0 "$container" 2>/dev/null && kill "$container"
    wait "$container" 2>/dev/null
  fi
  rm -rf "$work"
}
trap down EXIT
trap 'exit 1' INT TERM

show() { inside systemctl show -p "$1" --value patchbay; }
active() { [ "$(inside systemctl is-active patchbay)" = active ]; }
renewed() { active && [ "$(show MainPID)" != "$1" ] && [ "$(show MainPID)" != 0 ]; }
journal() { inside journalctl -u patchbay -o cat --no-pager; }
# answers: what a phone or a browser sees, an HTTP answer of any kind.
answers() {
  [ "$(inside timeout 5 bash -c 'exec 3<>/dev/tcp/192.168.50.1/80 && printf "GET / HTTP/1.0\r\nHost: 192.168.50.1\r\n\r\n" >&3 && head -c 4 <&3')" = HTTP ]
}
status_of() { inside awk -v key="$1:" '$1 == key { print $2 }' "/proc/$(show MainPID)/status"; }

install_box() {
  cat >"$work/patchbay.toml" <<'TOML'
[box]
name = "nspawn"

[[lan]]
interface = "phones0"
address   = "192.168.50.1"
subnet    = "192.168.50.0/24"
dhcp      = "serve"
pools     = ["192.168.50.100-192.168.50.199"]
TOML
  inside ip link add phones0 type veth peer name far0 &&
    inside ip addr add 192.168.50.1/24 dev phones0 &&
    inside ip link set far0 up && inside ip link set phones0 up &&
    put "$bin" /usr/bin/patchbay 755 &&
    put "$here/patchbay.service" /etc/systemd/system/patchbay.service 644 &&
    put "$here/patchbay.sysctl.conf" /etc/sysctl.d/60-patchbay.conf 644 &&
    put "$work/patchbay.toml" /etc/patchbay/patchbay.toml 644 &&
    inside systemctl daemon-reload
}

test_unit() {
  local out
  out=$(inside systemd-analyze verify /etc/systemd/system/patchbay.service 2>&1)
  check $? "systemd-analyze verify"
  check "$([ -z "$out" ]; echo $?)" "verify has no remarks${out:+: $out}"
  out=$(inside systemd-analyze security --offline=true --no-pager /etc/systemd/system/patchbay.service | sed -n 's/.*exposure level[^:]*: \([0-9.]*\).*/\1/p')
  check "$(below "$out" 1.8; echo $?)" "exposure offline $out, at most 1.8"
}

test_start() {
  local t0 out
  t0=$(now)
  inside systemctl start patchbay
  check $? "start until READY=1 in $(since "$t0"), status '$(show StatusText)'"
  check "$(active; echo $?)" "is-active"
  check "$(answers; echo $?)" "a browser gets an answer on port 80"
  out=$(journal | grep -c .)
  check "$([ "$out" -gt 0 ]; echo $?)" "the journal has $out lines"
  check "$(journal | grep -q 'set-up code'; echo $?)" "the journal shows the set-up code"
  check "$(inside timeout 10 patchbay status >/dev/null; echo $?)" "the command line of root reaches the daemon"
}

test_hardening() {
  local out
  out=$(inside systemd-analyze security --no-pager patchbay | sed -n 's/.*exposure level[^:]*: \([0-9.]*\).*/\1/p')
  check "$(below "$out" 1.6; echo $?)" "exposure live $out, at most 1.6"
  check "$([ "$(status_of Uid)" != 0 ]; echo $?)" "runs as uid $(status_of Uid), not root"
  for key in CapEff CapBnd; do # bits 10 and 13: CAP_NET_BIND_SERVICE, CAP_NET_RAW
    check "$([ "$(status_of $key)" = 0000000000002400 ]; echo $?)" "$key $(status_of $key): the two capabilities and no other"
  done
  check "$([ "$(status_of NoNewPrivs)" = 1 ] && [ "$(status_of Seccomp)" = 2 ]; echo $?)" "no new privileges, system calls filtered"
  out=$(inside find /var/lib/patchbay/ -name 'patchbay.db' -size +0 | wc -l)
  check "$([ "$out" = 1 ]; echo $?)" "the database is in the state directory"
  out=$(inside find /var/lib/patchbay/ -mindepth 1 ! -type l -perm /077)
  check "$([ -z "$out" ]; echo $?)" "nothing in the state directory is open to others $out"
}

test_restarts() {
  local old took
  old=$(show MainPID)
  inside kill -9 "$old"
  took=$(wait_for 10 renewed "$old")
  check $? "kill -9: restarted and READY in $took"
  check "$(answers; echo $?)" "a browser gets an answer again"

  old=$(show MainPID)
  inside kill -STOP "$old"
  took=$(wait_for 40 renewed "$old")
  check $? "hang: the watchdog restarts it, READY after $took"
  inside kill -CONT "$old" 2>/dev/null # if it failed, the rest is tried all the same
  check "$(inside journalctl -u patchbay --no-pager | grep -qi 'watchdog timeout'; echo $?)" "the journal says that it was the watchdog"
  check "$(answers; echo $?)" "a browser gets an answer again"
  check "$([ "$(show NRestarts)" = 2 ]; echo $?)" "two restarts, $(show NRestarts) counted"

  # The watchdog must not bite a box that is well.
  old=$(show MainPID)
  sleep 15
  check "$([ "$(show MainPID)" = "$old" ] && active; echo $?)" "15 s at rest: not restarted"
}

test_stop() {
  local t0 out took
  t0=$(now)
  inside systemctl stop patchbay
  check "$([ "$(show Result)" = success ] && [ "$(show ExecMainStatus)" = 0 ]; echo $?)" "stop is clean in $(since "$t0"), result $(show Result)"
  check "$([ "$(inside systemctl is-active patchbay)" = inactive ]; echo $?)" "is-active says inactive"

  # The password of the site line is root's; the box gets a copy.
  printf 'secret\n' >"$work/password"
  put "$work/password" /etc/patchbay/site-line.password 600
  inside systemctl start patchbay
  check $? "starts with a password file that only root can read"
  out=$(inside sh -c 'cat /proc/'"$(show MainPID)"'/root/run/credentials/patchbay.service/site-line.password')
  check "$([ "$out" = secret ]; echo $?)" "the box has the password as a credential"

  # So are other secrets, such as the key for updates of DNS; without it the box
  # says which, and does not start with none.
  inside systemctl stop patchbay
  { cat "$work/patchbay.toml"; cat <<'TOML'; } >"$work/acme.toml"

[acme]
directory     = "https://192.0.2.1/directory"
names         = ["phones.example.com"]
zone          = "example.com"
server        = "192.0.2.53:53"
key_name      = "patchbay."
key_algorithm = "hmac-sha256"
key_file      = "/etc/patchbay/dns-update.key"
TOML
  put "$work/acme.toml" /etc/patchbay/patchbay.toml 644
  check "$(inside timeout 10 systemctl start patchbay 2>/dev/null; [ $? != 0 ]; echo $?)" "no key for updates of DNS: start fails"
  check "$(journal | grep -q 'acme.key_file.*LoadCredential=dns-update.key'; echo $?)" "the journal names the key and what passes it"
  inside systemctl stop patchbay
  printf 'c2VjcmV0\n' >"$work/dns"
  put "$work/dns" /etc/patchbay/dns-update.key 600
  inside systemctl start patchbay
  check $? "starts with a key for updates of DNS that only root can read"
  out=$(inside setpriv --reuid "$(status_of Uid)" --clear-groups cat /etc/patchbay/dns-update.key 2>&1)
  check "$(grep -q 'Permission denied' <<<"$out"; echo $?)" "the box itself could not read it"

  # A mistake in the configuration is told in the journal, by key.
  inside systemctl stop patchbay
  sed 's/phones0/phones9/' "$work/patchbay.toml" >"$work/wrong.toml"
  put "$work/wrong.toml" /etc/patchbay/patchbay.toml 644
  check "$(inside timeout 10 systemctl start patchbay 2>/dev/null; [ $? != 0 ]; echo $?)" "an interface that is not there: start fails"
  check "$(journal | grep -q phones9; echo $?)" "the journal names the interface"
  put "$work/patchbay.toml" /etc/patchbay/patchbay.toml 644
  took=$(wait_for 10 active)
  check $? "the mistake put right: comes up by itself in $took"
}

[ "$(id -u)" = 0 ] || die "run it as root"
for tool in debootstrap systemd-nspawn nsenter; do
  command -v $tool >/dev/null || die "$tool is missing: apt-get install debootstrap systemd-container util-linux"
done
[ -x "$bin" ] || die "no program at $bin: run make build, or set PATCHBAY_BIN"
build || die "can't make $root"
t0=$(now)
boot || die "the container does not boot"
echo "booted in $(since "$t0"): $(inside systemctl --version | head -1)"
install_box || die "can't install the box"
test_unit
test_start
test_hardening
test_restarts
test_stop
[ "$failed" = 0 ] || inside journalctl -u patchbay --no-pager | tail -40
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
