package system

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Caller says who has started the program.
type Caller struct {
	// Program is the package manager, kernel installer, systemd service or
	// other program that has started this one; it is empty for a person at a
	// shell.
	Program string `json:"program,omitempty"`
	// Package is the package whose script runs (dpkg only).
	Package string `json:"package,omitempty"`
	// User is the person who logged in, where that is known.
	User string `json:"user,omitempty"`
	// Transaction distinguishes the transactions of package managers: runs with
	// the same value belong to one transaction. It is empty without a package
	// manager.
	Transaction string `json:"transaction,omitempty"`
}

// String is the caller in a few words.
func (c Caller) String() string {
	text := c.Program
	if c.Package != "" {
		text += " (" + c.Package + ")"
	}
	switch {
	case text == "":
		return c.User
	case c.User == "":
		return text
	}
	return text + ", " + c.User
}

// packageManagers are the names of the programs, as the kernel cuts them to 15
// bytes, that run the scripts of packages.
var packageManagers = []string{
	"apt", "apt-get", "aptitude", "synaptic", "unattended-upgr", "packagekitd", "dpkg",
	"dnf", "dnf5", "dnf5daemon-serv", "dnf-automatic", "yum", "microdnf", "rpm", "zypper", "rpm-ostree",
	"pacman", "emerge", "apk", "xbps-install", "xbps-remove", "xbps-reconfigur",
}

// installers are other programs that call the hooks of a kernel.
var installers = []string{"kernel-install", "installkernel"}

// ThisCaller finds out who has started this process, from its ancestors and its
// environment. It starts no program.
func ThisCaller(env map[string]string) Caller {
	c := Caller{Package: env["DPKG_MAINTSCRIPT_PACKAGE"], User: person(env)}
	for pid, depth := os.Getppid(), 0; pid > 1 && depth < maxDepth; depth++ {
		parent, start, err := ProcessStat(pid)
		if err != nil {
			break
		}
		switch name := processName(pid); {
		case slices.Contains(packageManagers, name): // the outermost one
			c.Program, c.Transaction = name, fmt.Sprintf("%d-%s", pid, start)
		case slices.Contains(installers, name) && c.Program == "":
			c.Program = name
		}
		pid = parent
	}
	if c.Program == "" && env["INVOCATION_ID"] != "" {
		c.Program = service()
	}
	return c
}

// maxDepth bounds how many ancestors are looked at.
const maxDepth = 64

// processName is the name of a process (proc(5), /proc/PID/comm). A script has
// the name of its file.
func processName(pid int) string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(data))
}

// service is the systemd service that this process belongs to, or "": the last
// part of the path of its control group (systemd(1)).
func service() string {
	data, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(data)) {
		if base := filepath.Base(strings.TrimSpace(line)); strings.HasSuffix(base, ".service") && !strings.HasPrefix(base, "user@") {
			return base
		}
	}
	return ""
}

// person is the name of the user who has called sudo or doas, or has logged in
// (proc(5), /proc/PID/loginuid).
func person(env map[string]string) string {
	for _, name := range []string{"SUDO_USER", "DOAS_USER"} {
		if PlainName(env[name]) {
			return env[name]
		}
	}
	id := env["PKEXEC_UID"]
	if id == "" {
		data, _ := os.ReadFile("/proc/self/loginuid")
		id = strings.TrimSpace(string(data))
	}
	if n, err := strconv.ParseUint(id, 10, 32); err != nil || n == 1<<32-1 { // nobody has logged in
		return ""
	}
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return "user " + id
}
