package style

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// module is the module's name, the first word of its import paths.
const module = "weft"

// A file is one Go file of the tree.
type file struct {
	path  string // from the top of the tree, with slashes
	dir   string
	test  bool
	text  string
	lines int
	fset  *token.FileSet
	ast   *ast.File
}

func (f *file) imports() (all []string) {
	for _, i := range f.ast.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		all = append(all, p)
	}
	return all
}

func (f *file) line(p token.Pos) int { return f.fset.Position(p).Line }

// parse reads a file from text, as the rules' own tests do.
func parse(t testing.TB, name, text string) *file {
	t.Helper()
	f := &file{path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), text: text,
		lines: strings.Count(text, "\n"), fset: token.NewFileSet()}
	var err error
	if f.ast, err = parser.ParseFile(f.fset, name, text, parser.ParseComments); err != nil {
		t.Fatal(err)
	}
	return f
}

// tree reads every Go file of the module, whatever system it is for.
func tree(t testing.TB) (all []*file) {
	t.Helper()
	top := "../.."
	if mod, err := os.ReadFile(filepath.Join(top, "go.mod")); err != nil || !strings.HasPrefix(string(mod), "module "+module+"\n") {
		t.Fatalf("no go.mod of module %s in %s: %v", module, top, err)
	}
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || d.Name() == "bin" || len(d.Name()) > 2 && d.Name()[0] == '.'):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(p, ".go"):
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, p)
		all = append(all, parse(t, filepath.ToSlash(rel), string(text)))
		return err
	})
	if err != nil || len(all) < 50 {
		t.Fatalf("reading the tree: %d files, %v", len(all), err)
	}
	return all
}

// expect fails unless the complaints hold want, or are none when it is empty.
func expect(t testing.TB, bad []string, want string) {
	t.Helper()
	got := strings.Join(bad, "\n")
	if want == "" && got != "" || want != "" && !strings.Contains(got, want) {
		t.Fatalf("complaints %q, want %q", got, want)
	}
}

// TestTree holds every file and package to every rule.
func TestTree(t *testing.T) {
	files := tree(t)
	for _, f := range files {
		for name, rule := range rules {
			for _, b := range rule(f) {
				t.Errorf("%s: %s (%s)", f.path, b, name)
			}
		}
	}
	for _, b := range documented(files) {
		t.Error(b)
	}
	for _, b := range unwritten(files) {
		t.Error(b)
	}
}

// rules look at one file each.
var rules = map[string]func(*file) []string{
	"direction":    direction,
	"size":         size,
	"system calls": systemCalls,
	"imports":      foreignImports,
	"names":        names,
	"init":         noInit,
	"words":        words,
}
