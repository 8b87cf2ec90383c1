# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# What OpenRC's service has done.
section runlevel rc-status default
section service rc-service dkms status
section init cat /proc/1/comm
section new find "/lib/modules/$kernel/updates" -name '*.ko*' -newer /run/started
section status dkms status
section modules cat /proc/modules
for name in dkms_demo vm_edu vm_idle; do
	section "file $name" modinfo -n "$name"
done
