package hostile

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// surroundings prints what a build finds: its environment, the directories that
// it may write to, the devices that work, and some habits of scripts.
const surroundings = `echo begun; show() { echo "is $1=$2"; }
while IFS= read -r -d '' line; do [ "${line%%=*}" = SHLVL ] || show "variable ${line%%=*}" "${line#*=}"; done < <(env -0)
for d in / /* /var/tmp /dev/shm /run/lock /var/lock /dev/pts /usr/src /etc/dkms; do [ -w "$d" ] && w=yes || w=no; show "writable $d" $w; done
for f in null zero full random urandom tty ptmx kmsg stdin stdout stderr fd; do { : <"/dev/$f"; } 2>/dev/null && r=yes || r=no; show "readable /dev/$f" $r; done
for f in stdout stderr; do { : >>"/dev/$f"; } 2>/dev/null && r=yes || r=no; show "writable /dev/$f" $r; done
show "umask" "$(umask)"; show "limit of open files" "$(ulimit -n)"; show "directory" "$PWD"; show "type of /tmp" "$(stat -c %A /tmp | cut -c1)"
show "mktemp" "$(mktemp -t -u -p "$PWD" x.XXX | sed 's,/[^/]*$,,')"; show "processors" "$(nproc)"; show "machine" "$(uname -a)"
show "headers" "$(ls /lib/modules/*/build/ | tr '\n' ' ')"; show "sources" "$(ls /usr/src | tr '\n' ' ')"
true`

// reasons are why an isolated build finds something else than one of DKMS.
var reasons = map[string]string{
	"variable HOME":      "root's home is closed to the build's user",
	"readable /dev/ptmx": "there are no terminals",
	"readable /dev/tty":  "there are no terminals",
	"readable /dev/kmsg": "devices are root's",
}

// reason is why something may differ. The whole system is read-only, but for
// the directories that everybody may write to and for the build's own output.
func reason(name string) string {
	path, ok := strings.CutPrefix(name, "writable ")
	if ok && !slices.Contains([]string{"/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/var/lock", "/dev/stdout", "/dev/stderr"}, path) {
		return "the system is read-only"
	}
	return reasons[name]
}

func found(log string) map[string]string {
	list := map[string]string{}
	for line := range strings.Lines(log) {
		if rest, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "is "); ok {
			name, value, _ := strings.Cut(rest, "=")
			list[name] = value
		}
	}
	return list
}

// An isolated build finds what one that is not finds, but for what has a reason.
func TestSurroundings(t *testing.T) {
	fact(t, "every difference has a reason", func(m *machine) string {
		m.pack(surroundings)
		m.run("mkdir -p /run/lock; chmod 1777 /run/lock; export TMPDIR=/root; " + buildCommand)
		isolated := found(m.begun())
		m.write("/etc/dkms/evil.conf", "BUILD_SANDBOX=no\n", 0o644)
		m.run("export TMPDIR=; mkdir -p /run/lock; " + buildCommand + " --force")
		open := found(m.begun())
		if len(open) < 60 {
			return "the other build has not said much"
		}
		wrong := ""
		for _, name := range slices.Sorted(maps.Keys(open)) {
			if isolated[name] != open[name] && reason(name) == "" {
				wrong += name + " is " + isolated[name] + ", and " + open[name] + " without isolation\n"
			}
			delete(isolated, name)
		}
		for name := range isolated {
			wrong += name + " is only there with isolation\n"
		}
		return wrong
	})
}
