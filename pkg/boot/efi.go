package boot

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf16"

	"dkms/pkg/system"
)

const (
	variables  = "/sys/firmware/efi/efivars"
	loaderGUID = "-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
	globalGUID = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
)

// firmware is what the EFI variables say; the zero value is a machine without
// them.
type firmware struct {
	// dir holds the variables; it is empty where they are not to be asked.
	dir string
	// loader is the boot loader that has started this machine, by the names
	// of [Next.Loader]; it is empty where it did not say so.
	loader string
}

// readFirmware reads who has started the machine: boot loaders that follow
// the Boot Loader Interface leave their name.
func readFirmware(root system.Root) firmware {
	f := firmware{dir: root.Path(variables)}
	switch info := f.text("LoaderInfo"); {
	case strings.HasPrefix(info, "systemd-boot"):
		f.loader = "systemd-boot"
	case strings.HasPrefix(info, "GRUB"):
		f.loader = "GRUB"
	}
	return f
}

// variable is the data of an EFI variable; four bytes of attributes come
// before it in the file.
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

// text is a variable of the Boot Loader Interface.
func (f firmware) text(name string) string { return utf16Text(f.variable(name + loaderGUID)) }

// number is a global variable of 16 bits.
func (f firmware) number(name string) (n uint16, ok bool) {
	data := f.variable(name + globalGUID)
	if len(data) < 2 {
		return 0, false
	}
	return binary.LittleEndian.Uint16(data), true
}

// description is what the firmware calls a boot option (UEFI Specification,
// "Load Options": attributes, length of the paths, description).
func (f firmware) description(option uint16) string {
	data := f.variable(fmt.Sprintf("Boot%04X%s", option, globalGUID))
	if len(data) < 6 {
		return ""
	}
	return utf16Text(data[6:])
}

// firmware answers where the firmware is told to start something else than the
// boot loader that has started the machine this time.
func (s *search) firmware() (n Next, decided bool) {
	once, ok := s.efi.number("BootNext")
	current, known := s.efi.number("BootCurrent")
	if !ok || known && once == current {
		return Next{}, false
	}
	name := s.efi.description(once)
	if name == "" {
		name = fmt.Sprintf("Boot%04X", once)
	}
	return unknown("firmware", "the firmware is told to start "+name+" once (EFI variable BootNext)"), true
}

// utf16Text is a text that a NUL or the end of the data ends.
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
