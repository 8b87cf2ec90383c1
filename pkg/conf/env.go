package conf

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"dkms/pkg/exit"
)

// ParseEnv parses the NAME=VALUE words of --env and of BUILD_ENV.
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

// reserved reports whether every shell gives the variable a meaning, or
// [Reader.moduleVars] sets it.
func reserved(name string) bool {
	vars := (&Reader{}).moduleVars(Ref{})
	_, own := vars[name]
	return own || strings.HasPrefix(name, "BASH") || strings.HasPrefix(name, "__dkms") || strings.HasPrefix(name, "DKMS_DIRECTIVE") ||
		slices.Contains([]string{"ENV", "GLOBIGNORE", "IFS", "PATH", "POSIXLY_CORRECT", "PS4", "PWD", "SHELLOPTS"}, name)
}

// env returns the variables of BUILD_ENV and of --env; those of --env win. An
// invalid element of BUILD_ENV is a problem of the configuration.
func (b *builder) env(given map[string]string) map[string]string {
	env := map[string]string{}
	for _, i := range b.values["BUILD_ENV"].Indexes() {
		text := b.values["BUILD_ENV"][i]
		if text == "" {
			continue // a more special file has emptied the element
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
