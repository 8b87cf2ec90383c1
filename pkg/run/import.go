package run

import (
	"context"
	"fmt"
	"os"

	"dkms/pkg/conf"
	"dkms/pkg/exit"
	"dkms/pkg/fleet"
	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/prebuilt"
	"dkms/pkg/tree"
)

// Imported is the request of import.
type Imported struct {
	// Image is a file, a directory or docker://REGISTRY/REPOSITORY:TAG.
	Image string
	// Name and Version limit what is imported; both may be shell patterns.
	Name, Version string
	Choice        machine.Choice
	// Certificate is the certificate that builds may be signed with, in place
	// of prebuilt_certificate. Insecure permits connections without TLS.
	Certificate string
	Insecure    bool
}

// Import puts the builds of an image into the tree and installs them. If one of
// the builds is not good, nothing changes.
func Import(ctx context.Context, m *machine.Machine, in Imported, o Options) (code exit.Code, err error) {
	if in.Image == "" {
		return 0, exit.Errorf(exit.Usage, "import needs an image").WithHint("dkms import FILE | DIRECTORY | docker://REGISTRY/REPOSITORY:TAG")
	}
	dir, err := os.MkdirTemp(m.Framework.TmpLocation, "dkms-import.")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	img, err := fleet.Open(ctx, m, in.Image, dir, in.Certificate, in.Insecure)
	if err != nil {
		return 0, err
	}
	err = transact(ctx, m, "import", o, func(w *machine.Writer) error {
		subjects, sets, confs, err := judgeAll(ctx, m, in, img)
		if err != nil {
			return fmt.Errorf("%s: %w", img.From, err)
		}
		p, err := takeIn(m, w, img, subjects, sets, confs, o)
		if err != nil {
			return err
		}
		code, err = named(ctx, m, w, o, job{plan: p, confs: confs})
		return err
	})
	return code, err
}

// judgeAll checks every wanted build of an image, and also returns the
// configurations that it has read.
func judgeAll(ctx context.Context, m *machine.Machine, in Imported, img *fleet.Image) ([]machine.Subject, []*prebuilt.Set, map[machine.Subject]conf.Result, error) {
	subjects, err := img.Subjects(m, in.Name, in.Version, in.Choice)
	if err != nil {
		return nil, nil, nil, err
	}
	var sets []*prebuilt.Set
	confs := map[machine.Subject]conf.Result{}
	for i, res := range m.Confs(ctx, subjects, m.ConfFile) {
		if res.Err != nil {
			return nil, nil, nil, fmt.Errorf("%s: %w", subjects[i].ID, res.Err)
		}
		set, err := img.Judge(ctx, m, subjects[i], res.Conf, sets...)
		if err != nil {
			return nil, nil, nil, err
		}
		confs[subjects[i]] = res
		sets = append(sets, set)
	}
	return subjects, sets, confs, nil
}

// takeIn puts accepted builds into the tree and plans their installation.
func takeIn(m *machine.Machine, w *machine.Writer, img *fleet.Image, subjects []machine.Subject, sets []*prebuilt.Set,
	confs map[machine.Subject]conf.Result, o Options) (*plan.Plan, error) {
	p := &plan.Plan{}
	for i, s := range subjects {
		switch {
		case m.Tree.IsBuilt(s.ID, s.Target) && !o.Force:
			m.Report.Progressf("%s: already built for %s; --force replaces that", s.ID, s.Target)
		case w == nil:
			would(m, "import %s for %s: %s", s.ID, s.Target, img.From)
		default:
			if err := img.Adopt(w, s, confs[s].Conf, sets[i], m.Report); err != nil {
				return nil, err
			}
		}
	}
	facts, err := m.Facts() // these facts include the new builds
	if err != nil {
		return nil, err
	}
	for _, s := range subjects {
		state := facts.Subjects(s.ID, []tree.Target{s.Target})
		state[0].Built, state[0].Stale = true, ""
		p.Append(plan.ForInstall(state, plan.Options{Force: o.Force}))
	}
	return p, nil
}
