package run

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"dkms/pkg/exit"
	"dkms/pkg/machine"
	"dkms/pkg/report"
	"dkms/pkg/system"
	"dkms/pkg/tree"
	"dkms/pkg/version"
)

// Person is the one who can be asked, where both ends are a terminal.
type Person struct {
	In  io.Reader
	Out io.Writer
}

// present reports whether somebody can be asked.
func (p Person) present() bool {
	out, ok := p.Out.(io.Reader)
	return ok && system.IsTerminal(p.In) && system.IsTerminal(out)
}

// versions asks which versions of a module to remove. Versions are answered by
// name, because a number could be a version, too. Without an answer there is
// nothing to remove.
func (p Person) versions(ctx context.Context, list []tree.Version) ([]tree.ID, error) {
	out, in := report.Clean(p.Out), bufio.NewReader(p.In)
	var words []string
	fmt.Fprintf(out, "%d versions of %s are registered:\n", len(list), list[0].Name)
	for _, v := range list {
		words = append(words, v.ID.Version)
		fmt.Fprintf(out, "  %-15s %s\n", v.ID.Version, standing(v))
	}
	for {
		fmt.Fprintf(out, "which is to be removed (%s, all, none)? ", strings.Join(words, ", "))
		answer, err := line(ctx, in)
		word := strings.TrimPrefix(strings.TrimSpace(answer), list[0].Name+"/")
		chosen := slices.DeleteFunc(slices.Clone(list), func(v tree.Version) bool { return word != "all" && v.ID.Version != word })
		switch {
		case err == nil && len(chosen) > 0:
			var ids []tree.ID
			for _, v := range chosen {
				ids = append(ids, v.ID)
			}
			return ids, nil
		case err != nil:
			fmt.Fprintln(out)
			return nil, exit.Errorf(exit.Usage, "nothing was removed")
		case word == "none" || word == "":
			return nil, exit.Errorf(exit.Usage, "nothing was removed")
		}
		fmt.Fprintf(out, "%s: none of them\n", word)
	}
}

// line reads a line, until ctx ends.
func line(ctx context.Context, in *bufio.Reader) (string, error) {
	type result struct {
		text string
		err  error
	}
	read := make(chan result, 1)
	go func() {
		text, err := in.ReadString('\n')
		read <- result{text, err}
	}()
	select {
	case r := <-read:
		return r.text, r.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// standing says for which kernels a version is installed or built.
func standing(v tree.Version) string {
	var parts []string
	for _, state := range []struct {
		installed bool
		word      string
	}{{true, "installed"}, {false, "built"}} {
		var kernels []string
		for _, b := range v.Builds {
			if b.Installed == state.installed {
				kernels = append(kernels, b.Kernel)
			}
		}
		if len(kernels) > 0 {
			parts = append(parts, state.word+" for "+strings.Join(kernels, ", "))
		}
	}
	switch {
	case v.State == tree.Broken:
		parts = append(parts, "its sources are lost")
	case len(parts) == 0:
		return "not built"
	}
	return strings.Join(parts, "; ")
}

// registered lists the versions of a module that are registered, oldest first,
// with their builds.
func registered(m *machine.Machine, name string) ([]tree.Version, error) {
	if !system.PlainName(name) {
		return nil, nil
	}
	list, err := m.Tree.Versions(name)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(v tree.Version) bool { return v.State == tree.Absent })
	slices.SortStableFunc(list, func(a, b tree.Version) int { return version.Compare(a.ID.Version, b.ID.Version) })
	return list, nil
}
