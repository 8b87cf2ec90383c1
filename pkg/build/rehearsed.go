package build

import (
	"context"
	"path/filepath"

	"dkms/pkg/conf"
	"dkms/pkg/module"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// takeRehearsed makes the rehearsed build of a job its build, if that was made
// from the same inputs and nobody has touched it: its modules are only signed and
// compressed. A nil manifest says that the build has to be made.
func (w packing) takeRehearsed(ctx context.Context) (*tree.Manifest, error) {
	dir, m, done := w.Tree.TakeRehearsed(w.ID, w.target())
	defer func() {
		if done() != nil {
			w.Pool.needsSweep.Store(true)
		}
	}()
	if m == nil {
		return nil, nil
	}
	if _, fingerprint := w.inputs(); w.Anew || w.Conf.PostBuild != "" || fingerprint != m.Fingerprint {
		return nil, nil
	}
	if len(m.Files) != len(w.records) {
		return nil, nil // BUILD_OPTIONAL has left some out, which has to be said
	}
	modules := filepath.Join(dir, "module")
	w.records = nil
	for _, f := range m.Files {
		data, err := system.ReadPlain(filepath.Join(modules, f.Name), maxModule)
		name, format, ok := module.ParseSuffix(f.Name)
		if err != nil || !ok || format != module.None || digest(data) != f.SHA256 {
			return nil, nil
		}
		w.records = append(w.records, conf.Record{BuiltName: name, DestName: name, DestLocation: f.Location})
	}
	if w.Taken != nil {
		w.Taken()
	}
	w.scratch = &scratch{dir: modules, real: modules, log: filepath.Join(dir, "log", "make.log")}
	return w.finish(ctx)
}
