package api

import (
	"crypto/x509"
	"encoding/pem"

	"github.com/moby/moby/api/types/swarm"

	"weft/internal/cnm"
)

// initModel reads a request to make a swarm, but for its addresses, which are the
// daemon's. Docker's settings of tasks, dispatcher and Raft have no counterpart:
// they are taken and have no effect.
func initModel(r swarm.InitRequest) (cnm.SwarmInit, error) {
	spec, err := specModel(r.Spec, cnm.SwarmSpec{})
	if err != nil {
		return cnm.SwarmInit{}, err
	}
	spec.AutoLock = spec.AutoLock || r.AutoLockManagers
	available, err := availability(r.Availability)
	if err != nil {
		return cnm.SwarmInit{}, err
	}
	if r.SubnetSize > 128 {
		return cnm.SwarmInit{}, cnm.Errorf(cnm.Invalid, "subnet size %d: expected a number of bits", r.SubnetSize)
	}
	return cnm.SwarmInit{
		Spec: spec, Pools: r.DefaultAddrPool, SubnetSize: int(r.SubnetSize), Availability: available, ForceNewCluster: r.ForceNewCluster,
	}, nil
}

// specModel reads a swarm's settings. What Docker has no words for, and an expiry
// that is not given, stay as they are in old.
func specModel(s swarm.Spec, old cnm.SwarmSpec) (cnm.SwarmSpec, error) {
	spec := cnm.SwarmSpec{
		Labels: s.Labels, CertExpiry: old.CertExpiry, KeyRotation: old.KeyRotation, AutoLock: s.EncryptionConfig.AutoLockManagers,
	}
	if s.CAConfig.NodeCertExpiry != 0 {
		spec.CertExpiry = s.CAConfig.NodeCertExpiry
	}
	switch {
	case s.Name != "" && s.Name != clusterName:
		return spec, cnm.Errorf(cnm.Invalid, "a swarm's name cannot be changed: expected %q, got %q", clusterName, clip(s.Name))
	case len(s.CAConfig.ExternalCAs) > 0:
		return spec, cnm.Errorf(cnm.Unsupported, "external certificate authorities are not supported: the managers sign certificates")
	case s.CAConfig.SigningCACert != "" || s.CAConfig.SigningCAKey != "":
		return spec, cnm.Errorf(cnm.Unsupported, "a root certificate of your own is not supported: the managers make one")
	}
	return spec, nil
}

// clusterName is the name that Docker gives every swarm.
const clusterName = "default"

// availability reads what may be given to a node; empty stays empty.
func availability(a swarm.NodeAvailability) (cnm.Availability, error) {
	switch a {
	case "", swarm.NodeAvailabilityActive, swarm.NodeAvailabilityPause, swarm.NodeAvailabilityDrain:
		return cnm.Availability(a), nil
	}
	return "", cnm.Errorf(cnm.Invalid, "invalid Availability: %q, expected active, pause or drain", clip(string(a)))
}

// clusterInfo is a swarm on the wire, without its tokens.
func clusterInfo(c cnm.Swarm) swarm.ClusterInfo {
	return swarm.ClusterInfo{
		ID:   c.ID,
		Meta: swarm.Meta{Version: swarm.Version{Index: c.Version}, CreatedAt: c.Created, UpdatedAt: c.Updated},
		Spec: swarm.Spec{
			Annotations:      swarm.Annotations{Name: clusterName, Labels: notNil(c.Spec.Labels)},
			CAConfig:         swarm.CAConfig{NodeCertExpiry: c.Spec.CertExpiry},
			EncryptionConfig: swarm.EncryptionConfig{AutoLockManagers: c.Spec.AutoLock},
		},
		TLSInfo:                clusterTLS(c),
		RootRotationInProgress: c.RootRotation,
		DefaultAddrPool:        c.Pools,
		SubnetSize:             uint32(c.SubnetSize),
		DataPathPort:           uint32(c.DataPathPort),
	}
}

// clusterTLS is what every node's certificate should be of. While a root is being
// replaced it is the old one that is shown, as in Docker, and the new one that
// issues.
func clusterTLS(c cnm.Swarm) swarm.TLSInfo {
	t := tlsInfo(c.RootPEM)
	if c.RootRotation {
		t.TrustRoot = string(c.OldRootPEM)
	}
	return t
}

// nodeTLS is what a node's certificate is of.
func nodeTLS(c cnm.Swarm, n cnm.SwarmNode) swarm.TLSInfo {
	if c.RootRotation && n.OldRoot {
		return tlsInfo(c.OldRootPEM)
	}
	return clusterTLS(c)
}

// tlsInfo describes the first certificate of a root in PEM; the issuer of the
// nodes' certificates is the root itself.
func tlsInfo(root []byte) swarm.TLSInfo {
	t := swarm.TLSInfo{TrustRoot: string(root)}
	block, _ := pem.Decode(root)
	if block == nil {
		return t
	}
	if c, err := x509.ParseCertificate(block.Bytes); err == nil {
		t.CertIssuerSubject, t.CertIssuerPublicKey = c.RawSubject, c.RawSubjectPublicKeyInfo
	}
	return t
}
