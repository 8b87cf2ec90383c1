# shellcheck shell=sh disable=SC1091,SC2154 # agent runs it, and has set $kernel
# What has started in the end.
section running uname -r
section load modprobe vm_guarded
section check dkms check -k "$kernel"
