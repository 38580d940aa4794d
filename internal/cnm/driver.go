package cnm

// Drivers of this version. The API and Docker's listings call DriverNone
// "null".
const (
	DriverBridge  = "bridge"
	DriverOverlay = "overlay"
	DriverNone    = "none"
	DriverHost    = "host"
)

// NormalDriver returns weft's name of a driver a user named: bridge when none
// was, none for Docker's "null".
func NormalDriver(name string) string {
	switch name {
	case "", netDefault:
		return DriverBridge
	case "null":
		return DriverNone
	}
	return name
}

// APIDriver returns the name of a driver as the Docker API shows it.
func APIDriver(name string) string {
	if name == DriverNone {
		return "null"
	}
	return name
}

// validateDriver checks that networks of a driver can be created by users.
func validateDriver(name string) error {
	switch name {
	case DriverBridge, DriverOverlay:
		return nil
	case DriverNone, DriverHost:
		return Errorf(Forbidden, "only one instance of %q network is allowed", APIDriver(name))
	case "macvlan", "ipvlan":
		return Errorf(Unsupported, "network driver %q is not supported yet (available: bridge, overlay)", name)
	}
	return Errorf(Invalid, "could not find plugin %q: network driver plugins are not supported yet (available: bridge, overlay)", name)
}

// IPAM drivers of this version.
const (
	IPAMDefault = "default"
	IPAMNull    = "null"
)

// validateIPAMDriver checks the name of an address management driver, already
// normalised.
func validateIPAMDriver(name string) error {
	switch name {
	case IPAMDefault, IPAMNull:
		return nil
	case "dhcp":
		return Errorf(Unsupported, "ipam driver %q is not supported yet (available: default, null)", name)
	}
	return Errorf(Unsupported, "ipam driver %q: remote ipam drivers are not supported yet (available: default, null)", name)
}

// Predefined returns the three networks every node has, without IDs and, for
// bridge, without a subnet: that is allocated like any other.
func Predefined() []Network {
	local := func(name, driver string) Network {
		return Network{Name: name, Scope: ScopeLocal, Driver: driver, EnableIPv4: true, IPAM: IPAM{Driver: IPAMDefault},
			Options: map[string]string{}, Labels: map[string]string{}}
	}
	bridge := local(NetBridge, DriverBridge)
	bridge.Options = map[string]string{
		optDefaultBridge: "true",
		optICC:           "true",
		optMasquerade:    "true",
		optBindIPv4:      "0.0.0.0",
		optName:          "weft0",
		optMTU:           "1500",
	}
	return []Network{bridge, local(NetHost, DriverHost), local(NetNone, DriverNone)}
}
