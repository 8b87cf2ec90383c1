package fault

import (
	"strings"
	"testing"

	"dkms/pkg/exit"
)

// TestClock has everything installed at one time and looked at at another:
// machines without a clock of their own start in 1970, and others come back
// from the future. What is right stays as it is, and nothing is done twice.
func TestClock(t *testing.T) {
	for name, times := range map[string][2]string{
		"back":      {"2099-01-01", "1970-01-02"},
		"forth":     {"1970-01-02", "2099-01-01"},
		"from then": {"1970-01-02", ""},
		"from when": {"2099-01-01", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			at := func(day string) {
				m.env = append(m.env, "CLOCK="+day)
				if day != "" {
					m.sh("find . -exec touch -h -d " + day + " {} +")
				}
			}
			m.sources("foo", "1.0", pair)
			m.sources("bar", "1.0", []string{"bar"}, `MAKE="false"`)
			at(times[0])
			m.dkms("add", "foo/1.0")
			m.dkms("add", "bar/1.0")
			if r := m.dkms("autoinstall"); r.code != int(exit.SomeFailed) {
				t.Fatalf("autoinstall = %d\n%s", r.code, r.stderr)
			}
			modules := m.modules()
			at(times[1])
			for range 2 {
				r := m.dkms("autoinstall")
				if strings.Contains(r.stderr, "building for") || strings.Contains(r.stderr, "installed for") || m.modules() != modules {
					t.Errorf("autoinstall does it again:\n%s", r.stderr)
				}
			}
			if r := m.dkms("autoinstall"); strings.Contains(r.stderr, "depmod is run again") {
				t.Errorf("depmod is run over and over:\n%s", r.stderr)
			}
			if status := m.want("status", "foo").stdout; status != "foo/1.0, "+release+", "+arch+": installed\n" {
				t.Errorf("status = %q", status)
			}
			m.sources("bar", "1.0", []string{"bar"}) // can be built now
			m.want("autoinstall")
			m.want("log", "bar/1.0")
			m.want("uninstall", "foo/1.0")
			m.want("install", "--force", "foo/1.0")
			m.want("remove", "foo/1.0", "--all")
			m.want("remove", "bar/1.0", "--all")
			if left := append(m.leftovers(), m.wrongIndex()...); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
