package cli

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// runFlags are the flags of `weft run`.
type runFlags struct {
	detach, remove, interactive, tty, sigProxy bool
	detachKeys                                 string
	name, hostname, domainname                 string
	networks                                   netFlag
	netAliases                                 []string
	ip, ip6                                    addrFlag
	linkLocal                                  addrList
	mac                                        macFlag
	dns                                        addrList
	dnsSearch, dnsOptions, addHosts            []string
	rootfs, workdir                            string
	sysctls, labels                            mapFlag
	env, envFiles                              []string
	stopSignal                                 string
	stopTimeout                                int
	publish, expose, links                     []string
	publishAll                                 bool
	service                                    string
}

// bind registers the flags on a command.
func (f *runFlags) bind(c *cobra.Command) {
	f.ip.family, f.ip6.family = 4, 6
	f.linkLocal.parse = parseLinkLocal
	f.dns.parse = anyIP
	f.sysctls.need = true
	fl := c.Flags()
	fl.SetInterspersed(false)
	fl.BoolVarP(&f.detach, "detach", "d", false, "Run in the background and print the sandbox's ID")
	fl.BoolVar(&f.remove, "rm", false, "Remove the sandbox when it exits")
	fl.BoolVarP(&f.interactive, "interactive", "i", false, "Keep stdin open")
	fl.BoolVarP(&f.tty, "tty", "t", false, "Give the command a terminal")
	fl.BoolVar(&f.sigProxy, "sig-proxy", true, "Pass signals on to the command (without -t)")
	fl.StringVar(&f.detachKeys, "detach-keys", "", "Keys that detach from the sandbox (default "+defaultDetachKeys+")")
	fl.StringVar(&f.name, "name", "", "Name of the sandbox")
	fl.Bool("help", false, "Print usage")
	fl.StringVarP(&f.hostname, "hostname", "h", "", "Host name inside (default the short ID)") // -h as in docker run
	fl.StringVar(&f.domainname, "domainname", "", "NIS domain name inside")
	fl.Var(&f.networks, "network", "Network to join, with what is wanted there: NET[,ip=…,ip6=…,alias=…,mac=…,link-local-ip=…,gw-priority=…,driver-opt=K=V]; repeatable")
	fl.Var(&f.networks, "net", "Network to join")
	hide(c, "net")
	fl.StringArrayVar(&f.netAliases, "network-alias", nil, "Further name on the first network")
	fl.Var(&f.ip, "ip", "IPv4 address on the first network")
	fl.Var(&f.ip6, "ip6", "IPv6 address on the first network")
	fl.Var(&f.linkLocal, "link-local-ip", "Link-local address on the first network")
	fl.Var(&f.mac, "mac-address", "MAC address on the first network")
	fl.StringArrayVar(&f.links, "link", nil, "Sandbox that shall have another name on the first network, as SANDBOX:ALIAS (not supported yet)")
	fl.Var(&f.dns, "dns", "DNS server")
	fl.StringArrayVar(&f.dnsSearch, "dns-search", nil, "DNS search domain")
	fl.StringArrayVar(&f.dnsOptions, "dns-option", nil, "DNS option")
	fl.StringArrayVar(&f.dnsOptions, "dns-opt", nil, "DNS option")
	hide(c, "dns-opt")
	fl.StringArrayVar(&f.addHosts, "add-host", nil, "Line of /etc/hosts, as NAME:IP")
	fl.StringVar(&f.rootfs, "rootfs", "", "Directory that becomes / (default the caller's own file tree)")
	fl.StringVarP(&f.workdir, "workdir", "w", "", "Working directory (default the current one, with --rootfs /)")
	fl.Var(&f.sysctls, "sysctl", "Kernel parameter inside, as KEY=VALUE")
	fl.VarP(&f.labels, "label", "l", "Label, as KEY[=VALUE]")
	fl.StringArrayVarP(&f.env, "env", "e", nil, "Environment variable, as KEY=VALUE, or KEY for the caller's value")
	fl.StringArrayVar(&f.envFiles, "env-file", nil, "File of environment variables")
	fl.StringVar(&f.stopSignal, "stop-signal", "", "Signal that stops the command (default SIGTERM)")
	fl.IntVar(&f.stopTimeout, "stop-timeout", 0, "Seconds to wait after the stop signal before killing (default 10)")
	fl.StringArrayVarP(&f.publish, "publish", "p", nil, "Port that the host forwards, as [[IP:][HOST_PORT]:]PORT[/udp], ranges too: 8080:80, 127.0.0.1::53/udp, 8000-8010:80; repeatable")
	fl.BoolVarP(&f.publishAll, "publish-all", "P", false, "Publish every exposed port that -p does not, on a port that weft chooses")
	fl.StringArrayVar(&f.expose, "expose", nil, "Port or range of ports that the command serves, as 80, 53/udp or 8000-8010; noted, and published by -P")
	fl.StringVar(&f.service, "service", "", "Service to join (not there yet)")
}

// hide keeps a flag out of the help text.
func hide(c *cobra.Command, name string) { c.Flags().Lookup(name).Hidden = true }

func anyIP(s string) (netip.Addr, error) { return parseIP(s, 0) }

// check refuses what contradicts itself or is not there, and gives the first
// network the flags that are about it.
func (f *runFlags) check(c *cobra.Command) error {
	switch {
	case f.service != "":
		return usagef(c, "--service %s: services are not there yet; sandboxes on one network reach each other by address", f.service)
	case f.detach && c.Flags().Changed("detach-keys"):
		return usagef(c, "-d and --detach-keys exclude each other")
	case c.Flags().Changed("stop-timeout") && f.stopTimeout < -1:
		return usagef(c, "--stop-timeout %d: expected seconds, or -1 for no limit", f.stopTimeout)
	}
	for _, h := range f.addHosts {
		if err := checkHost(h); err != nil {
			return usagef(c, "%w", err)
		}
	}
	if err := checkLinks(f.links); err != nil {
		return usagef(c, "%w", err)
	}
	if _, _, err := f.ports(); err != nil {
		return usagef(c, "%w", err)
	}
	if _, err := parseDetachKeys(f.detachKeys); err != nil {
		return usagef(c, "%w", err)
	}
	return f.mergeFirst(c)
}

// mergeFirst moves --ip, --ip6, --mac-address, --link-local-ip, --link and
// --network-alias to the first network, as Docker does.
func (f *runFlags) mergeFirst(c *cobra.Command) error {
	if len(f.networks.list) == 0 {
		if !f.ip.addr.IsValid() && !f.ip6.addr.IsValid() && len(f.netAliases) == 0 && len(f.mac.mac) == 0 && len(f.linkLocal.list) == 0 && len(f.links) == 0 {
			return nil
		}
		f.networks.list = []netAttachment{{name: "bridge"}}
	}
	n := &f.networks.list[0]
	clash := func(flag, key string) error {
		return usagef(c, "--%s and %s in --network %s exclude each other", flag, key, n.name)
	}
	if f.ip.addr.IsValid() {
		if n.ip.IsValid() {
			return clash("ip", "ip=")
		}
		n.ip = f.ip.addr
	}
	if f.ip6.addr.IsValid() {
		if n.ip6.IsValid() {
			return clash("ip6", "ip6=")
		}
		n.ip6 = f.ip6.addr
	}
	if len(f.mac.mac) > 0 {
		if len(n.mac) > 0 {
			return clash("mac-address", "mac=")
		}
		n.mac = f.mac.mac
	}
	n.aliases = append(n.aliases, f.netAliases...)
	n.linkLocal = append(n.linkLocal, f.linkLocal.list...)
	n.links = append(n.links, f.links...)
	return f.checkModes(c)
}

// checkModes keeps none and host alone.
func (f *runFlags) checkModes(c *cobra.Command) error {
	for _, n := range f.networks.list {
		if strings.HasPrefix(n.name, "container:") {
			return usagef(c, "--network %s: sharing another sandbox's namespace is not there; `weft exec` runs a command in it", n.name)
		}
		if n.name != "none" && n.name != "host" {
			continue
		}
		if len(f.networks.list) > 1 {
			return usagef(c, "--network %s excludes every other network", n.name)
		}
		if n.ip.IsValid() || n.ip6.IsValid() || len(n.mac) > 0 || len(n.aliases) > 0 || len(n.linkLocal) > 0 || len(n.links) > 0 {
			return usagef(c, "--network %s has no interface that could have an address, a MAC, an alias or a link", n.name)
		}
	}
	return nil
}

func checkHost(h string) error {
	name, addr, ok := strings.Cut(h, ":")
	if !ok { // Docker also takes name=ip
		name, addr, ok = strings.Cut(h, "=")
	}
	if !ok || name == "" {
		return fmt.Errorf("--add-host %q: expected NAME:IP", h)
	}
	if addr == "host-gateway" {
		return nil
	}
	if _, err := parseIP(strings.Trim(addr, "[]"), 0); err != nil {
		return fmt.Errorf("--add-host %q: %w", h, err)
	}
	return nil
}

// directories makes --rootfs absolute and chooses the working directory.
func (f *runFlags) directories() error {
	if f.rootfs == "" {
		if f.workdir == "" {
			wd, err := os.Getwd()
			if err != nil {
				wd = "/"
			}
			f.workdir = wd
		}
		return nil
	}
	abs, err := filepath.Abs(f.rootfs)
	if err != nil {
		return fmt.Errorf("--rootfs %s: %w", f.rootfs, err)
	}
	st, err := os.Stat(abs)
	if err != nil {
		return fmt.Errorf("--rootfs: %w", err)
	}
	if !st.IsDir() {
		return fmt.Errorf("--rootfs %s: not a directory", abs)
	}
	f.rootfs = abs
	if f.workdir == "" {
		f.workdir = "/"
	}
	return nil
}
