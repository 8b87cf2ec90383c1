package run

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"dkms/pkg/machine"
	"dkms/pkg/plan"
	"dkms/pkg/system"
	"dkms/pkg/tree"
)

// closing carries out the steps that end a run.
type closing struct {
	w *machine.Writer
	// installed lists in order the subjects whose files were installed or signed;
	// changed says that anything was changed.
	installed []machine.Subject
	changed   bool
}

func (c closing) carryOut(ctx context.Context, s plan.Step) error {
	switch s.Kind {
	case plan.Index:
		err := c.w.Index(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("depmod for kernel %s: %w", s.Target.Kernel, context.Cause(ctx))
		}
		return err
	case plan.Initramfs:
		c.initramfs(ctx, s.Target)
	case plan.Load:
		c.load(ctx)
	case plan.Command:
		if c.changed {
			c.command(ctx, s.Target)
		}
	}
	return nil
}

// command runs the administrator's command after a run that changed something.
// A log in the tree gets the output of the command, the command line, the time
// and the exit status. Its failure is only a warning, since the modules are
// installed.
func (c closing) command(ctx context.Context, t tree.Target) {
	report := c.w.Report
	command, err := c.w.PostTransaction(ctx, t.Kernel)
	if err != nil {
		report.Warnf("post_transaction: %v", err)
		return
	}
	path := filepath.Join(c.w.Tree.Dir(), "post_transaction.log")
	log, err := os.Create(path)
	if err != nil {
		report.Warnf("post_transaction: %v", err)
		return
	}
	defer log.Close()
	fmt.Fprintf(log, "# %s: %s\n", c.w.Host.Now().Format(time.RFC3339), command)
	report.Progressf("running the post-transaction command")
	report.Detailf("%s", command)
	err = c.w.Run.Run(ctx, system.Cmd{Argv: []string{"bash", "-c", command, "dkms"}, Inside: true, Stdout: log, Stderr: log})
	ended := "exit status 0"
	if err != nil {
		ended = err.Error()
		report.Warnf("the post-transaction command failed: %v; its output is in %s", err, path)
	}
	fmt.Fprintf(log, "# %s: %s\n", c.w.Host.Now().Format(time.RFC3339), ended)
}
