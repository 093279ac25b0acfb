#!/bin/sh
# The only process: runs the programs that /tests lists, one line each: LIMIT NAME. The console is
# the kernel's; what the tests say goes to the second serial port, between lines that start with @@.
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
exec </dev/null >/dev/ttyS1 2>&1
cd /tmp
echo "@@ boot $(cat /proc/sys/kernel/osrelease)"
if [ -c /dev/kvm ] && (: <>/dev/kvm) 2>/dev/null; then
    echo "@@ kvm $(grep -l 1 /sys/module/kvm_*/parameters/nested 2>/dev/null | head -n 1)"
fi
while read -r limit name; do
    echo "<4>@@ $name" >/dev/kmsg
    echo "@@ start $name"
    read -r begin rest </proc/uptime
    timeout -s KILL "$limit" "/t/$name" >/tmp/said 2>&1
    status=$?
    read -r end rest </proc/uptime
    tail -c 4000 /tmp/said
    echo
    echo "@@ end $name $status $begin $end"
    rm -rf /tmp/*
done </tests
echo "<4>@@ done" >/dev/kmsg
echo "@@ done"
poweroff -f
