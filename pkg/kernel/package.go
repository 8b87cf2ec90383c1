package kernel

import (
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/system"
	"dkms/pkg/version"
)

// vendor is a maker of kernels that can be recognised by the release of a
// kernel, whatever distribution runs on it.
type vendor struct {
	made func(release string) bool
	// headers returns the package with the headers of a release, and meta the
	// package that brings the headers of every new kernel; "" means that there
	// is none.
	headers, meta func(release string) string
	// other says what to do where there is no package.
	other string
}

// vendors are tried in this order.
var vendors = []vendor{
	{made: contains("-microsoft"), other: "no package has the headers of this kernel of WSL: prepare Microsoft's sources of it (WSL2-Linux-Kernel) and name them with --kernelsourcedir"},
	{made: contains("-linuxkit"), other: "no package has the headers of this kernel of Docker Desktop: they are in the image docker/for-desktop-kernel for it"},
	{made: ends("-pve"), headers: proxmox, meta: proxmoxMeta},
	{made: contains("+rpt-rpi-"), headers: prefixed("linux-headers-"), meta: func(r string) string { return "linux-headers-rpi-" + r[strings.LastIndexByte(r, '-')+1:] }},
	{made: raspberry, headers: always("raspberrypi-kernel-headers")},
	{made: contains("uek"), headers: prefixed("kernel-uek-devel-"), meta: always("kernel-uek-devel")},
	{made: func(r string) bool { return strings.Contains(r, ".amzn") }, headers: prefixed("kernel-devel-"), meta: always("kernel-devel")},
	{made: contains("-Unraid"), other: "no package has the headers of this kernel of Unraid: prepare its sources and name them with --kernelsourcedir"},
	{made: contains("+truenas"), headers: prefixed("linux-headers-")},
}

func contains(part string) func(string) bool {
	return func(r string) bool { return strings.Contains(r, part) }
}

func ends(suffix string) func(string) bool {
	return func(r string) bool { return strings.HasSuffix(r, suffix) }
}

func prefixed(prefix string) func(string) string {
	return func(r string) string { return prefix + r }
}

func always(name string) func(string) string { return func(string) string { return name } }

// proxmox returns a package name; Proxmox renamed its packages with kernel 6.5.
func proxmox(r string) string {
	if version.Compare(r, "6.5") < 0 {
		return "pve-headers-" + r
	}
	return "proxmox-headers-" + r
}

func proxmoxMeta(r string) string {
	if version.Compare(r, "6.5") < 0 {
		return "pve-headers"
	}
	return "proxmox-default-headers"
}

// raspberry recognises the kernels of Raspberry Pi OS before Debian 12:
// 6.1.21+, 6.1.21-v7+, 6.1.21-v7l+ and 6.1.21-v8+.
func raspberry(r string) bool {
	base, ok := strings.CutSuffix(r, "+")
	if !ok {
		return false
	}
	number, flavour, _ := strings.Cut(base, "-")
	return strings.Trim(number, "0123456789.") == "" && slices.Contains([]string{"", "v7", "v7l", "v8", "v8_16k"}, flavour)
}

// headersHint returns how to install the headers of the kernel.
func (k *Kernel) headersHint(distribution string) string {
	if k.Headers != filepath.Join(k.ModuleDir(), "build") {
		return "name the directory of the headers of this kernel with --kernelsourcedir, or leave the option out"
	}
	pkg, meta, own := k.HeadersPackage(distribution), k.headersMeta(distribution), k.ownHint(distribution)
	switch v := k.vendor(); {
	case v != nil && v.other != "":
		return v.other
	case own != "":
		return own
	case pkg == "":
		return "install the headers or the prepared sources of this kernel"
	case meta != "" && meta != pkg:
		return "install the package " + pkg + " (" + meta + " brings those of every new kernel)"
	}
	return "install the package " + pkg
}

func (k *Kernel) vendor() *vendor {
	for i := range vendors {
		if vendors[i].made(k.Release) {
			return &vendors[i]
		}
	}
	return nil
}

// HeadersPackage returns the package with the headers of the kernel on a
// distribution, or "" where no server has such a package.
func (k *Kernel) HeadersPackage(distribution string) string {
	if v := k.vendor(); v != nil {
		if v.headers == nil {
			return ""
		}
		return v.headers(k.Release)
	}
	if k.ownHint(distribution) != "" {
		return ""
	}
	r := k.Release
	for _, word := range strings.Fields(distribution) {
		switch {
		case word == "debian" || word == "ubuntu":
			return "linux-headers-" + r
		case word == "arch":
			if base := k.packageBase(); base != "" {
				return base + "-headers"
			}
			return "linux-headers"
		case word == "fedora" || word == "rhel" || word == "centos":
			return "kernel-devel-" + r
		case word == "suse" || word == "opensuse" || word == "sles":
			if i := strings.LastIndexByte(r, '-'); i >= 0 {
				return "kernel-" + r[i+1:] + "-devel"
			}
		case word == "alpine":
			if i := strings.LastIndexByte(r, '-'); i >= 0 {
				return "linux-" + r[i+1:] + "-dev"
			}
		case word == "void":
			if parts := strings.SplitN(r, ".", 3); len(parts) == 3 {
				return "linux" + parts[0] + "." + parts[1] + "-headers"
			}
		}
	}
	return ""
}

// flavours are the suffixes of releases for which a distribution has a package
// that always brings the headers of the newest kernel of the same flavour.
var flavours = map[string][]string{
	"debian": {
		"cloud-amd64", "rt-amd64", "amd64", "cloud-arm64", "rt-arm64", "arm64-16k", "arm64", "rt-armmp", "armmp-lpae", "armmp",
		"686-pae", "686", "powerpc64le", "riscv64", "s390x", "loong64", "mips64el",
	},
	"ubuntu": {"lowlatency", "generic", "generic-64k", "aws", "azure", "gcp", "oracle", "raspi", "kvm", "nvidia"},
}

// headersMeta returns the package that brings the headers of every new kernel
// of the same flavour, or "".
func (k *Kernel) headersMeta(distribution string) string {
	if v := k.vendor(); v != nil {
		if v.meta == nil {
			return ""
		}
		return v.meta(k.Release)
	}
	if f := k.flavour(distribution); f != "" {
		return "linux-headers-" + f
	}
	for _, word := range strings.Fields(distribution) {
		if slices.Contains([]string{"fedora", "rhel", "centos"}, word) {
			return "kernel-devel"
		}
	}
	return ""
}

// packageBase returns the pacman package that a kernel on Arch belongs to.
func (k *Kernel) packageBase() string {
	data, err := system.ReadRegular(filepath.Join(k.ModuleDir(), "pkgbase"), maxWord)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
