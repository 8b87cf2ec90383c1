package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dkms/pkg/system"
)

// Default is the entry that a boot loader starts when nobody chooses another
// one, as a value that can be changed.
type Default struct {
	// Loader is the name of the boot loader; see [Next.Loader].
	Loader string
	// Place is where the value is kept, for people.
	Place string
	// File is the file that is replaced, or empty where the firmware keeps the
	// value.
	File string
	// Value names the entry; it is empty where nothing is set.
	Value string
	// Release is the kernel of the entry or, where nothing is set, of the entry
	// that is started then. It is empty where that kernel is not known.
	Release string
	// Lasting says that Value names the kernel itself, and not a place in the
	// menu that another kernel takes when it is installed.
	Lasting bool

	starts func(value string) string
	entry  func(release string) string
	read   func() string
	write  func(value string) error
}

// Starts is the kernel that the loader would start with a value, or "" where
// that is not known; an empty value stands for no setting. lasting is as
// [Default.Lasting].
func (d *Default) Starts(value string) (release string, lasting bool) {
	release = d.starts(value)
	return release, names(value, release) && !strings.ContainsAny(value, "*?[")
}

// Entry names the entry of a kernel, as a value for [Default.Set], or is "" where
// the loader has none.
func (d *Default) Entry(release string) string { return d.entry(release) }

// Set changes the default, and reads it back; an empty value removes the
// setting. Whenever the machine stops on the way, either the value before or
// the new one is there. Boot loaders do not read the journals of file systems, so
// that a file counts only when the file system has it in its place.
func (d *Default) Set(value string) error {
	err := d.write(value)
	if err == nil && d.File != "" {
		err = system.SyncFileSystem(filepath.Dir(d.File))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", d.Place, err)
	}
	if got := d.read(); got != value {
		return fmt.Errorf("%s is %q after %q was written", d.Place, got, value)
	}
	d.Value = value
	return nil
}

// Fixed is the error of a default that this program cannot change.
type Fixed struct {
	// Loader is empty where no loader was found.
	Loader string
	// Why is a clause, and Cure what to do about it, if anything can be done.
	Why, Cure string
}

// Error returns the clause.
func (f *Fixed) Error() string { return f.Why }

// FindDefault finds the default of the boot loader that starts this machine. The
// error is a [*Fixed].
func FindDefault(h system.Host) (*Default, error) {
	if h.Image || h.InChroot() || h.Root.Dir == "" && system.IsFile("/run/systemd/container") {
		return nil, &Fixed{Why: "this is an image, a container or a chroot, which starts no kernel of its own"}
	}
	s := &search{root: h.Root, kernels: Kernels(h.Root)}
	if !foreign(h) {
		s.efi = readFirmware(h.Root)
		if n, decided := s.firmware(); decided && n.Known() {
			return nil, &Fixed{Loader: n.Loader, Why: n.Why}
		}
	}
	return s.defaultOf()
}

// defaultOf finds the one loader that counts; see [search.loaders].
func (s *search) defaultOf() (*Default, error) {
	var found *Default
	for _, l := range []struct {
		name string
		find func() (*Default, error)
	}{
		{grubName, s.grubDefault}, {systemdBootName, s.systemdBootDefault}, {"extlinux", s.extlinuxDefault},
	} {
		if s.efi.loader != "" && s.efi.loader != l.name {
			continue
		}
		d, err := l.find()
		switch {
		case err != nil:
			return nil, err
		case d == nil:
		case found != nil:
			return nil, &Fixed{Why: found.Loader + " and " + l.name + " are both set up here, and nothing tells which of them the firmware starts"}
		default:
			d.Loader = l.name
			d.Value = d.read()
			d.Release, d.Lasting = d.Starts(d.Value)
			found = d
		}
	}
	if found == nil {
		return nil, &Fixed{Loader: s.efi.loader, Why: "no boot loader was found whose default this program can set (GRUB, systemd-boot, extlinux)"}
	}
	return found, nil
}

// edit replaces a file by what change makes of it. The file keeps its mode, and one
// that is not there is taken for empty.
func edit(path string, change func(data []byte) ([]byte, error)) error {
	mode := fs.FileMode(0o644)
	data, err := system.ReadRegular(path, maxWord)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if st, err := os.Stat(path); err == nil {
		mode = st.Mode().Perm()
	}
	if data, err = change(data); err != nil {
		return err
	}
	return system.WriteFile(path, data, mode)
}

// names reports whether a value contains the release of a kernel as a whole, and
// not as the beginning of another release.
func names(value, release string) bool {
	for rest := value; release != ""; {
		i := strings.Index(rest, release)
		if i < 0 {
			return false
		}
		rest = rest[i+len(release):]
		if rest == "" || !isDigit(rest[0]) && !isAlpha(rest[0]) {
			return true
		}
	}
	return false
}
