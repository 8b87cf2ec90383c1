# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# What README's section on Secure Boot says, after the key was confirmed.
section status dkms mok status
section load modprobe hello
section taint cat /sys/module/hello/taint
section check dkms check -k "$kernel"
section dmesg sh -c 'dmesg | grep -iE "integrity: |x\.?509|module verification|key was rejected|lockdown|secure boot"'
