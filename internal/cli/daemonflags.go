package cli

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"weft/internal/node"
	"weft/tap"
)

// maxConfig bounds the config file.
const maxConfig = 1 << 20

// daemonFlags are the daemon's settings, from flags or from the config file.
type daemonFlags struct {
	Host          string   `yaml:"host"`
	DataDir       string   `yaml:"data-dir"`
	LogLevel      string   `yaml:"log-level"`
	LogFormat     string   `yaml:"log-format"`
	Workers       int      `yaml:"workers"`
	Offload       string   `yaml:"tap-offload"`
	Pools         []string `yaml:"default-address-pool"`
	dataPathFlags `yaml:",inline"`
	clusterFlags  `yaml:",inline"`
	uplinkFlags   `yaml:",inline"`

	config  string
	pools   []node.AddressPool
	offload tap.Rung
}

func (f *daemonFlags) bind(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.config, "config", "", "YAML file with these flags, by their names")
	fl.StringVar(&f.DataDir, "data-dir", "", "Networks, journal and logs (default $XDG_DATA_HOME/weft, as root /var/lib/weft)")
	fl.StringVar(&f.LogLevel, "log-level", "info", "debug, info, warn or error")
	fl.StringVar(&f.LogFormat, "log-format", "text", "text or json")
	fl.IntVar(&f.Workers, "workers", 0, "Goroutines that move frames (default one per CPU, at least two)")
	fl.StringVar(&f.Offload, "tap-offload", "", "Best offload for TAPs: uso, tso, plain or water (default the best the kernel grants)")
	fl.StringArrayVar(&f.Pools, "default-address-pool", nil, "Where networks without --subnet come from, as base=10.10.0.0/16,size=24; repeatable (default Docker's)")
	f.dataPathFlags.bind(c)
	f.clusterFlags.bind(c)
	f.uplinkFlags.bind(c)
}

// load puts the config file under the flags and checks both.
func (f *daemonFlags) load(c *cobra.Command) error {
	if f.config != "" {
		file := *f // what the file leaves out stays as it is
		file.DataDir = ""
		if err := readConfig(f.config, &file); err != nil {
			return err
		}
		f.merge(c, &file)
	}
	if f.Workers < 0 || f.Workers > 1024 {
		return usagef(c, "workers %d: expected 1 to 1024, or 0 for one per CPU", f.Workers)
	}
	if f.Offload != "" {
		var err error
		if f.offload, err = tap.ParseRung(f.Offload); err != nil {
			return usagef(c, "tap-%w", err)
		}
	}
	for _, s := range f.Pools {
		p, err := parsePool(s)
		if err != nil {
			return &usageError{cmd: c, err: err}
		}
		f.pools = append(f.pools, p)
	}
	if err := f.dataPathFlags.check(interfaceAddrs); err != nil {
		return &usageError{cmd: c, err: err}
	}
	if err := f.clusterFlags.check(); err != nil {
		return &usageError{cmd: c, err: err}
	}
	if err := f.uplinkFlags.check(); err != nil {
		return &usageError{cmd: c, err: err}
	}
	return nil
}

// merge takes the file's values where the command line has none.
func (f *daemonFlags) merge(c *cobra.Command, file *daemonFlags) {
	given := c.Flags().Changed
	f.Host = file.Host
	if !given("data-dir") && file.DataDir != "" {
		f.DataDir = file.DataDir
	}
	if !given("log-level") {
		f.LogLevel = file.LogLevel
	}
	if !given("log-format") {
		f.LogFormat = file.LogFormat
	}
	if !given("workers") {
		f.Workers = file.Workers
	}
	if !given("tap-offload") {
		f.Offload = file.Offload
	}
	if !given("default-address-pool") {
		f.Pools = file.Pools
	}
	f.dataPathFlags.merge(given, &file.dataPathFlags)
	f.clusterFlags.merge(given, &file.clusterFlags)
	f.uplinkFlags.merge(given, &file.uplinkFlags)
}

// readConfig reads a YAML file strictly: unknown and doubled keys are errors.
func readConfig(path string, into *daemonFlags) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxConfig+1))
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if len(b) > maxConfig {
		return fmt.Errorf("config %s: longer than %d bytes", path, maxConfig)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return &usageError{err: fmt.Errorf("config %s: %w", path, configError(b, err))}
	}
	if into.DataDir != "" && !filepath.IsAbs(into.DataDir) {
		return &usageError{err: fmt.Errorf("config %s: data-dir %q: expected an absolute path", path, into.DataDir)}
	}
	return nil
}

// configError says in the words of the file what the YAML decoder says in those
// of this program.
func configError(b []byte, err error) error {
	var doc yaml.Node
	if yaml.Unmarshal(b, &doc) != nil || len(doc.Content) != 1 {
		return plainYAML(err) // no YAML at all
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: expected KEY: VALUE, known keys: %s", root.Line, strings.Join(configKeys(), ", "))
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(root.Content); i += 2 {
		k := root.Content[i]
		if !slices.Contains(configKeys(), k.Value) {
			return fmt.Errorf("line %d: unknown key %q; known: %s", k.Line, k.Value, strings.Join(configKeys(), ", "))
		}
		if first, ok := seen[k.Value]; ok {
			return fmt.Errorf("line %d: key %q stands twice, first on line %d", k.Line, k.Value, first)
		}
		seen[k.Value] = k.Line
		one := yaml.Node{Kind: yaml.MappingNode, Content: root.Content[i : i+2]}
		if one.Decode(new(daemonFlags)) != nil {
			return fmt.Errorf("line %d: %s: expected %s", k.Line, k.Value, configKinds[k.Value])
		}
	}
	return plainYAML(err)
}

func plainYAML(err error) error {
	return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
}

// configKinds says what each key of the config file takes.
var configKinds = map[string]string{
	"host": "a socket such as unix:///run/weft/weft.sock", "data-dir": "an absolute path", "log-level": "debug, info, warn or error",
	"log-format": "text or json", "workers": "a number", "tap-offload": "uso, tso, plain or water", "default-address-pool": `a list such as ["base=10.10.0.0/16,size=24"]`,
	"data-path-addr": `a list such as [192.0.2.1, "2001:db8::1"] or [eth0]`, "data-path-port": "a number", "esp-port": "a number", "esp-encapsulation": "udp or ip", "esp-keepalive": "a time such as 20s", "advertise-addr": "an address or an interface",
	"node-name": "text", "control-port": "a number", "gossip-port": "a number",
	"gossip-profile": "text", "gossip-interval": "a time such as 200ms", "gossip-probe-interval": "a time such as 1s",
	"gossip-probe-timeout": "a time such as 500ms", "gossip-sync-interval": "a time such as 10s",
	"aes": "wide or standard", "no-udp-gso": "true or false", "no-udp-gro": "true or false",
	"uplink": "host, none or packet:INTERFACE", "host-loopback": "true or false",
	"uplink-addr": "a list of addresses", "uplink-gateway": "a list of addresses", "uplink-mac": "own or interface",
}

func configKeys() []string { return slices.Sorted(maps.Keys(configKinds)) }

// parsePool reads base=PREFIX,size=BITS.
func parsePool(s string) (node.AddressPool, error) {
	var p node.AddressPool
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	bad := fmt.Errorf("default-address-pool %q: expected base=10.10.0.0/16,size=24", s)
	if err != nil {
		return p, bad
	}
	for _, field := range fields {
		k, v, _ := strings.Cut(field, "=")
		switch k {
		case "base":
			if p.Base, err = netip.ParsePrefix(v); err != nil {
				return p, bad
			}
		case "size":
			if p.Size, err = strconv.Atoi(v); err != nil {
				return p, bad
			}
		default:
			return p, bad
		}
	}
	if !p.Base.IsValid() || p.Base.Masked() != p.Base || p.Size < p.Base.Bits() || p.Size > p.Base.Addr().BitLen() {
		return p, fmt.Errorf("%w, where base has no host bits and size is at least its length", bad)
	}
	return p, nil
}
