# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# What README's section on Secure Boot says, up to the restart.
cd /run || return
mkdir /root/hello
cp vm/hello.c vm/Makefile vm/dkms.conf /root/hello

. /run/vm/answer.sh

typed() {
	answer shown sesame | timeout 60 script -qefc 'dkms mok enroll' shown
}

section state mokutil --sb-state
section install dkms install /root/hello
section load modprobe hello
section check dkms check -k "$kernel"
section enroll typed
section waiting dkms mok status
section "check again" dkms check -k "$kernel"
