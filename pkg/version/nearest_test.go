package version

import "testing"

func TestNearest(t *testing.T) {
	modules := []string{"nvidia", "nvidia-current", "zfs", "v4l2loopback", "r8168", "r8169", "wireguard", "rtl8812au"}
	kernels := []string{"6.1.0-56-amd64", "6.12.9+deb12-amd64", "6.12.95+deb12-amd64", "6.12.95+deb12-rt-amd64", "6.12.951-amd64"}
	versions := []string{"1.0", "1.1", "2.1.5-1", "2.1.13-1"}
	for _, test := range []struct {
		given      string
		candidates []string
		want       string
	}{
		{"nvidai", modules, "nvidia"},
		{"nvida", modules, "nvidia"},
		{"nvidia_current", modules, "nvidia-current"},
		{"ZFS", modules, "zfs"},
		{"zsf", modules, "zfs"},
		{"v4l2", modules, "v4l2loopback"},
		{"v4l2loopbak", modules, "v4l2loopback"},
		{"r8167", modules, "r8169"},
		{"wireguards", modules, "wireguard"},
		{"something", modules, ""},
		{"xy", modules, ""},
		{"", modules, ""},
		{"nvidia", nil, ""},
		{"6.12.95", kernels, "6.12.95+deb12-amd64"},
		{"6.12.95+deb12", kernels, "6.12.95+deb12-amd64"},
		{"6.12.9", kernels, "6.12.9+deb12-amd64"},
		{"6.1.0-56-amd46", kernels, "6.1.0-56-amd64"},
		{"6.1", kernels, "6.1.0-56-amd64"},
		{"7.0.1-custom", kernels, ""},
		{"2.1", versions, "2.1.13-1"},
		{"2.1.5", versions, "2.1.5-1"},
		{"1.2", versions, "1.1"},
	} {
		if got := Nearest(test.given, test.candidates); got != test.want {
			t.Errorf("Nearest(%q) = %q; want %q", test.given, got, test.want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "ab", 1}, {"abc", "xabc", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3}} {
		if got, back := distance(test.a, test.b), distance(test.b, test.a); got != test.want || back != test.want {
			t.Errorf("distance(%q, %q) = %d, %d; want %d", test.a, test.b, got, back, test.want)
		}
	}
}
