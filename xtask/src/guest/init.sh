#!/bin/busybox sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# The guest's first process. It loads the drivers of what is there, then runs the command that
# QEMU's fw_cfg device holds, or a shell on the console. The command is not part of the measured
# image, so the image stays the same whatever runs in it.
#
# Every program started here costs the emulated machine some milliseconds: builtins first.

export PATH=/bin HOME=/root TERM=linux
umask 022
mount -a

# What init(8) is asked for by poweroff, halt and reboot.
trap 'busybox poweroff -f' USR1 USR2
trap 'busybox reboot -f' TERM

aliases=
for file in /sys/bus/virtio/devices/*/modalias /sys/bus/platform/devices/*/modalias; do
    read -r alias <"$file" && aliases="$aliases $alias"
done 2>/dev/null
modprobe -aq $aliases 2>/dev/null
[ -d /sys/kernel/config ] && mount -t configfs config /sys/kernel/config

if [ -d /sys/class/net/eth0 ]; then
    # QEMU's user networking gives these addresses to everybody.
    ifconfig eth0 10.0.2.15 netmask 255.255.255.0
    route add default gw 10.0.2.2
    echo nameserver 10.0.2.3 >/etc/resolv.conf
fi

set --
request=/sys/firmware/qemu_fw_cfg/by_name/opt/org.parapet/command/raw
[ -r "$request" ] && . "$request"

# Sets `port` to the virtio-serial port that is called $1, or to nothing.
find_port() {
    for port in /sys/class/virtio-ports/*; do
        read -r name <"$port/name" && [ "$name" = "org.parapet.$1" ] && {
            port=/dev/${port##*/}
            return
        }
    done 2>/dev/null
    port=
}

# The ports come up a moment after their device.
if [ -n "$PARAPET_PORTS" ]; then
    tries=0
    find_port control
    while [ -z "$port" ] && [ "$tries" -lt 500 ]; do
        busybox usleep 10000
        tries=$((tries + 1))
        find_port control
    done
    if [ -z "$port" ]; then
        echo "init: no virtio-serial port leads to the host" >/dev/console
        busybox poweroff -f
    fi
    exec 3>"$port"
    echo ready >&3
fi

if [ $# -gt 0 ]; then
    find_port stdout && exec 4>"$port"
    find_port stderr && exec 5>"$port"
    find_port stdin
    ("$@") <"${port:-/dev/null}" >&4 2>&5 3>&-
    echo "exit $?" >&3
    busybox poweroff -f
fi

read -r tty </sys/class/tty/console/active
tty=/dev/${tty##* }
[ -n "$PARAPET_ROWS" ] && stty rows "$PARAPET_ROWS" cols "$PARAPET_COLUMNS" <"$tty"
{
    read -r _ _ release _ </proc/version
    vmpl=
    [ -r /sys/devices/system/cpu/sev/vmpl ] && read -r vmpl </sys/devices/system/cpu/sev/vmpl
    echo "Linux $release${vmpl:+ at VMPL $vmpl}; \`poweroff\` ends it."
} >"$tty"
# In the background, since a shell that waits for a child in the foreground runs no trap; and by
# login, which takes Ctrl-C back from being ignored, as it is in the background. login tells the
# console that it did, for want of a system log.
ln -sf null /dev/console
setsid -c login -p -f root <>"$tty" >&0 2>&1 3>&- &
wait $!
busybox poweroff -f
