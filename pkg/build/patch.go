package build

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/system"
)

// patch applies the patches for the kernel, in order.
func (w *work) patch(ctx context.Context) error {
	for _, p := range w.Conf.Patches(w.Kernel.Release) {
		file := filepath.Join(w.scratch.real, "patches", p)
		if !filepath.IsLocal(p) || strings.Contains("/"+p+"/", "/../") {
			return w.unfit(exit.BadPatch, fmt.Errorf("patch %s: not a name inside patches/", p))
		}
		if !system.IsFile(file) {
			return w.unfit(exit.BadPatch, fmt.Errorf("patch %s: no such file in %s", p, filepath.Join(w.scratch.dir, "patches")))
		}
		// The file is an argument, so that no shell interprets its name.
		err := w.shell(ctx, "Applying patch "+p, "patch -p1 < ./patches/"+shellQuote(p))
		if err != nil {
			return w.failed(exit.PatchFailed, failedBy("patch "+p+" does not apply", err))
		}
	}
	return nil
}

func shellQuote(s string) string {
	safe := strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+:@-") == ""
	if safe {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
