package report

import (
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/coreos/go-systemd/v22/journal"

	"dkms/pkg/exit"
)

// messageID marks this program's journal entries about a module, and failureID
// those that say that a module is not ready, for journalctl MESSAGE_ID=...
// (systemd.journal-fields(7)). The journal's catalog explains the latter.
const (
	messageID = "5d1b8ab9d9d94a3c8d4f6c3f0b7a2e61"
	failureID = "0ec2bab2ee6e4afeafbd535dd218a3bb"
)

// Journal is the sink for the systemd journal: the same lines, with fields for
// searches.
type Journal struct {
	Verbose bool
	// Otherwise gets what cannot be sent to the journal: in a chroot its socket
	// is out of reach, while standard error still leads there.
	Otherwise Lines
}

// UnderJournal reports whether stderr is a stream of the journal, as
// JOURNAL_STREAM=DEVICE:INODE says (systemd.exec(5)).
func UnderJournal(env map[string]string, stderr *os.File) bool {
	dev, ino, ok := strings.Cut(env["JOURNAL_STREAM"], ":")
	if !ok || stderr == nil {
		return false
	}
	st, err := stderr.Stat()
	if err != nil {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && dev == strconv.FormatUint(uint64(sys.Dev), 10) && ino == strconv.FormatUint(sys.Ino, 10)
}

// Event sends e to the journal.
func (j *Journal) Event(e Event) {
	if e.Kind == Detail && !j.Verbose {
		return
	}
	priority := journal.PriInfo
	switch e.Kind {
	case Detail:
		priority = journal.PriDebug
	case Warning:
		priority = journal.PriWarning
	case Failure:
		priority = journal.PriErr
	}
	text := e.Text
	if hint := exit.Hint(e.Err); hint != "" {
		text += "; " + hint
	}
	if journal.Send(harmless(text), priority, fieldsOf(e)) != nil {
		j.Otherwise.Verbose = j.Verbose
		j.Otherwise.Event(e)
	}
}

// fieldsOf returns the fields of an entry, beside MESSAGE and PRIORITY. The
// names are an interface, see dkms-journal(7).
func fieldsOf(e Event) map[string]string {
	fields := map[string]string{"SYSLOG_IDENTIFIER": "dkms"}
	for name, value := range map[string]string{"MODULE": e.Module, "KERNEL": e.Kernel, "ARCH": e.Arch, "STEP": e.Step, "HINT": exit.Hint(e.Err)} {
		if value != "" {
			fields[name] = value
		}
	}
	switch {
	case e.Module != "" && e.Kind == Failure:
		fields["MESSAGE_ID"] = failureID
	case e.Module != "":
		fields["MESSAGE_ID"] = messageID
	}
	return fields
}

// Notify is the sink for the service manager (sd_notify(3)). It sends STATUS=
// lines, which systemctl status shows, and extends the time limit of the unit's
// start while there is progress. Nothing depends on the sending, so it may
// fail.
type Notify struct{}

// Alive extends the time limit because a long step is still running.
func (n *Notify) Alive() { daemon.SdNotify(false, moreTime) }

// moreTime is how long the service manager waits for the next sign of life, in
// microseconds. Builds give a sign of life every minute.
const moreTime = "EXTEND_TIMEOUT_USEC=2100000000"

// Event sends the step in progress.
func (n *Notify) Event(e Event) {
	if e.Kind == Detail {
		return
	}
	daemon.SdNotify(false, "STATUS="+printable(e.Text)+"\n"+moreTime)
}
