package build

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"dkms/pkg/system"
)

// environment sets the variables that make and the scripts see in addition to
// those of the runner.
func (w *work) environment(ctx context.Context) error {
	w.env = map[string]string{
		"module": w.ID.Name, "module_version": w.ID.Version,
		"kernelver": w.Kernel.Release, "arch": w.Kernel.Arch, Mark: w.ID.String(),
	}
	maps.Copy(w.env, w.Directives)
	for name, value := range map[string]string{"CC": w.tools.CC, "KERNEL_CC": w.tools.CC, "LD": w.tools.LD, "KERNEL_LD": w.tools.LD, "ARCH": w.tools.Arch, "CROSS_COMPILE": w.tools.Prefix} {
		if value != "" {
			w.env[name] = value
		}
	}
	if epoch := w.Host.Env["SOURCE_DATE_EPOCH"]; epoch != "" {
		// Kbuild then asks pahole for the same output every time.
		w.env["KBUILD_BUILD_TIMESTAMP"] = "@" + epoch
	}
	variables, err := w.makeVariables()
	if err != nil {
		return err
	}
	if flags := w.ticket.makeFlags() + variables; flags != "" {
		w.env["MAKEFLAGS"] = flags
	}
	if err := w.openCache(ctx); err != nil {
		return fmt.Errorf("compiler_launcher: %w", err)
	}
	if w.scratch.private != "" { // a build user cannot read root's home
		w.env["HOME"] = "/tmp"
	}
	maps.Copy(w.env, w.Conf.Env)
	if err := w.addEnvironment(ctx); err != nil {
		return err
	}
	w.extraSymbols()
	for name, value := range w.env {
		w.env[name] = w.seen(value)
	}
	return nil
}

// addEnvironment adds what the file that build_environment names exports.
func (w *work) addEnvironment(ctx context.Context) error {
	if w.Environment == "" || !system.IsFile(w.Environment) {
		return nil
	}
	added, err := sourceEnvironment(ctx, w.Run, w.Environment, w.env)
	if err != nil {
		return fmt.Errorf("build_environment: %w", err)
	}
	if w.scratch.private != "" && added["TMPDIR"] == w.Host.Env["TMPDIR"] {
		delete(added, "TMPDIR") // this is the caller's value, which the file did not set
	}
	maps.Copy(w.env, added)
	maps.Copy(w.env, w.Conf.Env) // variables for one module override those for all modules
	return nil
}

// sourceEnvironment sources file in bash and returns the variables that are
// exported afterwards.
func sourceEnvironment(ctx context.Context, run *system.Runner, file string, env map[string]string) (map[string]string, error) {
	const show = `source "$1" >/dev/null </dev/null; exec env -0`
	out, err := run.Output(ctx, system.Cmd{Argv: []string{"bash", "-c", show, "dkms", file}, Env: env})
	if err != nil {
		return nil, err
	}
	added := system.EnvMap(strings.Split(string(out), "\x00"))
	for _, name := range []string{"PWD", "OLDPWD", "SHLVL", "_"} {
		delete(added, name)
	}
	return added, nil
}
