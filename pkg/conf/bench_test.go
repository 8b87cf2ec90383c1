package conf

import (
	"fmt"
	"path/filepath"
	"testing"
)

// BenchmarkModules reads thirty configurations that only bash can evaluate,
// once and twice, and thirty plain ones.
func BenchmarkModules(b *testing.B) {
	for _, test := range []struct{ name, text string }{
		{"bash", "if [[ $kernelver == 6.* ]]; then PATCH=six.patch; fi\nfor i in 0 1 2; do BUILT_MODULE_NAME[$i]=m$i; DEST_MODULE_LOCATION[$i]=/extra; done\n"},
		{"bash twice", "MAKE=\"make KVER=\\$kernelver\"\n"},
		{"plain", "MAKE=\"make KVER=${kernelver}\"\n"},
	} {
		b.Run(test.name, func(b *testing.B) {
			r := newReader(b)
			var refs []Ref
			for i := range 30 {
				file := write(b, filepath.Join(r.Host.Root.Dir, fmt.Sprint(i), "dkms.conf"), plainConf+test.text)
				refs = append(refs, Ref{Name: "demo", Version: "1.0", File: file, Target: Target{Release: "6.1.0", Arch: "x86_64"}})
			}
			for b.Loop() {
				for _, res := range r.Modules(b.Context(), refs) {
					if res.Err != nil {
						b.Fatal(res.Err)
					}
				}
			}
		})
	}
}
