package style

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
	"testing"
)

// The largest sizes, in lines (STYLE.md, S-10). There are no exceptions.
const (
	maxFile     = 400
	maxTestFile = 600
	maxFunc     = 80
	maxTestFunc = 150
)

func size(f *file) (bad []string) {
	file, fn := maxFile, maxFunc
	if f.test {
		file, fn = maxTestFile, maxTestFunc
	}
	if f.lines > file {
		bad = append(bad, fmt.Sprintf("has %d lines, at most %d", f.lines, file))
	}
	for _, d := range f.ast.Decls {
		if d, ok := d.(*ast.FuncDecl); ok {
			if n := f.line(d.End()) - f.line(d.Pos()) + 1; n > fn {
				bad = append(bad, fmt.Sprintf("function %s has %d lines, at most %d", d.Name.Name, n, fn))
			}
		}
	}
	return bad
}

func TestSize(t *testing.T) {
	long := func(n int) string { return "package x\nfunc f() {\n" + strings.Repeat("\n", n-2) + "}\n" }
	for _, c := range []struct{ name, path, text, want string }{
		{"fits", "a/x.go", long(80), ""},
		{"function", "a/x.go", long(81), "function f has 81 lines"},
		{"test function fits", "a/x_test.go", long(150), ""},
		{"file", "a/x.go", "package x\n" + strings.Repeat("\n", 400), "has 401 lines"},
		{"test file", "a/x_test.go", "package x\n" + strings.Repeat("\n", 600), "has 601 lines"},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, size(parse(t, c.path, c.text)), c.want) })
	}
}

// systemCalls keeps raw system calls in the packages that own devices and
// namespaces. The names of signals and errors come from syscall too, everyone may
// have those; the command line locks a file and leaves its session, in os_linux.go;
// and where buffers overlap only their addresses tell.
func systemCalls(f *file) (bad []string) {
	raw := []string{"tap", "vxlan", "internal/uplink", "internal/sandbox", "internal/nettest"}
	if f.test || slices.Contains(raw, f.dir) || f.path == "internal/cli/os_linux.go" {
		return nil
	}
	for _, imp := range f.imports() {
		switch {
		case imp == "golang.org/x/sys/unix", imp == "golang.org/x/sys/windows":
			bad = append(bad, "imports "+imp)
		case imp == "syscall" && !signalsOnly(f):
			bad = append(bad, "imports syscall for more than the names of signals and errors")
		case imp == "unsafe" && f.path == "ipsec/gcm_amd64.go":
		case imp == "unsafe", imp == "C":
			bad = append(bad, "imports "+imp)
		}
	}
	return bad
}

// signalsOnly reports whether all a file takes from syscall are signals and error
// numbers: portable names without effect.
func signalsOnly(f *file) bool {
	only := true
	ast.Inspect(f.ast, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "syscall" {
				name := s.Sel.Name
				errno := len(name) > 2 && name[0] == 'E' && name == strings.ToUpper(name)
				only = only && (strings.HasPrefix(name, "SIG") || name == "Signal" || name == "Errno" || errno)
			}
		}
		return true
	})
	return only
}

func TestSystemCalls(t *testing.T) {
	use := func(imp, expr string) string { return fmt.Sprintf("package x\nimport %q\nvar _ = %s", imp, expr) }
	for _, c := range []struct{ name, dir, text, want string }{
		{"tap", "tap", use("golang.org/x/sys/unix", "unix.Open"), ""},
		{"vswitch", "vswitch", use("golang.org/x/sys/unix", "unix.Open"), "imports golang.org/x/sys/unix"},
		{"signal", "internal/cli", use("syscall", "syscall.SIGTERM"), ""},
		{"error number", "internal/cli", use("syscall", "syscall.EAGAIN"), ""},
		{"kill", "internal/cli", use("syscall", "syscall.Kill"), "imports syscall for more"},
		{"exec", "internal/cli", use("syscall", "syscall.Exec"), "imports syscall for more"},
		{"unsafe", "arp", use("unsafe", "unsafe.Pointer(nil)"), "imports unsafe"},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, systemCalls(parse(t, c.dir+"/x.go", c.text)), c.want) })
	}
}

// foreignImports keeps gopacket off the daemon's data path.
func foreignImports(f *file) (bad []string) {
	if f.test || f.dir == "internal/capture" || f.dir == "internal/lab" || f.dir == "internal/cli" {
		return nil
	}
	for _, imp := range f.imports() {
		if strings.HasPrefix(imp, "github.com/google/gopacket") {
			bad = append(bad, "imports "+imp+", which is for captures, the lab and the command line")
		}
	}
	return bad
}

func TestForeignImports(t *testing.T) {
	const text = `package x; import _ "github.com/google/gopacket/layers"`
	expect(t, foreignImports(parse(t, "internal/capture/x.go", text)), "")
	expect(t, foreignImports(parse(t, "vswitch/x_test.go", text)), "")
	expect(t, foreignImports(parse(t, "vswitch/x.go", text)), "which is for captures")
}

// names refuses packages, directories and files that say nothing.
func names(f *file) (bad []string) {
	empty := []string{"util", "utils", "common", "types", "helper", "helpers", "pkg", "misc", "base", "shared"}
	pkg := strings.TrimSuffix(f.ast.Name.Name, "_test")
	if slices.Contains(empty, pkg) {
		bad = append(bad, "package "+pkg+" says nothing")
	}
	for part := range strings.SplitSeq(f.dir, "/") {
		if slices.Contains(empty, part) && part != pkg {
			bad = append(bad, "directory "+part+" says nothing")
		}
	}
	stem := strings.TrimSuffix(strings.TrimSuffix(path.Base(f.path), ".go"), "_test")
	if slices.Contains(empty, stem) && stem != "types" {
		bad = append(bad, "file "+path.Base(f.path)+" says nothing")
	}
	if pkg != path.Base(f.dir) && pkg != "main" {
		bad = append(bad, "package "+pkg+" is not named after its directory")
	}
	return bad
}

func TestNames(t *testing.T) {
	for _, c := range []struct{ name, path, text, want string }{
		{"fine", "arp/table.go", "package arp", ""},
		{"external test", "arp/table_test.go", "package arp_test", ""},
		{"package", "a/util/x.go", "package util", "package util says nothing"},
		{"directory", "pkg/arp/x.go", "package arp", "directory pkg says nothing"},
		{"file", "arp/helpers.go", "package arp", "file helpers.go says nothing"},
		{"other name", "arp/x.go", "package nd", "not named after its directory"},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, names(parse(t, c.path, c.text)), c.want) })
	}
}

// noInit refuses wiring that runs by itself.
func noInit(f *file) (bad []string) {
	for _, d := range f.ast.Decls {
		if d, ok := d.(*ast.FuncDecl); ok && d.Recv == nil && d.Name.Name == "init" {
			bad = append(bad, "has an init function")
		}
	}
	return bad
}

func TestNoInit(t *testing.T) {
	expect(t, noInit(parse(t, "a/x.go", "package a\nfunc init() {}")), "has an init function")
	expect(t, noInit(parse(t, "a/x.go", "package a\ntype T int\nfunc (T) init() {}")), "")
}

// words refuses marks of unfinished work and the path of one machine.
func words(f *file) (bad []string) {
	if f.dir == "internal/style" {
		return nil
	}
	for _, w := range []string{"TODO", "FIXME", "/work/"} {
		for i, line := range strings.Split(f.text, "\n") {
			if strings.Contains(line, w) {
				bad = append(bad, fmt.Sprintf("line %d says %s", i+1, w))
			}
		}
	}
	return bad
}

func TestWords(t *testing.T) {
	expect(t, words(parse(t, "a/x.go", "package a\n// TODO: later")), "line 2 says TODO")
	expect(t, words(parse(t, "a/x.go", "package a\n// done")), "")
}
