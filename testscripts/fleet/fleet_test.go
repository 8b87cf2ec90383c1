package fleet

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const tag = "hello_1.0_6.9.1-fake_x86_64"

// builder is a machine that has built hello and exported it, without the shell
// that only Kubernetes needs.
func builder(t testing.TB) *machine {
	t.Helper()
	m := newMachine(t).fakeKernel(release).sources("hello", "1.0")
	m.dkms(0, "install", "hello/1.0")
	m.dkms(0, "export", "hello", "-k", release, "--archive", "image", "--busybox", "none")
	return m
}

// TestThroughRegistry has one machine build and two others, which could not,
// take the build from a registry: one by hand, one when its kernel is
// installed.
func TestThroughRegistry(t *testing.T) {
	reg := startRegistry(t)
	one := builder(t)
	reg.push(one, "image", tag)
	key := one.path("var/lib/dkms/mok.pub")

	two := newMachine(t).fakeKernel(release).sources("hello", "1.0").withoutHeaders()
	two.dkms(0, "import", reg.ref(tag), "--insecure", "--certificate", key, "--debug")
	two.says("hello/1.0: imported for 6.9.1-fake (x86_64) from "+reg.ref(tag), "hello/1.0: installed for", "+ skopeo copy")
	two.silentAbout("+ make", "+ gcc", "building")
	two.status("hello/1.0, 6.9.1-fake, x86_64: installed (Imported)")

	three := newMachine(t).fakeKernel(release).sources("hello", "1.0").withoutHeaders()
	three.write("etc/dkms/framework.conf", "prebuilt_source=docker://"+reg.addr+"/fleet/modules\nprebuilt_insecure=1\nprebuilt_certificate=/etc/dkms/builder.der\n")
	data, err := os.ReadFile(key)
	must(t, err)
	three.write("etc/dkms/builder.der", string(data))
	three.dkms(0, "autoinstall", "-k", release, "--debug")
	three.silentAbout("+ make", "+ gcc", "building")
	three.status("hello/1.0, 6.9.1-fake, x86_64: installed (Imported)")
	three.dkms(0, "check", "-k", release)
	if !strings.Contains(three.out, "safe to boot") {
		t.Errorf("dkms check = %q; want that it is safe to boot", three.out)
	}
	for _, m := range []*machine{two, three} {
		for _, file := range []string{"lib/modules/" + release + "/updates/dkms/hello.ko"} {
			if a, b := output(t, "sha256sum", one.path(file))[:64], output(t, "sha256sum", m.path(file))[:64]; a != b {
				t.Errorf("%s is not what was built", m.path(file))
			}
		}
	}
}

// TestRefused has every way in which a build must not be taken by hand.
func TestRefused(t *testing.T) {
	reg := startRegistry(t)
	one := builder(t)
	reg.push(one, "image", tag)
	key := one.path("var/lib/dkms/mok.pub")
	stranger := newMachine(t)
	stranger.dkms(0, "generate_mok")
	two := newMachine(t).fakeKernel(release).sources("hello", "1.0").withoutHeaders()
	take := []string{"import", reg.ref(tag), "--insecure", "--certificate", key}

	two.unchanged(7, "no certificate is named", "import", reg.ref(tag), "--insecure")
	two.unchanged(7, "not signed with a certificate of", "import", reg.ref(tag), "--insecure", "--certificate", stranger.path("var/lib/dkms/mok.pub"))
	two.unchanged(2, "there is no such image", "import", reg.ref("other"), "--insecure", "--certificate", key)
	two.unchanged(2, "cannot be asked", "import", reg.ref(tag), "--certificate", key) // it has no TLS
	two.unchanged(2, "cannot be asked", "import", "docker://"+freeAddr(t)+"/x:y", "--insecure", "--certificate", key)
	two.unchanged(7, "not for 6.9.2-fake", append(take, "-k", "6.9.2-fake")...)

	wrong := newMachine(t).fakeKernel("6.9.2-fake").sources("hello", "1.0")
	wrong.unchanged(7, "it is for kernel 6.9.1-fake (x86_64), which is not installed here", take...)

	other := newMachine(t).fakeKernel(release).sources("hello", "1.0")
	other.write("usr/src/hello-1.0/hello.c", "/* something else */\n")
	other.unchanged(7, "from other sources", take...)
	patched := newMachine(t).fakeKernel(release).sources("hello", "1.0")
	patched.write("etc/dkms/hello.conf", "MAKE=true\n")
	patched.unchanged(7, "another configuration", take...)

	rebuilt := newMachine(t).fakeKernel(release).sources("hello", "1.0").withoutHeaders()
	rebuilt.replaceVermagic()
	rebuilt.unchanged(7, "does not fit the kernel here: its vermagic is", take...)

	reg.tamper(t)
	two.unchanged(7, "the contents are not what the digest says", take...)
	two.silentAbout("cannot be asked")
}

// replaceVermagic makes the kernel's own module say that the kernel was
// configured in another way.
func (m *machine) replaceVermagic() {
	file := m.path("lib/modules", release, "kernel/fs/fakefs.ko")
	data, err := os.ReadFile(file)
	must(m.t, err)
	changed := strings.Replace(string(data), "SMP preempt mod_unload", "SMP prxxxpt mod_unload", 1)
	if changed == string(data) {
		m.t.Fatal("the kernel's module has no vermagic")
	}
	must(m.t, os.WriteFile(file, []byte(changed), 0o644))
}

// TestFallback has a registry that is of no use when a kernel is installed:
// everything is built here, and it is said why.
func TestFallback(t *testing.T) {
	reg := startRegistry(t)
	one := builder(t)
	reg.push(one, "image", tag)
	silent := silentServer(t)
	strangerKey := newMachine(t)
	strangerKey.dkms(0, "generate_mok")
	data, err := os.ReadFile(strangerKey.path("var/lib/dkms/mok.pub"))
	must(t, err)
	for _, test := range []struct{ name, source, version, answer, says string }{
		{"nothing", reg.addr, "2.0", "none", "has no build for 6.9.1-fake"},
		{"away", freeAddr(t), "1.0", "away", "cannot be asked"},
		{"slow", silent, "1.0", "away", "no answer within 1s"},
		{"wrong key", reg.addr, "1.0", "refused", "is refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := newMachine(t).fakeKernel(release).sources("hello", test.version).sources("world", "1.0")
			m.write("etc/dkms/framework.conf", "prebuilt_source=docker://"+test.source+
				"/fleet/modules\nprebuilt_insecure=1\nprebuilt_timeout=1\nprebuilt_certificate=/etc/dkms/stranger.der\n")
			m.write("etc/dkms/stranger.der", string(data))
			if test.name == "wrong key" { // a slow machine must not make it "away"
				m.write("etc/dkms/framework.conf.d/patient.conf", "prebuilt_timeout=60\n")
			}
			m.dkms(0, "kernel_postinst", "-k", release)
			m.says(test.says, "hello/"+test.version+": building for", "world/1.0: building for")
			if asked := strings.Count(m.err, "no answer within"); asked > 1 {
				t.Errorf("a registry that does not answer was waited for %d times", asked)
			}
			m.status("hello/"+test.version+", 6.9.1-fake, x86_64: installed", "world/1.0, 6.9.1-fake, x86_64: installed")
			m.dkms(0, "why", "hello", "-k", release)
			if !strings.Contains(m.out, ": "+test.answer) {
				t.Errorf("dkms why = %q; want the answer %q", m.out, test.answer)
			}
		})
	}
}

// silentServer accepts connections and never says anything.
func silentServer(t *testing.T) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	}()
	return l.Addr().String()
}

// TestInspect has the programs that people use on images read ours.
func TestInspect(t *testing.T) {
	need(t, "skopeo", "umoci")
	one := builder(t)
	first := strings.TrimSpace(output(t, "skopeo", "inspect", "--format", "{{.Digest}}", "oci:"+one.path("image")))
	one.dkms(0, "export", "hello/1.0", "--archive", "again", "--busybox", "none")
	if again := strings.TrimSpace(one.out); again != first {
		t.Errorf("export again = %s; want %s, as before", again, first)
	}
	text := output(t, "skopeo", "inspect", "oci:"+one.path("image")+":"+tag)
	for _, want := range []string{`"dkms.module": "hello"`, `"dkms.version": "1.0"`, `"dkms.kernel": "6.9.1-fake"`, `"dkms.architecture": "x86_64"`, `"dkms.source.digest": "sha256:`, `"Architecture": "amd64"`} {
		if !strings.Contains(text, want) {
			t.Errorf("skopeo inspect lacks %s:\n%s", want, text)
		}
	}
	one.dkms(0, "export", "hello", "--archive", "image.tar", "--format", "tar", "--busybox", "none")
	if tar := strings.TrimSpace(output(t, "skopeo", "inspect", "--format", "{{.Digest}}", "oci-archive:"+one.path("image.tar"))); tar != first {
		t.Errorf("the archive holds %s; want %s", tar, first)
	}
	bundle := filepath.Join(t.TempDir(), "bundle")
	output(t, "umoci", "unpack", "--rootless", "--image", one.path("image")+":"+tag, bundle)
	if _, err := os.Stat(filepath.Join(bundle, "rootfs/opt/lib/modules", release, "updates/dkms/hello.ko")); err != nil {
		t.Error(err)
	}
}
