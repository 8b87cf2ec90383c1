package sign

import (
	"bytes"
	"context"
	"strings"

	"dkms/pkg/system"
)

// Portageq returns what asks Portage itself for a setting: it knows profiles,
// too. It returns nil, and make.conf is read by this program, where there is
// no portageq and below a Root that is not the running system's: the program
// would answer for the wrong one.
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
		// A variable that is not set is an empty line, and with some versions a
		// failure without a word. A program that failed otherwise knows nothing.
		ok := err == nil || out.Len() > 0 && value == "" && said.Len() == 0
		return value, ok && !strings.Contains(value, "\n")
	}
}

// setting returns a variable of Portage, and the path of the settings that it
// is from.
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
