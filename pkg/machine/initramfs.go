package machine

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"dkms/pkg/initramfs"
	"dkms/pkg/kernel"
	"dkms/pkg/module"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// Image is an initramfs of a kernel, as compared with the installed modules.
type Image struct {
	*kernel.Initramfs
	target tree.Target
	// modules are the copies of installed modules in the image, and others the
	// names of its other modules. Err is why the image could not be read.
	modules []initramfs.Module
	others  []string
	Err     error
	// strict says that the kernel does not load a copy without the signature of
	// the installed file.
	strict bool
	// before are the names of the modules that an earlier look has found.
	before []string
}

// looked is what is on record about a look at an image: it need not be read
// again while it has the same stamp, and it tells what was in an image that was
// made again since.
type looked struct {
	Image string `json:"image"`
	Stamp string `json:"stamp"`
	// Asked are the names of the modules that were looked for, and Others those of
	// the other modules in the image; nil says that these are not on record.
	Asked   []string           `json:"asked"`
	Others  []string           `json:"others"`
	Modules []initramfs.Module `json:"modules"`
	// Keys says that the keys of the modules are on record, which earlier releases
	// did not look at.
	Keys bool `json:"keys,omitempty"`
}

// maxLooked bounds how many bytes of that record are read.
const maxLooked = 4 << 20

// stampOf tells whether an image may have changed.
func stampOf(file string) (string, error) {
	f, st, err := system.OpenRegular(file) // whether it can be read counts, too
	if err != nil {
		return "", err
	}
	f.Close()
	inode := uint64(0)
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		inode = sys.Ino
	}
	return fmt.Sprintf("%d %d %d", inode, st.Size(), st.ModTime().UnixNano()), nil
}

// Images lists the initramfs images of a kernel. It reads those that have
// changed since the last look, and those that are newer than the record of it.
func (f *Facts) Images(t tree.Target) []*Image {
	return f.images.get(t, func() []*Image {
		found := f.m.Kernel(t).Initramfs()
		if len(found) == 0 {
			return nil
		}
		files := installedFiles(f, t)
		var asked []string
		for name := range files {
			asked = append(asked, name)
		}
		slices.Sort(asked)
		var record []looked
		if data, err := system.ReadRegular(f.m.Tree.ImagesNote(t), maxLooked); err == nil && json.Unmarshal(data, &record) != nil {
			record = nil
		}
		var list []*Image
		strict := f.SignaturesRequired(t)
		for _, i := range found {
			image := look(i, t, asked, record)
			image.strict = strict
			list = append(list, image)
		}
		return list
	})
}

// look reads an image, unless the record says what is in it.
func look(i *kernel.Initramfs, t tree.Target, asked []string, record []looked) *Image {
	image := &Image{Initramfs: i, target: t}
	stamp, err := stampOf(i.Image)
	if err != nil {
		image.Err = err
		return image
	}
	for _, l := range record {
		if l.Image != i.Image {
			continue
		}
		for _, m := range l.Modules {
			image.before = append(image.before, m.Name)
		}
		if l.Stamp == stamp && l.Keys && !slices.ContainsFunc(asked, func(name string) bool { return !l.knows(name) }) {
			image.modules, image.others = l.Modules, l.Others
			return image
		}
	}
	all, err := initramfs.Read(i.Image, t.Kernel, func(name string) bool { return slices.Contains(asked, name) })
	image.Err, image.others = err, []string{}
	for _, m := range all {
		if slices.Contains(asked, m.Name) {
			image.modules = append(image.modules, m)
		} else {
			image.others = append(image.others, m.Name)
		}
	}
	return image
}

// knows tells whether the record says what the image has of a module.
func (l *looked) knows(name string) bool {
	return slices.Contains(l.Asked, name) || l.Others != nil && !slices.Contains(l.Others, name)
}

// installedFiles are the installed files for a kernel, by the names of their
// modules.
func installedFiles(f *Facts, t tree.Target) map[string]string {
	list := map[string]string{}
	for _, v := range f.Registered() {
		mod := f.Module(Subject{v.ID, t})
		if !mod.Active || mod.Manifest == nil {
			continue
		}
		for _, file := range mod.Manifest.Installed {
			if name, _, ok := module.ParseSuffix(filepath.Base(file.Path)); ok {
				list[initramfs.Name(name)] = file.Path
			}
		}
	}
	return list
}

// ImageFaults are the modules that an image has in another form than they are
// installed.
type ImageFaults struct {
	// Old are the modules of which the image has another build.
	Old []string
	// Missing are those of which it has none, although it had one before or the
	// configuration of its tool names them.
	Missing []string
	// Refused are those of which it has a copy without the signature of the
	// installed file, on a machine that loads only signed modules.
	Refused []string
}

// Any tells whether there is a fault.
func (f ImageFaults) Any() bool { return len(f.Old)+len(f.Missing)+len(f.Refused) > 0 }

// String says in a clause what is wrong with the image.
func (f ImageFaults) String() string {
	var list []string
	if len(f.Old) > 0 {
		list = append(list, "holds an old copy of "+strings.Join(f.Old, ", "))
	}
	if len(f.Missing) > 0 {
		list = append(list, "does not hold "+strings.Join(f.Missing, ", ")+" any more")
	}
	if len(f.Refused) > 0 {
		list = append(list, "holds "+strings.Join(f.Refused, ", ")+notSigned)
	}
	return strings.Join(list, " and ")
}

// notSigned ends the reason of an image with a copy that the kernel refuses.
const notSigned = " without the signature that it is installed with"

// Faults compares installed files with their copies in an image.
func (i *Image) Faults(files []string) (found ImageFaults) {
	for _, file := range files {
		stem, _, ok := module.ParseSuffix(filepath.Base(file))
		if !ok || i.Err != nil {
			continue
		}
		name := initramfs.Name(stem)
		copies := i.copies(name, file)
		print, key, err := initramfs.PrintOfFile(file)
		same := func(m initramfs.Module) bool { return m.Print == print }
		signed := func(m initramfs.Module) bool { return same(m) && m.Key == key }
		switch {
		case err != nil: // what is wrong with the file itself is said elsewhere
		case len(copies) == 0 && (slices.Contains(i.before, name) || i.Demands(name)):
			found.Missing = append(found.Missing, name)
		case len(copies) > 0 && !slices.ContainsFunc(copies, same):
			found.Old = append(found.Old, name)
		case len(copies) > 0 && i.strict && key != "" && !slices.ContainsFunc(copies, signed):
			found.Refused = append(found.Refused, name)
		}
	}
	return found
}

// copies are the copies of a module in the image: those at the path of the
// installed file or, if there are none, all.
func (i *Image) copies(name, file string) []initramfs.Module {
	var same, all []initramfs.Module
	below := func(path string) string {
		_, rest, _ := strings.Cut(path, "/lib/modules/"+i.target.Kernel+"/")
		if dir, base := filepath.Split(rest); base != "" {
			stem, _, _ := module.ParseSuffix(base)
			return dir + stem
		}
		return ""
	}
	for _, m := range i.modules {
		if m.Name != name {
			continue
		}
		all = append(all, m)
		if below("/"+m.Path) == below(file) {
			same = append(same, m)
		}
	}
	if len(same) > 0 {
		return same
	}
	return all
}

// Again is the command that makes the image again, for people.
func (i *Image) Again() string {
	argv := i.Command(i.target.Kernel)
	if argv == nil {
		return "make " + i.Image + " again, with the program that made it"
	}
	return strings.Join(argv, " ")
}

// anotherBuild begins the reason of an image with another build of a module.
const anotherBuild = "holds another build of "

// InImages is the health of an installed module in the initramfs images of its
// kernel: a kernel loads the copy there, if there is one. An image that cannot be
// read is no fault.
func (f *Facts) InImages(mod *Module) Health {
	if mod.Manifest == nil {
		return Health{State: Ready}
	}
	var files []string
	for _, file := range mod.Manifest.Installed {
		files = append(files, file.Path)
	}
	for _, i := range f.Images(mod.Target) {
		switch found := i.Faults(files); {
		case len(found.Old) > 0:
			return Health{State: Stale, File: i.Image, Reason: anotherBuild + strings.Join(found.Old, ", "), Hint: i.Again()}
		case len(found.Missing) > 0:
			return Health{State: Stale, File: i.Image, Reason: "holds no " + strings.Join(found.Missing, ", ") + " any more", Hint: i.Again()}
		case len(found.Refused) > 0:
			return Health{State: Stale, File: i.Image, Reason: "holds " + strings.Join(found.Refused, ", ") + notSigned, Hint: i.Again()}
		}
	}
	return Health{State: Ready}
}

// RecordImages keeps what is in the images of a kernel, so that no later look
// needs to read them.
func (w *Writer) RecordImages(t tree.Target, images []*Image) error {
	list := []looked{}
	facts, err := w.Facts()
	if err != nil {
		return err
	}
	var asked []string
	for name := range installedFiles(facts, t) {
		asked = append(asked, name)
	}
	slices.Sort(asked)
	for _, i := range images {
		stamp, err := stampOf(i.Image)
		if err != nil || i.Err != nil {
			continue
		}
		list = append(list, looked{i.Image, stamp, asked, i.others, append([]initramfs.Module{}, i.modules...), true})
	}
	data, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return system.WriteFile(w.Tree.ImagesNote(t), data, 0o644)
}
