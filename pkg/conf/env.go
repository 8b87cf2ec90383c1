package conf

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"dkms/pkg/exit"
)

// ParseEnv takes the NAME=VALUE of --env and of BUILD_ENV apart.
func ParseEnv(words []string) (map[string]string, error) {
	env := map[string]string{}
	for _, w := range words {
		name, value, ok := strings.Cut(w, "=")
		switch {
		case !ok || !isName(name):
			return nil, exit.Errorf(exit.Usage, "%s: not NAME=VALUE", w)
		case slices.Contains(moduleNames, name):
			return nil, exit.Errorf(exit.Usage, "%s: %s is a directive of dkms.conf", w, name).
				WithHint("--directive %s", w)
		case reserved(name):
			return nil, exit.Errorf(exit.Usage, "%s: %s is set by dkms or by the shell", w, name)
		}
		env[name] = value
	}
	return env, nil
}

// reserved tells whether a variable means something to every shell, or is one
// that [Reader.moduleVars] sets.
func reserved(name string) bool {
	vars := (&Reader{}).moduleVars(Ref{})
	_, own := vars[name]
	return own || strings.HasPrefix(name, "BASH") || strings.HasPrefix(name, "__dkms") || strings.HasPrefix(name, "DKMS_DIRECTIVE") ||
		slices.Contains([]string{"ENV", "GLOBIGNORE", "IFS", "PATH", "POSIXLY_CORRECT", "PS4", "PWD", "SHELLOPTS"}, name)
}

// env is what BUILD_ENV adds to the variables of --env, which win. An element
// that cannot be used is a problem.
func (b *builder) env(given map[string]string) map[string]string {
	env := map[string]string{}
	for _, i := range b.values["BUILD_ENV"].Indexes() {
		text := b.values["BUILD_ENV"][i]
		if text == "" {
			continue // emptied by a more special file
		}
		one, err := ParseEnv([]string{text})
		if err != nil {
			b.problem("%s", fmt.Sprintf("BUILD_ENV[%d]: %v", i, err))
			continue
		}
		maps.Copy(env, one)
	}
	maps.Copy(env, given)
	if len(env) == 0 {
		return nil
	}
	return env
}
