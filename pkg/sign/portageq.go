package sign

import (
	"bytes"
	"context"
	"strings"

	"dkms/pkg/system"
)

// Portageq returns a function that asks Portage itself for a setting, because
// Portage knows profiles, too. It returns nil if there is no portageq, or if
// root is not the running system, whose settings portageq would return. In
// these cases, this program reads make.conf.
func Portageq(ctx context.Context, run *system.Runner, root system.Root) func(name string) (value string, ok bool) {
	if root.Dir != "" || !run.Has("portageq") {
		return nil
	}
	return portageq(ctx, run, "portageq")
}

func portageq(ctx context.Context, run *system.Runner, program string) func(name string) (value string, ok bool) {
	return func(name string) (string, bool) {
		var out, said bytes.Buffer
		err := run.Run(ctx, system.Cmd{Argv: []string{program, "envvar", name}, Stdout: &out, Stderr: &said})
		value := strings.TrimRight(out.String(), "\n")
		// For an unset variable, portageq prints an empty line or, in some
		// versions, fails without a message. If it fails otherwise, the value
		// is unknown.
		ok := err == nil || out.Len() > 0 && value == "" && said.Len() == 0
		return value, ok && !strings.Contains(value, "\n")
	}
}

// setting returns a variable of Portage, and the path of the settings with its
// value.
func (s *Sources) setting(name string) (value, origin string, err error) {
	if s.Portage != nil {
		if value, ok := s.Portage(name); ok {
			return value, originPortage, nil
		}
	}
	conf, err := readMakeConf(s.Root)
	if err != nil {
		return "", "", err
	}
	return conf.get(name)
}
