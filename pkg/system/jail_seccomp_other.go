//go:build !amd64 && !386 && !arm64 && !arm

package system

import (
	"runtime"

	"golang.org/x/sys/unix"
)

var auditArch = map[string]uint32{
	"riscv64": unix.AUDIT_ARCH_RISCV64, "loong64": unix.AUDIT_ARCH_LOONGARCH64, "s390x": unix.AUDIT_ARCH_S390X,
	"ppc64": unix.AUDIT_ARCH_PPC64, "ppc64le": unix.AUDIT_ARCH_PPC64LE,
	"mips": unix.AUDIT_ARCH_MIPS, "mipsle": unix.AUDIT_ARCH_MIPSEL, "mips64": unix.AUDIT_ARCH_MIPS64, "mips64le": unix.AUDIT_ARCH_MIPSEL64,
}[runtime.GOARCH]

var socketcall = map[string]uint32{"s390x": 102, "ppc64": 102, "ppc64le": 102, "mips": 4102, "mipsle": 4102}[runtime.GOARCH]

// foreign are the calls of other programs that such machines run: none.
var foreign []calls
