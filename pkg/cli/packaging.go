package cli

import (
	"context"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/report"
	"dkms/pkg/run"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// packaging is what the scripts of packages call, see packaging.md: no help tells
// of it, and nothing is written to standard output, which may be debconf's.
func packaging(ctx context.Context, h system.Host, s Streams, r *report.Reporter, words []string) exit.Code {
	m, err := machine.New(ctx, h, system.NewRunner(h), r, machine.Settings{LockWait: machine.Patience})
	if err == nil {
		err = run.NeedRoot(m, words[0])
	}
	code := exit.OK
	if err == nil {
		code, err = packagingVerb(ctx, m, s, words)
	}
	if err != nil {
		r.Error(err)
		return exit.Status(err)
	}
	return code
}

func packagingVerb(ctx context.Context, m *machine.Machine, s Streams, words []string) (exit.Code, error) {
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	switch {
	case words[0] == "packaging-installed" && arg(1) == "-":
		return run.PathsInstalled(ctx, m, s.In)
	case words[0] == "packaging-removed" && arg(1) == "-":
		return run.PathsRemoved(ctx, m, s.In)
	case words[0] == "packaging-installed":
		return run.PackageInstalled(ctx, m, run.Package{
			ID: tree.ID{Name: arg(1), Version: arg(2)}, TarballDir: arg(3), Arch: arg(4), UpgradedFrom: arg(5),
		})
	}
	return 0, exit.Errorf(exit.Usage, "%s: not an action", words[0])
}
