package boot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf16"

	"golang.org/x/sys/unix"

	"dkms/pkg/system"
)

const (
	variables  = "/sys/firmware/efi/efivars"
	loaderGUID = "-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
	globalGUID = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
)

// firmware holds the EFI variables; the zero value means a machine without
// them.
type firmware struct {
	// dir is the directory of the variables, or "" where they do not apply.
	dir string
	// loader is the boot loader that has started this machine, by the names of
	// [Next.Loader] or by its own name, or "" if it left no name.
	loader string
}

// The boot loaders that leave their names in an EFI variable.
const (
	grubName        = "GRUB"
	systemdBootName = "systemd-boot"
)

// readFirmware reads which boot loader has started the machine: boot loaders
// that follow the Boot Loader Interface leave their name and version.
func readFirmware(root system.Root) firmware {
	f := firmware{dir: root.Path(variables)}
	f.loader, _, _ = strings.Cut(f.text("LoaderInfo"), " ")
	if f.loader == "gummiboot" { // the former name of systemd-boot
		f.loader = systemdBootName
	}
	return f
}

// variable returns the data of an EFI variable, without the four bytes of
// attributes at the beginning of its file.
func (f firmware) variable(name string) []byte {
	if f.dir == "" {
		return nil
	}
	data, err := system.ReadRegular(filepath.Join(f.dir, name), maxWord)
	if err != nil || len(data) < 4 {
		return nil
	}
	return data[4:]
}

// text returns a text variable of the Boot Loader Interface.
func (f firmware) text(name string) string { return utf16Text(f.variable(name + loaderGUID)) }

// number returns a global variable of 16 bits.
func (f firmware) number(name string) (n uint16, ok bool) {
	data := f.variable(name + globalGUID)
	if len(data) < 2 {
		return 0, false
	}
	return binary.LittleEndian.Uint16(data), true
}

// description returns the firmware's name of a boot option (UEFI Specification,
// "Load Options": attributes, length of the paths, description).
func (f firmware) description(option uint16) string {
	data := f.variable(fmt.Sprintf("Boot%04X%s", option, globalGUID))
	if len(data) < 6 {
		return ""
	}
	return utf16Text(data[6:])
}

// firmware answers where the firmware does not start the same boot loader
// again: a variable tells it to start something else once, or it starts a
// kernel itself.
func (s *search) firmware() (n Next, decided bool) {
	current, known := s.efi.number("BootCurrent")
	if once, ok := s.efi.number("BootNext"); ok && !(known && once == current) {
		name := s.efi.description(once)
		if name == "" {
			name = fmt.Sprintf("Boot%04X", once)
		}
		return unknown("firmware", "the firmware is told to start "+name+" once (EFI variable BootNext)"), true
	}
	for order := s.efi.variable("BootOrder" + globalGUID); len(order) >= 2; order = order[2:] {
		option := binary.LittleEndian.Uint16(order)
		if r := s.stub(option); r != "" {
			return Next{Release: r, Loader: "firmware", Why: fmt.Sprintf("the firmware starts it itself (EFI variable Boot%04X)", option)}, true
		}
		if !known || option == current { // the options before the current one did not start
			break
		}
	}
	return Next{}, false
}

// stub returns the release of the kernel that a boot option starts without a
// boot loader, or "".
func (s *search) stub(option uint16) string {
	path := s.efi.file(option)
	if path == "" {
		return ""
	}
	for _, dir := range []string{"/efi", "/boot/efi", "/boot"} {
		file := s.root.Path(dir + path)
		if !system.IsFile(file) {
			continue
		}
		if r := releaseInPath(s.releases(), file); r != "" {
			return r
		}
		return imageRelease(file)
	}
	return ""
}

// file returns the path of the file that an active boot option starts, relative
// to its partition (UEFI Specification, "File Path Media Device Path").
func (f firmware) file(option uint16) string {
	const active, media, filePath, end = 1, 4, 4, 0x7f
	data := f.variable(fmt.Sprintf("Boot%04X%s", option, globalGUID))
	if len(data) < 6 || data[0]&active == 0 {
		return ""
	}
	for data = data[6:]; len(data) >= 2; {
		u := binary.LittleEndian.Uint16(data)
		if data = data[2:]; u == 0 {
			break
		}
	}
	for len(data) >= 4 && data[0] != end {
		size := int(binary.LittleEndian.Uint16(data[2:]))
		if size < 4 || size > len(data) {
			break
		}
		if data[0] == media && data[1] == filePath {
			return "/" + strings.TrimLeft(strings.ReplaceAll(utf16Text(data[4:size]), `\`, "/"), "/")
		}
		data = data[size:]
	}
	return ""
}

// utf16Text decodes a text that ends at a NUL or at the end of the data.
func utf16Text(data []byte) string {
	var units []uint16
	for ; len(data) >= 2; data = data[2:] {
		u := binary.LittleEndian.Uint16(data)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// setText changes a text variable of the Boot Loader Interface, or removes it
// where the text is empty. The firmware takes a variable as a whole, which is one
// write.
func (f firmware) setText(name, text string) error {
	path := filepath.Join(f.dir, name+loaderGUID)
	protect, err := unprotect(path)
	if err != nil {
		return err
	}
	defer protect()
	if text == "" {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	const nonVolatile, bootService, runtime = 1, 2, 4
	data := binary.LittleEndian.AppendUint32(nil, nonVolatile|bootService|runtime)
	for _, u := range append(utf16.Encode([]rune(text)), 0) {
		data = binary.LittleEndian.AppendUint16(data, u)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(f.dir, &st); err != nil {
		return err
	}
	if uint32(st.Type) != unix.EFIVARFS_MAGIC {
		return system.WriteFile(path, data, 0o644)
	}
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if _, err = w.Write(data); err != nil {
		os.Remove(path) // if it is new, it is empty, and no variable
	}
	return errors.Join(err, w.Close())
}

// immutable is FS_IMMUTABLE_FL of linux/fs.h.
const immutable = 0x10

// unprotect lets a variable be changed: the kernel makes the files of variables
// immutable (Documentation/filesystems/efivarfs.rst). protect undoes that.
func unprotect(path string) (protect func(), err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil || flags&immutable == 0 { // another file system, or not protected
		return func() {}, nil
	}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags&^immutable); err != nil {
		return nil, err
	}
	return func() {
		if f, err := os.Open(path); err == nil {
			unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
			f.Close()
		}
	}, nil
}
