# Runs as a service of a booted system. Each step says what it checks; the first that
# fails ends it, and with it the guest. What is left in results is judged outside.
results=/mnt/results
unit=observer.service

fail() {
    echo "FAILED: $*"
    systemctl status --no-pager --lines=20 $unit
    finish 1
}

finish() {
    journalctl --no-pager --output=short-monotonic >$results/journal.txt
    dmesg >$results/dmesg.txt
    echo "$1" >$results/status.txt
    sync
    systemctl poweroff --force --force
    exit "$1"
}

property() {
    systemctl show --property="$1" --value $unit
}

# expect PROPERTY VALUE WHEN
expect() {
    value=$(property "$1")
    [ "$value" = "$2" ] || fail "$3: $1 is $value instead of $2"
}

# The names of our programs among those that the kernel has compiled.
programs() {
    grep -c 'bpf_prog_[0-9a-f]*_syscalls_exit' /proc/kallsyms
}

# eventually SECONDS WHAT COMMAND...
eventually() {
    left=$1 what=$2
    shift 2
    until "$@"; do
        left=$((left - 1))
        [ $left -gt 0 ] || fail "$what never came"
        sleep 1
    done
}

is_another() {
    [ "$(property ActiveState)" = active ] && [ "$(property MainPID)" != "$1" ]
}

exec >$results/log.txt 2>&1
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

echo "installing starts nothing"
dpkg --install /first.deb || fail "dpkg --install"
expect ActiveState inactive "after installing"
expect UnitFileState disabled "after installing"
expect NeedDaemonReload no "after installing"

echo "it starts, says when it is ready, and is its own user"
printf 'interval = "5s"\n' >/etc/observer/observer.toml
systemctl enable --now $unit || fail "systemctl enable --now"
expect ActiveState active "after enabling"
expect UnitFileState enabled "after enabling"
first=$(property MainPID)
user=$(stat --format=%U "/proc/$first")
[ "$user" = observer ] || fail "it runs as $user"
[ "$(programs)" = 1 ] || fail "its programs are attached $(programs) times"
systemd-analyze security --no-pager $unit >$results/security.txt

# Debian's kernels have a setting at which nobody but root may profile.
echo "what it may not do it says, with what mends it"
journalctl --no-pager --unit=$unit --output=cat >$results/refused.txt
grep -q 'no profiles: .*sysctl -w kernel.perf_event_paranoid=2' $results/refused.txt ||
    fail "nothing is said of kernel.perf_event_paranoid: $(cat /proc/sys/kernel/perf_event_paranoid)"
echo 2 >/proc/sys/kernel/perf_event_paranoid
systemctl restart $unit || fail "systemctl restart"
first=$(property MainPID)

echo "it sees a known program"
since=$(date +'%F %T')
dd if=/dev/zero of=/dev/null bs=1 2>/dev/null &
load=$!
sleep 25
kill $load
journalctl --no-pager --unit=$unit --output=cat --since="$since" >$results/seen.txt
invocation=$(property InvocationID)
journalctl --no-pager --output=cat "_SYSTEMD_INVOCATION_ID=$invocation" >$results/said.txt
grep -q 'observing sched, syscalls, cpu, offcpu, block, tcp, requests' $results/said.txt ||
    fail "not all families are observed"

echo "an upgrade restarts it, and keeps a changed configuration"
dpkg --install --force-confold /second.deb || fail "dpkg --install, a second time"
is_another "$first" || fail "after the upgrade it is $(property ActiveState), as it was"
grep -q 5s /etc/observer/observer.toml || fail "the upgrade lost the configuration"

echo "a daemon that hangs is started anew"
mkdir -p /etc/systemd/system/$unit.d
printf '[Service]\nWatchdogSec=15s\nTimeoutStopSec=5s\n' >/etc/systemd/system/$unit.d/check.conf
systemctl daemon-reload
systemctl restart $unit || fail "systemctl restart"
hung=$(property MainPID)
kill -STOP "$hung"
eventually 240 "a restart by the watchdog" is_another "$hung"
expect NRestarts 1 "after the watchdog"
rm -r /etc/systemd/system/$unit.d
systemctl daemon-reload

echo "it stops when told, and its programs go"
systemctl stop $unit || fail "systemctl stop"
expect ActiveState inactive "after stopping"
expect Result success "after stopping"
eventually 30 "the end of its programs" test "$(programs)" = 0

echo "removed while it runs: it ends"
systemctl start $unit || fail "systemctl start"
dpkg --remove observer || fail "dpkg --remove"
expect ActiveState inactive "after removing"
dpkg --purge observer || fail "dpkg --purge"
expect LoadState not-found "after purging"
! getent passwd observer || fail "its user is left"
[ "$(programs)" = 0 ] || fail "its programs are left"
[ -z "$(ls /sys/fs/bpf)" ] || fail "pinned: $(ls /sys/fs/bpf)"
find / -xdev -name '*observer*' -not -path '/proc/*' >$results/left.txt
finish 0
