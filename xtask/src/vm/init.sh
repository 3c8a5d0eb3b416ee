#!/bin/busybox sh
# The first process of a guest: loads what it needs, takes the host's files as its
# own, runs what the share says, and leaves its status and the kernel's messages there.
# Where the kernel was told of another first process (observer_first=PROGRAM), it makes
# way for that one, in files that may be written.
/bin/busybox --install -s /bin
export PATH=/bin
echo "observer-vm: begun"
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do
    insmod "/modules/$module" || echo "observer-vm: $module can't be loaded"
done
if [ -n "$observer_first" ]; then
    mount -t virtiofs host /host && mount -t virtiofs share /host/mnt &&
        exec switch_root /host "$observer_first"
    echo "observer-vm: $observer_first can't be started"
    poweroff -f
fi
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t securityfs securityfs /sys/kernel/security
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
hostname vm
if mount -t virtiofs -o ro host /host && mount -t virtiofs share /host/mnt; then
    for folder in proc sys dev; do
        mount --rbind "/$folder" "/host/$folder"
    done
    mkdir -p /host/dev/pts /host/dev/shm
    mount -t devpts devpts /host/dev/pts
    mount -t tmpfs tmpfs /host/dev/shm
    mount -t tmpfs tmpfs /host/tmp
    mount -t tmpfs tmpfs /host/var/tmp
    mount -t tmpfs tmpfs /host/run
    chroot /host /bin/sh /mnt/run.sh
    status=$?
    dmesg > /host/mnt/results/dmesg.txt
    cat /proc/sys/kernel/tainted > /host/mnt/results/tainted.txt
    echo $status > /host/mnt/results/status.txt
    sync
else
    echo "observer-vm: the host's files can't be mounted"
fi
poweroff -f
