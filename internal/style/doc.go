// Package style holds the house to its rules: a test that fails on an import
// against the lattice, on a package without a doc comment, on files and functions
// that outgrow STYLE.md, on system calls, init functions, written package
// variables and imports where they do not belong. It has no code of its own.
package style
