#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Fetches an attestation report of this guest, by the kernel's configfs-tsm, and prints it with all
# that a verifier needs: `cargo run -p verify-report` on the host reads this output.

die() {
    echo "attest: $*" >&2
    exit 1
}

usage() {
    echo "usage: attest [--sev-guest] [NONCE]

Prints an attestation report with its certificates. Under an SVSM the SVSM is asked, whose report
is for VMPL0 and says which services it vouches for; a guest without one asks the firmware itself.

  --sev-guest  ask the firmware itself in any case, for this guest's own VMPL
  NONCE        up to 128 hexadecimal digits that the report is made over, zeros added to 64 bytes;
               without it 64 random bytes"
}

nonce=
service=svsm
for argument; do
    case $argument in
        --sev-guest) service= ;;
        -h | --help) usage && exit ;;
        '' | *[!0-9a-fA-F]*) usage >&2 && exit 2 ;;
        *) nonce=$argument ;;
    esac
done

vmpl=0
read -r vmpl </sys/devices/system/cpu/sev/vmpl || die "this is no SEV-SNP guest"
[ "$vmpl" = 0 ] && service=

[ -n "$nonce" ] || nonce=$(xxd -p -l 64 -c 64 /dev/urandom)
[ ${#nonce} -le 128 ] || die "the nonce has more than 64 bytes"
[ $((${#nonce} % 2)) = 0 ] || die "the nonce has half a byte"
while [ ${#nonce} -lt 128 ]; do nonce=${nonce}00; done

reports=/sys/kernel/config/tsm/report
[ -d $reports ] || modprobe sev_guest
[ -d $reports ] || die "the kernel offers no reports: no driver has registered with configfs-tsm"
entry=$reports/attest.$$
mkdir $entry || die "no report can be asked for"
trap 'rmdir $entry' EXIT

if [ -n "$service" ]; then
    echo "$service" >$entry/service_provider || die "the SVSM is no provider of reports"
else
    # Otherwise the kernel asks for VMPL0, whoever it is.
    echo "$vmpl" >$entry/privlevel || die "VMPL $vmpl was refused"
fi
echo "$nonce" | xxd -r -p >$entry/inblob || die "the nonce was refused"
# The kernel has the report made when it is first read.
report=$(xxd -p -c 64 $entry/outblob) && [ -n "$report" ] || die "no report was made"
certificates=$(xxd -p -c 64 $entry/auxblob)

# Prints bytes $1 to $2 of the report.
part() {
    echo "$report" | tr -d '\n' | cut -c "$(($1 * 2 + 1))-$(($2 * 2))"
}

# Prints the field $1 with the lines of $2.
blob() {
    echo "$1:"
    [ -z "$2" ] || echo "$2" | sed 's/^/  /'
}

# Offsets: 56860, table "ATTESTATION_REPORT". All numbers are little endian.
if [ -n "$service" ]; then
    echo "Attestation report by the SVSM, for a guest at VMPL $vmpl"
else
    echo "Attestation report by the firmware, for a guest at VMPL $vmpl"
fi
echo
echo "provider: $(cat $entry/provider)"
echo "service: ${service:-none}"
echo "version: $((0x$(part 0 1)))"
echo "vmpl: $((0x$(part 48 49)))"
echo "measurement: $(part 144 192)"
blob report-data "$(part 80 144 | fold -w 128)"
blob nonce "$nonce"
blob chip "$(part 416 480 | fold -w 128)"
echo
blob report "$report"
if [ -n "$service" ]; then
    blob manifest "$(xxd -p -c 64 $entry/manifestblob)"
fi
blob certificates "$certificates"
