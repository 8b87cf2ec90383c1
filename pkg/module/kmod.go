package module

import (
	"context"
	"strings"

	"dkms/pkg/system"
)

// Readable reports whether the kmod tools of this system can read modules with
// this compression: modprobe does not find a module that depmod cannot read.
// Tools that do not tell what they were built with are trusted.
func Readable(ctx context.Context, run *system.Runner, c Compression) bool {
	feature := map[Compression]string{Gzip: "-ZLIB", XZ: "-XZ", Zstd: "-ZSTD"}[c]
	if feature == "" {
		return true
	}
	out, err := run.Output(ctx, system.Cmd{Argv: []string{"kmod", "--version"}})
	if err != nil {
		return true
	}
	for _, word := range strings.Fields(string(out)) {
		if word == feature {
			return false
		}
	}
	return true
}
