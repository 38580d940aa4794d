package style

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

// byPackage groups the files that are not tests by directory.
func byPackage(files []*file) map[string][]*file {
	m := map[string][]*file{}
	for _, f := range files {
		if !f.test {
			m[f.dir] = append(m[f.dir], f)
		}
	}
	return m
}

// documented demands one doc comment per package: in doc.go, or for a command in
// its main.go.
func documented(files []*file) (bad []string) {
	pkgs := byPackage(files)
	for _, dir := range slices.Sorted(maps.Keys(pkgs)) {
		n := 0
		for _, f := range pkgs[dir] {
			if f.ast.Doc == nil {
				continue
			}
			n++
			first, name, base := "Package ", f.ast.Name.Name, path.Base(f.path)
			if name == "main" {
				first, name = "Command ", path.Base(dir)
			}
			if !strings.HasPrefix(f.ast.Doc.Text(), first+name+" ") {
				bad = append(bad, fmt.Sprintf("%s: the doc comment does not begin with %q", f.path, first+name))
			}
			if base != "doc.go" && base != "main.go" {
				bad = append(bad, f.path+": the doc comment belongs in doc.go")
			}
		}
		if n != 1 {
			bad = append(bad, fmt.Sprintf("package %s has %d doc comments, want 1", dir, n))
		}
	}
	return bad
}

func TestDocumented(t *testing.T) {
	for _, c := range []struct{ name, path, text, want string }{
		{"fine", "a/doc.go", "// Package a is.\npackage a", ""},
		{"command", "a/b/main.go", "// Command b is.\npackage main", ""},
		{"none", "a/x.go", "package a", "has 0 doc comments"},
		{"other beginning", "a/doc.go", "// This is a.\npackage a", "does not begin with"},
		{"elsewhere", "a/x.go", "// Package a is.\npackage a", "belongs in doc.go"},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, documented([]*file{parse(t, c.path, c.text)}), c.want) })
	}
}

// unwritten refuses package variables that are state: those without a value, and
// those that code writes to. Errors and tables that stay as they are, are fine.
func unwritten(files []*file) (bad []string) {
	pkgs := byPackage(files)
	for _, dir := range slices.Sorted(maps.Keys(pkgs)) {
		vars := map[string]bool{}
		for _, f := range pkgs[dir] {
			for name, hasValue := range packageVars(f) {
				vars[name] = true
				if !hasValue {
					bad = append(bad, fmt.Sprintf("%s: package variable %s has no value: it is state", f.path, name))
				}
			}
		}
		for _, f := range pkgs[dir] {
			for _, name := range writes(f, vars) {
				bad = append(bad, fmt.Sprintf("%s: writes package variable %s", f.path, name))
			}
		}
	}
	return bad
}

// packageVars returns the names of a file's package variables, and whether each
// is given a value. An embedded file is a value too.
func packageVars(f *file) map[string]bool {
	m := map[string]bool{}
	for _, d := range f.ast.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		embed := g.Doc != nil && strings.Contains(f.text[f.fset.Position(g.Doc.Pos()).Offset:f.fset.Position(g.Doc.End()).Offset], "//go:embed ")
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			for _, n := range v.Names {
				if n.Name != "_" {
					m[n.Name] = len(v.Values) > 0 || embed
				}
			}
		}
	}
	return m
}

// writes returns which of the variables a file's functions write to.
func writes(f *file, vars map[string]bool) (names []string) {
	check := func(e ast.Expr) {
		if id := root(e); id != nil && vars[id.Name] && (id.Obj == nil || id.Obj == f.ast.Scope.Lookup(id.Name)) {
			names = append(names, id.Name)
		}
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, e := range n.Lhs {
				if n.Tok != token.DEFINE {
					check(e)
				}
			}
		case *ast.IncDecStmt:
			check(n.X)
		}
		return true
	})
	return names
}

// root returns the variable at the beginning of x.f[i].
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

func TestUnwritten(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"error", "var ErrX = f()", ""},
		{"table", "var t = []int{1}\nfunc f() int { return t[0] }", ""},
		{"interface check", "var _ I = T{}", ""},
		{"no value", "var mu sync.Mutex", "package variable mu has no value"},
		{"assigned", "var x = 1\nfunc f() { x = 2 }", "writes package variable x"},
		{"element", "var m = map[int]int{}\nfunc f() { m[1]++ }", "writes package variable m"},
		{"local of the same name", "var x = 1\nfunc f() { x := 2; x = 3 }", ""},
		{"parameter of the same name", "var x = 1\nfunc f(x int) { x = 3 }", ""},
		{"embedded", "//go:embed y\nvar y string", ""},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, unwritten([]*file{parse(t, "a/x.go", "package a\n"+c.text)}), c.want) })
	}
}
