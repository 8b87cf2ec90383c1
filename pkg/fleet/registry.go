package fleet

import (
	"context"
	"errors"
	"slices"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/system"
)

// errAway says that a source of images does not answer, and errNothing that the
// source does not have the requested image.
var (
	errAway    = errors.New("cannot be asked")
	errNothing = errors.New("there is no such image")
)

// fetch has skopeo copy an image from a registry into the directory "layout" of
// dir. skopeo interprets a colon in a path, so it runs in dir and gets the
// relative path.
func fetch(ctx context.Context, m *machine.Machine, ref, dir string, insecure bool) error {
	if !m.Run.Has("skopeo") {
		return exit.Errorf(exit.NoSource, "%s: %w: skopeo is not installed", ref, errAway).WithHint("install the package skopeo")
	}
	argv := []string{"skopeo", "copy", "--quiet"}
	if insecure {
		argv = append(argv, "--src-tls-verify=false")
	}
	limit := m.Framework.PrebuiltTimeout
	late := exit.Errorf(exit.NoSource, "%s: %w: no answer within %s", ref, errAway, limit).
		WithHint("prebuilt_timeout in framework.conf sets the limit")
	ctx, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	err := m.Run.Run(ctx, system.Cmd{Argv: append(argv, ref, "oci:layout"), Dir: dir, Env: registryEnv(m)})
	var status *system.ExitError
	if err == nil || !errors.As(err, &status) {
		return err
	}
	return fetchError(ref, status.Stderr)
}

// fetchError finds out from skopeo's message whether an image is missing or
// damaged, or the registry does not answer. skopeo has one exit status for all
// of these.
func fetchError(ref, stderr string) error {
	why := skopeoSays(stderr)
	says := func(mark string) bool { return strings.Contains(stderr, mark) }
	switch {
	case slices.ContainsFunc([]string{"manifest unknown", "name unknown", "repository name not known"}, says):
		return exit.Errorf(exit.NoSource, "%s: %w: %s", ref, errNothing, why)
	case slices.ContainsFunc([]string{"Digest did not match", "digest mismatch", "does not match"}, says):
		return exit.Errorf(exit.BadArchive, "%s: the contents are not what the digest says: %s", ref, why)
	}
	return exit.Errorf(exit.NoSource, "%s: %w: %s", ref, errAway, why)
}

// registryEnv returns those variables of the caller's environment that
// configure the connection to registries and the credentials.
func registryEnv(m *machine.Machine) map[string]string {
	env := map[string]string{}
	for _, name := range []string{
		"REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
	} {
		if v := m.Host.Env[name]; v != "" {
			env[name] = v
		}
	}
	return env
}

// skopeoSays returns the message in the last line of skopeo's log.
func skopeoSays(stderr string) string {
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	last := lines[len(lines)-1]
	if _, msg, ok := strings.Cut(last, `msg="`); ok {
		return strings.ReplaceAll(strings.TrimSuffix(msg, `"`), `\"`, `"`)
	}
	return last
}
