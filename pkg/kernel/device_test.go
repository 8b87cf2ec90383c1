package kernel

import (
	"slices"
	"strings"
	"testing"

	"dkms/pkg/system"
)

func TestDriverless(t *testing.T) {
	r := newRoot(t,
		"sys/devices/pci0/taken/driver -> ../../../bus/pci/drivers/x",
		"sys/bus/pci/devices/0000:00:00.0 -> ../../../devices/pci0/taken",
		"sys/bus/pci/devices/0000:00:01.0 -> ../../../devices/pci0/free",
		"sys/bus/pci/devices/0000:00:03.0 -> ../../../devices/pci0/gone",
		"sys/bus/cpu/devices/cpu0/uevent",
		"sys/bus/pci/drivers/x/modalias")
	write(t, r.Path("/sys/devices/pci0/taken/modalias"), "pci:taken\n")
	write(t, r.Path("/sys/devices/pci0/free/modalias"), "pci:v000010DEd00002489sv00001462sd0000397Cbc03sc00i00\n")
	write(t, r.Path("/sys/bus/usb/devices/1-1/modalias"), "usb:v1D6B\n")
	write(t, r.Path("/sys/bus/usb/devices/1-2/modalias"), "usb:v1D6B\n")
	want := []string{"pci:v000010DEd00002489sv00001462sd0000397Cbc03sc00i00", "usb:v1D6B"}
	if got := Driverless(r); !slices.Equal(got, want) {
		t.Errorf("Driverless = %q; want %q", got, want)
	}
	if got := Driverless(system.Root{Dir: t.TempDir()}); got != nil {
		t.Errorf("Driverless without /sys = %q", got)
	}
}

func TestClaims(t *testing.T) {
	tests := []struct {
		aliases, modaliases string
		want                bool
	}{
		{"pci:v000010DEd*sv*sd*bc03sc0[0-2]i00*", "pci:v000010DEd00002489sv00001462sd0000397Cbc03sc00i00", true},
		{"pci:v000010DEd*sv*sd*bc03sc0[0-2]i00*", "pci:v000010DEd00002489sv00001462sd0000397Cbc03sc03i00", false},
		{"pci:v00008086*", "pci:v000010DEd00002489", false},
		{"usb:v* acpi*:PNP0C0A:*", "acpi:PNP0C0A:", true},
		{"platform:foo", "platform:foo", true},
		{"platform:foo", "platform:foobar", false},
		{"of:N*T*Cvendor,dev", "of:NnodeT<NULL>Cvendor,dev", true},
		{"dmi*:svnACME:*", "dmi:bvn:bd01/02/2024:svnACME:pn", true},
		{"spi:a?c", "spi:abc", true},
		{"[", "[", false},
		{"", "x", false},
		{"x", "", false},
	}
	for _, test := range tests {
		if got := Claims(strings.Fields(test.aliases), strings.Fields(test.modaliases)); got != test.want {
			t.Errorf("Claims(%q, %q) = %v; want %v", test.aliases, test.modaliases, got, test.want)
		}
	}
}

func TestAtBoot(t *testing.T) {
	r := newRoot(t, "usr/lib/modules-load.d/masked.conf", "etc/modules-load.d/masked.conf -> /dev/null", "etc/modules-load.d/not-a-conf")
	write(t, r.Path("/usr/lib/modules-load.d/masked.conf"), "masked\n")
	write(t, r.Path("/etc/modules-load.d/b.conf"), "# comment\n; comment\n\n  zfs  \nvboxdrv\r\nlast")
	write(t, r.Path("/run/modules-load.d/b.conf"), "hidden\n")
	write(t, r.Path("/run/modules-load.d/a.conf"), "wireguard\n")
	write(t, r.Path("/usr/lib/modules-load.d/c.conf"), "zfs\n")
	write(t, r.Path("/etc/modules-load.d/not-a-conf"), "no\n")
	want := []string{"zfs", "vboxdrv", "last", "wireguard", "zfs"}
	if got := AtBoot(r); !slices.Equal(got, want) {
		t.Errorf("AtBoot = %q; want %q", got, want)
	}
}
