package kernel

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dkms/pkg/system"
)

// lay makes a tree of files and links: a line is PATH, PATH=TEXT or PATH->TARGET.
func lay(t *testing.T, lines string) system.Root {
	t.Helper()
	root := system.Root{Dir: t.TempDir()}
	for line := range strings.Lines(lines) {
		line = strings.TrimSpace(line)
		path, target, link := strings.Cut(line, "->")
		path, text, _ := strings.Cut(path, "=")
		path = root.Path("/" + path)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil || line == "":
		case link:
			err = os.Symlink(target, path)
		case strings.HasSuffix(line, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, []byte(strings.ReplaceAll(text, `\n`, "\n")), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// sata is a disk behind a driver of its own, with a partition.
const sata = `
	sys/bus/pci/drivers/our-ahci/module->../../../../module/our_ahci
	sys/bus/scsi/drivers/sd/module->../../../../module/sd_mod
	sys/module/our_ahci/
	sys/module/sd_mod/
	sys/devices/pci0/0000:00:1f.2/driver->../../../bus/pci/drivers/our-ahci
	sys/devices/pci0/0000:00:1f.2/host0/0:0:0:0/driver->../../../../../bus/scsi/drivers/sd
	sys/devices/pci0/0000:00:1f.2/host0/0:0:0:0/block/sda/dev=8:0
	sys/devices/pci0/0000:00:1f.2/host0/0:0:0:0/block/sda/sda2/partition=2
	sys/devices/pci0/0000:00:1f.2/host0/0:0:0:0/block/sda/sda2/dev=8:2
	sys/class/block/sda2->../../devices/pci0/0000:00:1f.2/host0/0:0:0:0/block/sda/sda2
	sys/dev/block/8:2->../../devices/pci0/0000:00:1f.2/host0/0:0:0:0/block/sda/sda2
	proc/devices=Character devices:\n  8 none\n\nBlock devices:\n  8 sd\n147 drbd\n254 device-mapper\n
`

// card is a network device with a driver.
func card(name, driver string) string {
	return strings.NewReplacer("NAME", name, "DRIVER", driver).Replace(`
	sys/bus/pci/drivers/DRIVER/module->../../../../module/DRIVER
	sys/module/DRIVER/
	sys/devices/pci0/NAME-pci/driver->../../../bus/pci/drivers/DRIVER
	sys/devices/pci0/NAME-pci/net/NAME/device->../../../NAME-pci
	sys/class/net/NAME->../../devices/pci0/NAME-pci/net/NAME
	`)
}

// display is a device of the class of displays; without a driver it has none.
func display(name, class, driver string) string {
	list := "sys/devices/pci0/" + name + "/class=" + class + "\nsys/bus/pci/devices/" + name + "->../../../devices/pci0/" + name + "\n"
	if driver != "" {
		list += "sys/devices/pci0/" + name + "/driver->../../../bus/pci/drivers/" + driver + "\n" +
			"sys/bus/pci/drivers/" + driver + "/module->../../../../module/" + driver + "\nsys/module/" + driver + "/\n"
	}
	return list
}

func TestEssential(t *testing.T) {
	const disk, root = "drives the disk of the root file system", "drives the root file system"
	for _, c := range []struct {
		name, tree string
		want       map[string]string
	}{
		{"a partition", sata + `proc/self/mountinfo=1 0 8:2 / / rw - ext4 /dev/sda2 rw\n`, map[string]string{"our_ahci": disk, "sd_mod": disk, "sd": disk, "ext4": root}},
		{"a dm-crypt on a logical volume", sata + `
			sys/devices/virtual/block/dm-0/dev=254:0
			sys/devices/virtual/block/dm-0/slaves/sda2->../../../../pci0/0000:00:1f.2/host0/0:0:0:0/block/sda/sda2
			sys/devices/virtual/block/dm-1/dev=254:1
			sys/devices/virtual/block/dm-1/slaves/dm-0->../../dm-0
			sys/dev/block/254:1->../../devices/virtual/block/dm-1
			proc/self/mountinfo=1 0 254:1 / / rw shared:1 - ext4 /dev/mapper/root rw\n`,
			map[string]string{"our_ahci": disk, "sd_mod": disk, "sd": disk, "device_mapper": disk, "ext4": root}},
		{"btrfs, whose device numbers lead nowhere", sata + `
			sys/class/block/dm-0->../../devices/pci0/0000:00:1f.2/host0/0:0:0:0/block/sda/sda2
			dev/mapper/root->../dm-0
			proc/self/mountinfo=1 0 0:25 /@ / rw - btrfs /dev/mapper/root rw\n`,
			map[string]string{"our_ahci": disk, "sd_mod": disk, "sd": disk, "btrfs": root}},
		{"a file system of ours", `proc/self/mountinfo=1 0 0:25 / / rw - zfs rpool/ROOT/debian rw\n`, map[string]string{"zfs": root}},
		{"the mount at / that is seen", sata + `proc/self/mountinfo=1 0 0:2 / / rw - rootfs none rw\n2 1 0:25 / / rw - zfs pool rw\n3 2 8:2 / /boot rw - ext4 /dev/sda2 rw\n`,
			map[string]string{"zfs": root}},
		{"a device with nothing but a number", `
			sys/devices/virtual/block/drbd0/dev=147:0
			sys/dev/block/147:0->../../devices/virtual/block/drbd0
			proc/devices=Block devices:\n147 drbd\n
			proc/self/mountinfo=1 0 147:0 / / rw - xfs /dev/drbd0 rw\n`, map[string]string{"drbd": disk, "xfs": root}},
		{"an NVMe device with paths", `
			sys/bus/pci/drivers/nvme/module->../../../../module/nvme
			sys/module/nvme/
			sys/devices/pci0/0000:01:00.0/driver->../../../bus/pci/drivers/nvme
			sys/devices/pci0/0000:01:00.0/nvme/nvme0/device->../../../0000:01:00.0
			sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0->../../../pci0/0000:01:00.0/nvme/nvme0
			sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/dev=259:0
			sys/dev/block/259:0->../../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1
			proc/self/mountinfo=1 0 259:0 / / rw - xfs /dev/nvme0n1 rw\n`, map[string]string{"nvme": disk, "xfs": root}},
		{"the only network device", card("eth0", "our_net") + `sys/class/net/lo->../../devices/virtual/net/lo
			sys/devices/virtual/net/lo/`, map[string]string{"our_net": "drives the only network device of this machine"}},
		{"two cards with drivers of their own", card("eth0", "our_net") + card("eth1", "our_net2"), map[string]string{}},
		{"two cards with one driver", card("eth0", "our_net") + card("eth1", "our_net"),
			map[string]string{"our_net": "drives all network devices of this machine"}},
		{"the only display", display("0000:02:00.0", "0x030000", "nvidia"), map[string]string{"nvidia": "drives the only graphics device of this machine"}},
		{"a second display, without a driver", display("0000:02:00.0", "0x030000", "nvidia") + display("0000:03:00.0", "0x030000", ""), map[string]string{}},
		{"something else on the bus", display("0000:02:00.0", "0x030000", "nvidia") + display("0000:03:00.0", "0x020000", ""), map[string]string{"nvidia": "drives the only graphics device of this machine"}},
		{"what the firmware has left", display("0000:02:00.0", "0x030000", "nvidia") + `sys/devices/platform/simple-framebuffer.0/drm/card0/device->../../../simple-framebuffer.0
			sys/class/drm/card0->../../devices/platform/simple-framebuffer.0/drm/card0`, map[string]string{"nvidia": "drives the only graphics device of this machine"}},
		{"nothing to be seen", "", map[string]string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := ""
			var tree strings.Builder
			for line := range strings.Lines(c.tree) { // two cards may have the same driver
				if line = strings.TrimSpace(line); !strings.Contains(seen, "\n"+line+"\n") {
					seen += "\n" + line + "\n"
					tree.WriteString(line + "\n")
				}
			}
			if got := Essential(lay(t, tree.String())); !maps.Equal(got, c.want) {
				t.Errorf("Essential = %v; want %v", got, c.want)
			}
		})
	}
}

func TestProvides(t *testing.T) {
	root := lay(t, `m/modules.builtin=kernel/fs/ext4/ext4.ko\n
		m/modules.dep=kernel/drivers/net/our-net.ko.xz: kernel/lib/a.ko\nupdates/dkms/nvidia.ko:\n`)
	for name, want := range map[string]bool{"ext4": true, "our_net": true, "nvidia": false, "a": false} {
		if got := Provides(root.Path("/m"), []string{name}); got != want {
			t.Errorf("Provides(%q) = %v; want %v", name, got, want)
		}
	}
}
