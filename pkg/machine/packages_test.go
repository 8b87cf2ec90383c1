package machine

import "testing"

func TestPackageCommands(t *testing.T) {
	for distribution, want := range map[string][2]string{
		"debian":             {"apt-get install p", "dpkg -S /f"},
		"ubuntu debian":      {"apt-get install p", "dpkg -S /f"},
		"centos rhel fedora": {"dnf install p", "rpm -qf /f"},
		"opensuse-leap suse": {"zypper install p", "rpm -qf /f"},
		"arch":               {"pacman -S p", "pacman -Qo /f"},
		"alpine":             {"apk add p", "apk info --who-owns /f"},
		"void":               {"xbps-install p", "xbps-query -o /f"},
		"gentoo":             {"install the package p", "qfile /f"},
		"":                   {"install the package p", ""},
	} {
		if got := [2]string{InstallCommand(distribution, "p"), OwnerCommand(distribution, "/f")}; got != want {
			t.Errorf("the commands of %q are %q; want %q", distribution, got, want)
		}
	}
}
