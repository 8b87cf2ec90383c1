package kernel

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dkms/pkg/system"
)

// Essential finds the modules without which this machine would not come up, or
// not be reachable: those that drive the root file system, its disks, the only
// network device or the only graphics device. The result maps the names of
// modules, with underscores, to the reason as a clause.
func Essential(root system.Root) map[string]string {
	e := &essentials{root: root, reasons: map[string]string{}}
	e.rootFileSystem()
	for _, kind := range []struct {
		name    string
		devices []string
	}{{"network", e.networkDevices()}, {"graphics", e.graphicsDevices()}} {
		e.only(kind.name, kind.devices)
	}
	return e.reasons
}

// essentials collects modules; the first reason for a module stays.
type essentials struct {
	root    system.Root
	reasons map[string]string
}

func (e *essentials) add(module, reason string) {
	if module = Underscored(module); module != "" && e.reasons[module] == "" {
		e.reasons[module] = reason
	}
}

// Underscored is the name of a module as the kernel spells it.
func Underscored(module string) string { return strings.ReplaceAll(module, "-", "_") }

// rootFileSystem adds the module of the type of the root file system, by the
// name that the kernel asks modprobe for (fs-TYPE), and those of its disks.
func (e *essentials) rootFileSystem() {
	number, kind, source := rootMount(e.root)
	e.add(kind, "drives the root file system")
	device := resolved(e.root.Path("/sys/dev/block/" + number))
	if device == "" && strings.HasPrefix(source, "/dev/") { // btrfs has numbers of its own
		if target, err := os.Readlink(e.root.Path(source)); err == nil { // such as /dev/mapper/NAME
			source = target
		}
		device = resolved(e.root.Path("/sys/class/block/" + filepath.Base(source)))
	}
	e.disk(device, 0)
}

// rootMount returns the device number, the type and the source of the root file
// system (proc_pid_mountinfo(5)). The last mount at / is the one that counts.
func rootMount(root system.Root) (number, kind, source string) {
	data, _ := os.ReadFile(root.Path("/proc/self/mountinfo"))
	for line := range strings.Lines(string(data)) {
		mount, of, _ := strings.Cut(strings.TrimSpace(line), " - ")
		fields, more := strings.Fields(mount), strings.Fields(of)
		if len(fields) > 4 && fields[4] == "/" && len(more) > 1 {
			number, kind, source = fields[2], more[0], more[1]
		}
	}
	return number, kind, source
}

// mostLayers bounds how deep block devices lie on other block devices.
const mostLayers = 16

// disk adds the drivers of a block device and of everything below it: of the
// disk of a partition, and of the parts of a device mapper or an array.
func (e *essentials) disk(device string, depth int) {
	if device == "" || depth > mostLayers {
		return
	}
	for _, m := range append(drivers(e.root, device), e.ofMajor(device)) {
		e.add(m, "drives the disk of the root file system")
	}
	if system.IsFile(filepath.Join(device, "partition")) {
		e.disk(filepath.Dir(device), depth+1)
	}
	// The paths of an NVMe device are links beside it.
	parts := system.Glob(device, "slaves/*")
	if filepath.Base(filepath.Dir(filepath.Dir(device))) == "nvme-subsystem" {
		parts = append(parts, system.Glob(filepath.Dir(device), "nvme*/device")...)
	}
	for _, p := range parts {
		e.disk(resolved(p), depth+1)
	}
}

// ofMajor returns the name under which the driver of a block device has
// registered its major number. Devices without a bus, such as those of DRBD,
// have no other sign of their driver.
func (e *essentials) ofMajor(device string) string {
	number, _ := os.ReadFile(filepath.Join(device, "dev"))
	major, _, ok := strings.Cut(string(number), ":")
	data, _ := os.ReadFile(e.root.Path("/proc/devices"))
	_, block, _ := strings.Cut(string(data), "Block devices:")
	for line := range strings.Lines(block) {
		if words := strings.Fields(line); ok && len(words) == 2 && words[0] == major {
			return words[1]
		}
	}
	return ""
}

// drivers lists the modules of the drivers of a device and of the devices on
// which it depends: all directories above it that have a driver.
func drivers(root system.Root, device string) (modules []string) {
	top := resolved(root.Path("/sys/devices"))
	for ; top != "" && strings.HasPrefix(device, top+"/"); device = filepath.Dir(device) {
		if m := resolved(filepath.Join(device, "driver/module")); m != "" {
			modules = append(modules, filepath.Base(m))
		}
	}
	return modules
}

// only adds the modules that every device of a kind depends on, which is how a
// module drives the only device.
func (e *essentials) only(kind string, devices []string) {
	var common []string
	for i, d := range devices {
		of := drivers(e.root, d)
		if i == 0 {
			common = of
		}
		common = slices.DeleteFunc(common, func(m string) bool { return !slices.Contains(of, m) })
	}
	reason := "drives the only " + kind + " device of this machine"
	if len(devices) > 1 {
		reason = "drives all " + kind + " devices of this machine"
	}
	for _, m := range common {
		e.add(m, reason)
	}
}

// networkDevices lists the devices behind network interfaces, each once; virtual
// interfaces have none.
func (e *essentials) networkDevices() []string {
	return e.resolvedAll("/sys/class/net/*/device")
}

// displayClass begins the class of PCI devices that are displays (PCI Code and
// ID Assignment Specification, "Base Class 03h").
const displayClass = "0x03"

// graphicsDevices lists the graphics devices, each once: the displays on the PCI
// bus, with a driver or without one, and the devices of other cards, except
// those that the firmware has left for the time before a driver is there.
func (e *essentials) graphicsDevices() []string {
	list := e.resolvedAll("/sys/class/drm/card*/device")
	for _, path := range e.root.Glob("/sys/bus/pci/devices/*/class") {
		class, _ := os.ReadFile(path)
		if d := resolved(filepath.Dir(path)); strings.HasPrefix(string(class), displayClass) && !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	return slices.DeleteFunc(list, func(d string) bool {
		return strings.Contains(d, "-framebuffer") || filepath.Base(filepath.Dir(d)) == "drm" // a connector of a card
	})
}

// resolvedAll returns what the paths of a pattern lead to, each once.
func (e *essentials) resolvedAll(pattern string) (list []string) {
	for _, path := range e.root.Glob(pattern) {
		if d := resolved(path); d != "" && !slices.Contains(list, d) {
			list = append(list, d)
		}
	}
	return list
}

// resolved returns what a path leads to, or "" where there is nothing.
func resolved(path string) string {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}
	return path
}

// maxIndex bounds how many bytes of a list of a kernel's modules are read.
const maxIndex = 64 << 20

// Provides reports whether a kernel itself has a module of one of the names,
// built in or as a file. Modules of updates/dkms and the like do not count.
func Provides(moduleDir string, names []string) bool {
	for _, file := range []string{"modules.builtin", "modules.dep"} {
		data, _ := system.ReadRegular(filepath.Join(moduleDir, file), maxIndex)
		for line := range strings.Lines(string(data)) {
			path, _, _ := strings.Cut(strings.TrimSpace(line), ":")
			name, _, _ := strings.Cut(filepath.Base(path), ".ko")
			if strings.HasPrefix(path, "kernel/") && slices.Contains(names, Underscored(name)) {
				return true
			}
		}
	}
	return false
}
