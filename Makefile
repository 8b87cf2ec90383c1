# The variables keep the names that packagers of DKMS know. Set SYSTEMD= or
# OPENRC= to leave that service out; Arch wants SBIN=/usr/bin.
DESTDIR  =
SBIN     = /usr/sbin
LIBDIR   = /usr/lib/dkms
MODDIR   = /lib/modules
KCONF    = /etc/kernel
KINSTALL = /usr/lib/kernel/install.d
KPREINST = /usr/lib/kernel/preinst.d
SYSTEMD  = /usr/lib/systemd/system
# On Debian, and where nobody knows, only where OpenRC is: elsewhere its script
# confuses systemctl.
OPENRC   = $(if $(filter debian other,$(distro)),$(if $(wildcard /sbin/openrc-run),/etc/init.d),/etc/init.d)
# Void's.
RUNIT    = /etc/sv
SHARE    = /usr/share
# zsh of Debian does not look into site-functions of /usr/share, and has a
# completion of its own for the original.
ZSH      = $(SHARE)/zsh/$(if $(filter debian:/usr/share,$(distro):$(SHARE)),vendor-completions,site-functions)
# Where the programs are built, and where install takes them from.
BIN      = bin
# debian, gentoo, fedora, suse, arch, alpine, void, other or all: whose kernel
# hooks are laid down. auto asks os-release and means other, which is the plugin
# of kernel-install and a word on what is left to do, where that is no help.
DISTRO   = auto
FUZZTIME = 10s
ARCHES   = amd64 arm64 riscv64 ppc64le ppc64 loong64 s390x arm 386 mips64le

GO          = go
# Without symbols; empty where the package manager takes them out itself. More
# goes into Go's own GOFLAGS: -buildmode=pie makes programs that move in memory,
# but that want the C library's loader.
GOLDFLAGS   = -s -w
BUILD       = CGO_ENABLED=0 $(GO) build -trimpath $(if $(GOLDFLAGS),-ldflags "$(GOLDFLAGS)")
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Packages: newer than the version of the original that they stand in for.
# Later versions of nfpm need modules that the Go module proxy did not have.
VERSION = 3.4.3+go1
RELEASE = 1
NFPM    = github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.0

distro := $(DISTRO)
ifeq ($(DISTRO),auto)
distro := $(shell . /etc/os-release 2>/dev/null || . /usr/lib/os-release 2>/dev/null; \
	for id in $$ID $$ID_LIKE other; do case $$id in \
	(debian|ubuntu) echo debian; break;; (fedora|rhel|centos) echo fedora; break;; \
	(suse|opensuse*|sle*) echo suse; break;; (gentoo|arch|alpine|void|other) echo $$id; break;; \
	esac; done)
endif

# What is installed: source:destination:mode.
files_debian := $(foreach hook,postinst header_postinst preinst prerm,dist/hooks/debian.in:$(KCONF)/$(hook).d/dkms:755) \
	dist/hooks/guard.in:$(KCONF)/postinst.d/zzz-dkms-guard:755
files_apt := dist/apt/70dkms:/etc/apt/apt.conf.d/70dkms:644
files_plugin := dist/hooks/40-dkms.install:$(KINSTALL)/40-dkms.install:755
files_gentoo := dist/gentoo/dkms-emerge:$(SBIN)/dkms-emerge:755 \
	dist/hooks/40-dkms.install:$(KPREINST)/40-dkms.install:755
files_dnf := dist/dnf/dkms.actions:/etc/dnf/libdnf5-plugins/actions.d/dkms.actions:644
files_arch := \
	dist/arch/05-dkms-guard.hook:$(SHARE)/libalpm/hooks/05-dkms-guard.hook:644 \
	dist/arch/70-dkms-install.hook:$(SHARE)/libalpm/hooks/70-dkms-install.hook:644 \
	dist/arch/70-dkms-upgrade.hook:$(SHARE)/libalpm/hooks/70-dkms-upgrade.hook:644 \
	dist/arch/71-dkms-remove.hook:$(SHARE)/libalpm/hooks/71-dkms-remove.hook:644 \
	dist/arch/dkms-alpm:$(SHARE)/libalpm/scripts/dkms:755
files_suse := dist/compat/common.postinst:/usr/libexec/dkms/common.postinst:755
files_systemd := dist/systemd/dkms.service:$(SYSTEMD)/dkms.service:644 \
	dist/systemd/dkms.catalog:$(dir $(patsubst %/,%,$(SYSTEMD)))catalog/dkms.catalog:644
files_void := $(foreach dir,post-install pre-remove,dist/void/10-dkms:/etc/kernel.d/$(dir)/10-dkms:755)
files_runit := dist/void/run:$(RUNIT)/dkms/run:755
files_openrc := dist/openrc/dkms.initd:$(OPENRC)/dkms:755 \
	dist/openrc/dkms.confd:$(dir $(OPENRC))conf.d/dkms:644

hooks_debian := $(files_debian) $(files_apt) $(files_plugin)
hooks_gentoo := $(files_gentoo) $(files_plugin)
hooks_fedora := $(files_plugin) $(files_dnf)
hooks_suse   := $(files_plugin) $(files_suse) $(files_dnf)
hooks_arch   := $(files_arch)
hooks_alpine :=
hooks_void   := $(files_void)
hooks_other  := $(files_plugin)
hooks_all    := $(files_debian) $(files_apt) $(files_gentoo) $(files_plugin) $(files_arch) $(files_dnf) $(files_void)
ifeq ($(filter debian gentoo fedora suse arch alpine void other all,$(distro)),)
$(error DISTRO=$(DISTRO) is none of auto debian gentoo fedora suse arch alpine void other all)
endif

files := \
	$(BIN)/dkms:$(SBIN)/dkms:755 \
	$(BIN)/dkms-hook:$(LIBDIR)/dkms-hook:755 \
	dist/compat/common.postinst:$(LIBDIR)/common.postinst:755 \
	dist/compat/dkms_autoinstaller:$(LIBDIR)/dkms_autoinstaller:755 \
	dist/framework.conf:/etc/dkms/framework.conf:644 \
	dist/completions/dkms.bash:$(SHARE)/bash-completion/completions/dkms:644 \
	dist/completions/_dkms:$(ZSH)/_dkms:644 \
	dist/completions/dkms.fish:$(SHARE)/fish/vendor_completions.d/dkms.fish:644 \
	dist/doc/differences.md:$(SHARE)/doc/dkms/differences.md:644 \
	dist/doc/licenses.txt:$(SHARE)/doc/dkms/licenses.txt:644 \
	dist/doc/packaging.md:$(SHARE)/doc/dkms/packaging.md:644 \
	dist/examples/90-dkms-motd:$(SHARE)/doc/dkms/examples/90-dkms-motd:755 \
	dist/examples/dkms-textfile:$(SHARE)/doc/dkms/examples/dkms-textfile:755 \
	dist/man/dkms.8:$(SHARE)/man/man8/dkms.8:644 \
	dist/man/dkms-hook.8:$(SHARE)/man/man8/dkms-hook.8:644 \
	dist/man/dkms-journal.7:$(SHARE)/man/man7/dkms-journal.7:644 \
	dist/man/dkms-json.5:$(SHARE)/man/man5/dkms-json.5:644 \
	dist/man/dkms.conf.5:$(SHARE)/man/man5/dkms.conf.5:644 \
	dist/man/dkms-framework.conf.5:$(SHARE)/man/man5/dkms-framework.conf.5:644 \
	$(hooks_$(distro)) \
	$(if $(SYSTEMD),$(if $(filter void,$(distro)),,$(files_systemd))) \
	$(if $(OPENRC),$(if $(filter debian gentoo alpine other all,$(distro)),$(files_openrc))) \
	$(if $(RUNIT),$(if $(filter void all,$(distro)),$(files_runit)))
dirs := /etc/dkms/framework.conf.d /var/lib/dkms

# Texts name the default paths; the others are put in on the way. Programs
# are copied as they are.
subst = sed -e 's|/usr/sbin/dkms|$(SBIN)/dkms|g' -e 's|/usr/lib/dkms|$(LIBDIR)|g' \
	-e 's,\(^\|[^r]\)/lib/modules,\1$(MODDIR),g' -e "s|@HOOK@|$$hook|g"

.PHONY: all install uninstall test arch images test-index test-vm test-export differential race lint fuzz bench bench-full demo clean man-check licenses source deb rpm test-packages test-arch test-gentoo test-alpine test-rpm test-kernels test-initramfs test-apt test-dnf test-busybox
all:
	$(BUILD) -o $(BIN)/dkms ./oneshot
	$(BUILD) -o $(BIN)/dkms-hook ./hooks

$(BIN)/dkms:
	$(BUILD) -o $@ ./oneshot

$(BIN)/dkms-hook:
	$(BUILD) -o $@ ./hooks

# An existing framework.conf is the administrator's and stays.
install: $(BIN)/dkms $(BIN)/dkms-hook
	@set -e; for dir in $(dirs); do install -d -m 755 "$(DESTDIR)$$dir"; done; \
	for f in $(files); do \
		src=$${f%%:*} mode=$${f##*:} to=$${f#*:}; to=$${to%:*}; \
		hook=$${to%/*}; hook=$${hook##*/}; hook=$${hook%.d}; \
		if [ "$$to" = /etc/dkms/framework.conf ] && [ -e "$(DESTDIR)$$to" ]; then continue; fi; \
		echo "install $$to"; \
		case $$src in \
		$(BIN)/*) install -D -m $$mode "$$src" "$(DESTDIR)$$to";; \
		*) $(subst) "$$src" | install -D -m $$mode /dev/stdin "$(DESTDIR)$$to";; \
		esac; \
	done
	@[ '$(distro)' != other ] || LIBDIR='$(LIBDIR)' sh dist/package/other.sh '$(DESTDIR)'

# What was built, the signing key and a changed configuration stay.
uninstall:
	@for f in $(files); do \
		src=$${f%%:*} to=$${f#*:}; to=$${to%:*}; \
		if [ "$$to" = /etc/dkms/framework.conf ]; then cmp -s "$$src" "$(DESTDIR)$$to" || continue; fi; \
		rm -f "$(DESTDIR)$$to"; \
	done; \
	for dir in $(LIBDIR) $(dirs) /etc/dkms; do \
		rmdir "$(DESTDIR)$$dir" 2>/dev/null || true; \
	done

test:
	sh testscripts/setup.sh
	$(GO) test -timeout 30m ./...

# Every architecture that there are kernels for compiles; the packages that
# read binary formats are tested on one with the other byte order.
arch:
	sh testscripts/setup.sh arch
	@set -e; for arch in $(ARCHES); do \
		echo "GOARCH=$$arch"; \
		CGO_ENABLED=0 GOARCH=$$arch $(GO) build -o /dev/null ./oneshot; \
		CGO_ENABLED=0 GOARCH=$$arch $(GO) build -o /dev/null ./hooks; \
		CGO_ENABLED=0 GOARCH=$$arch $(GO) vet ./...; \
	done
	CGO_ENABLED=0 GOARCH=s390x $(GO) test -short -exec qemu-s390x \
		./pkg/module ./pkg/kernel ./pkg/tree ./pkg/image ./pkg/conf
	CGO_ENABLED=0 GOARCH=s390x $(GO) test -short -exec qemu-s390x -run 'List|Trusted|Cut|ECDSA|Accepted|Modinfo' ./pkg/sign

# Modules for systems that do not run, as README has it.
images: all
	sh testscripts/setup.sh images
	$(GO) test -tags images -count=1 -timeout 60m ./testscripts/images

# Hundreds of command sequences by the original and by ours, in two chroots, and
# every dkms.conf that Debian ships. DIFFERENTIAL_ORIGINAL="3.0.10 3.2.2" are
# those of Debian; DKMS_ORIGINAL=DIRECTORY is a checkout of the project instead.
# DIFFERENTIAL_COUNT=25 is a small part.
differential: all
	sh testscripts/setup.sh differential
	DKMS_ORIGINAL=$(abspath $(DKMS_ORIGINAL)) $(GO) test -tags differential -count=1 -timeout 120m ./testscripts/differential
	$(GO) test -tags differential -count=1 -run TestDebianPackages ./pkg/conf

# Real boots under qemu, of Debian bookworm, or trixie or sid with VM_SUITE:
# VM_SCENARIOS="systemd broken openrc enroll sigenforce secureboot powercut export
# guard guard-systemd-boot guard-cut undo image", the first four unless it says
# otherwise.
test-vm:
	sh testscripts/setup.sh vm
	$(GO) test -tags vm -run TestVM -v -count 1 -timeout 90m -parallel 2 ./testscripts/vm

# Packages of builds, made and installed by dpkg, rpm and pacman of Debian
# trixie.
test-export: all
	sh testscripts/packages/export.sh $(BIN)/dkms

# Our module index and that of depmod of kmod 28, 30 and 34, byte for byte, on
# the whole kernels of four releases of Debian in chroots below
# /var/tmp/dkms-index. INDEX_SEQUENCES=5 is a small part.
test-index:
	sh testscripts/setup.sh differential
	unshare --mount --propagation private $(GO) test -tags index -run TestKernels -v -count 1 -timeout 180m ./pkg/index

# The race detector would have every dkms that a script runs sleep for a second.
race:
	GORACE=atexit_sleep_ms=0 $(GO) test -race -timeout 30m ./...

fuzz:
	@set -e; for pkg in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			$(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; \
	done

# Our dkms, Debian's and bare makes side by side in two chroots: a table of
# figures and targets, also in $(BIN)/bench.json. BENCH=short takes a third of
# the time.
bench:
	sh testscripts/setup.sh bench
	mkdir -p $(BIN)
	CGO_ENABLED=0 BENCH_JSON='$(abspath $(BIN))/bench.json' \
		$(GO) test -tags bench -count=1 -timeout 60m -run TestBench -v ./testscripts/bench

# Installs, a kernel upgrade and a purge by apt on whole kernels of three releases
# of Debian, with the dkms of each release and with ours, in chroots below
# /var/tmp/dkms-bench. BENCH_SUITES=sid is one of them.
BENCH_SUITES ?= bookworm trixie sid
bench-full:
	sh testscripts/setup.sh differential
	mkdir -p $(BIN)
	BENCH_SUITES='$(BENCH_SUITES)' BENCH_JSON='$(abspath $(BIN))/bench-full.json' \
		$(GO) test -tags bench -count=1 -timeout 180m -run TestFull -v ./testscripts/bench

demo: all
	sh testscripts/demo.sh

lint: man-check
	@out=$$(gofmt -s -l .); [ -z "$$out" ] || { echo "gofmt: $$out"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff

# Into $(BIN), for the architecture GOARCH; RPM_DISTRO=suse is for openSUSE.
deb rpm: all
	@GO='$(GO)' MAKE='$(MAKE)' BIN='$(BIN)' NFPM='$(NFPM)' VERSION='$(VERSION)' RELEASE='$(RELEASE)' \
		sh dist/package/build.sh $@

# The archives of a release, of what is committed: the sources, and what they
# link. Into $(BIN).
source:
	@GO='$(GO)' BIN='$(BIN)' VERSION='$(VERSION)' sh dist/package/archive.sh

# In chroots of Debian, which are kept below /var/tmp/dkms-packages.
# PACKAGES_SUITE=trixie or sid is another Debian than bookworm.
test-packages: deb rpm
	sh testscripts/packages.sh $(BIN)/dkms_$(VERSION)-$(RELEASE)_$$(dpkg --print-architecture).deb \
		$(BIN)/dkms-$(VERSION)-$(RELEASE).$$(uname -m).rpm

# rpm, dnf and zypper of Debian trixie, and an upgrade to the next release.
test-rpm:
	for release in $(RELEASE) $(RELEASE).1; do \
		$(MAKE) rpm RELEASE=$$release && $(MAKE) rpm RELEASE=$$release RPM_DISTRO=suse BIN=$(BIN)/suse || exit; \
	done
	sh testscripts/packages/rpm.sh $(foreach release,$(RELEASE) $(RELEASE).1,$(foreach bin,$(BIN) $(BIN)/suse,\
		$(bin)/dkms-$(VERSION)-$(release).$$(uname -m).rpm))

# makepkg and pacman of Debian trixie: what is committed as Arch's package, and
# kernels and modules that come, go and break.
test-arch: source
	GO='$(GO)' sh testscripts/packages/arch.sh $(BIN)/dkms-$(VERSION).tar.xz $(BIN)/dkms-$(VERSION)-vendor.tar.xz

# Portage, Gentoo's eclasses and installkernel, where GENTOO_PORTAGE,
# GENTOO_ECLASSES and GENTOO_INSTALLKERNEL say, and pkgcheck, if GENTOO_PKGCHECK
# does: see the script.
test-gentoo: source
	sh testscripts/setup.sh gentoo
	GO='$(GO)' sh testscripts/packages/gentoo.sh $(BIN)/dkms-$(VERSION).tar.xz $(BIN)/dkms-$(VERSION)-vendor.tar.xz
	$(GO) test -tags gentoo -count=1 -run TestMakeConfLikePortage ./pkg/sign

# Alpine's abuild, which is where ALPINE_ABUILD says, and apk of apk-tools 3, in
# /usr/local/bin: our package, and those of builds.
test-alpine: all source
	sh testscripts/setup.sh alpine
	GO='$(GO)' sh testscripts/packages/alpine.sh $(BIN)/dkms-$(VERSION).tar.xz $(BIN)/dkms-$(VERSION)-vendor.tar.xz
	$(GO) test -count=1 -run 'TestScripts/export_apk|TestApk' ./testscripts ./pkg/pack

# This machine with tools of busybox in the place of its own, as Alpine has them.
test-busybox: all
	sh testscripts/packages/busybox.sh $(BIN)/dkms $(BIN)/dkms-hook

# Images of the tools that make an initramfs, as Debian has them; of mkinitcpio and
# booster, where INITRAMFS_MKINITCPIO and INITRAMFS_BOOSTER say: see the script.
test-initramfs: all
	GO='$(GO)' sh testscripts/packages/initramfs.sh $(BIN)/dkms

# What apt, and dnf 5 of Debian sid, say before they install a kernel; for pacman
# see test-arch.
test-apt: all
	sh testscripts/packages/apt.sh $(BIN)/dkms $(BIN)/dkms-hook

test-dnf: all
	sh testscripts/packages/dnf.sh $(BIN)/dkms $(BIN)/dkms-hook

# Debian's packages with modules, with Debian's dkms and with ours.
# KERNELS_SUITES="bullseye trixie sid" are kernels from 5.10 to the newest.
KERNELS_SUITES ?= bullseye trixie sid
test-kernels: deb
	set -e; for suite in $(KERNELS_SUITES); do \
		PACKAGES_SUITE=$$suite sh testscripts/packages/kernels.sh \
			$(BIN)/dkms_$(VERSION)-$(RELEASE)_$$(dpkg --print-architecture).deb; \
	done

# What is linked has licences: this writes them down, a test compares.
licenses:
	GO='$(GO)' sh dist/package/licenses.sh >dist/doc/licenses.txt

man-check:
	mandoc -T lint -W warning dist/man/*

clean:
	rm -rf bin
