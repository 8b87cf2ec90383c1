// Command bare is what the start of dkms and its look at what is installed are
// measured against. It does nothing else: without a directory it says hello,
// with one it asks for the kernel links of every package in that dkms tree.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Println("hello")
		return
	}
	links, err := count(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(links)
}

// count is the number of kernel links that lead somewhere.
func count(tree string) (links int, err error) {
	packages, err := os.ReadDir(tree)
	if err != nil {
		return 0, err
	}
	for _, p := range packages {
		entries, _ := os.ReadDir(filepath.Join(tree, p.Name()))
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), "kernel-") {
				continue
			}
			if _, err := os.Stat(filepath.Join(tree, p.Name(), e.Name())); err == nil {
				links++
			}
		}
	}
	return links, nil
}
