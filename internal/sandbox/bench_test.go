//go:build linux

package sandbox

import (
	"context"
	"path/filepath"
	"testing"
)

// What the sandbox adds to weft run --rm -- true: launch, an interface, attach,
// start, wait.
func BenchmarkRunTrue(b *testing.B) {
	for _, bb := range []struct {
		name   string
		single bool
	}{{"single id", true}, {"all ids", false}} {
		b.Run(bb.name, func(b *testing.B) {
			ctx := context.Background()
			dir := filepath.Join(b.TempDir(), "sb")
			for b.Loop() {
				a, err := Launch(ctx, Config{ID: "bench", Dir: dir, SingleID: bb.single})
				if err != nil {
					b.Fatal(err)
				}
				d, err := a.AddInterface(ctx, fullInterface())
				if err != nil {
					b.Fatal(err)
				}
				at, err := a.Attach(ctx, AttachOptions{})
				if err != nil {
					b.Fatal(err)
				}
				if err := a.Start(ctx, shell("true")); err != nil {
					b.Fatal(err)
				}
				if _, err := a.Wait(ctx); err != nil {
					b.Fatal(err)
				}
				at.Close()
				d.Close()
				b.StopTimer()
				<-a.died
				a.Close()
				Remove(dir)
				b.StartTimer()
			}
		})
	}
}
