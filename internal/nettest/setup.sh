#!/usr/bin/env bash
# Makes this machine ready for the tests: installs the Debian packages that are
# missing, makes the ordinary user the tests run as, and opens /dev/net/tun as
# ordinary distributions do. Does nothing where nothing is missing. Without root or
# apt it says what is missing and leaves the rest to the tests, which skip with the
# reason.
#
#   setup.sh [test|bench]
set -euo pipefail

what=${1:-test}
user=wefttest

# Each line: how to see whether it is there, and the package that brings it.
needs() {
	cat <<-'END'
		command -v ip                    iproute2
		command -v nsenter               util-linux
		command -v ping                  iputils-ping
		command -v tshark                tshark
		command -v tcpdump               tcpdump
		/usr/bin/python3 -c "import scapy" python3-scapy
		/usr/bin/python3 -c "import cryptography" python3-cryptography
		command -v docker                docker
		command -v podman                podman
		command -v runc                  runc
		command -v newuidmap             uidmap
		command -v ovs-vswitchd          openvswitch-switch
		command -v dig                   bind9-dnsutils
	END
	if [ "$what" = bench ]; then
		cat <<-'END'
			command -v iperf3                iperf3
			command -v vde_switch            vde2
			command -v ethtool               ethtool
			command -v wg                    wireguard-tools
			command -v wireguard-go          wireguard-go
			command -v nebula                nebula
			command -v slirp4netns           slirp4netns
			command -v pasta                 passt
			command -v nft                   nftables
			command -v dnsperf               dnsperf
		END
	fi
}

missing() {
	needs | while read -r line; do
		package=${line##* }
		bash -c "${line% *}" >/dev/null 2>&1 || echo "$package"
	done
}

# Debian 13 has Docker's client alone, older ones only with the daemon.
docker_package() {
	if apt-cache show docker-cli >/dev/null 2>&1; then echo docker-cli; else echo docker.io; fi
}

install_packages() {
	[ -n "$(find /var/lib/apt/lists -name '*_Packages*' -mmin -1440 2>/dev/null | head -n 1)" ] || apt-get -qq update
	local packages
	packages=$(for p in $1; do [ "$p" = docker ] && docker_package || echo "$p"; done)
	# No service of a package is to be started: only programs are wanted.
	local policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
		trap "rm -f $policy" EXIT
	fi
	echo "setup: installing" $packages
	# shellcheck disable=SC2086
	DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install $packages >/dev/null
}

lacking=$(missing | tr '\n' ' ')
if [ -n "${lacking// /}" ]; then
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		install_packages "$lacking"
	else
		echo "setup: missing: ${lacking}(only root with apt-get can install them here; tests that need them will say so)"
	fi
fi

[ "$(id -u)" = 0 ] || exit 0

if ! id "$user" >/dev/null 2>&1; then
	echo "setup: adding the user $user"
	useradd --create-home --shell /bin/bash "$user"
fi
# Rootless Podman wants a range of its own.
grep -q "^$user:" /etc/subuid 2>/dev/null || usermod --add-subuids 231072-296607 --add-subgids 231072-296607 "$user"

if [ ! -e /dev/net/tun ]; then
	mkdir -p /dev/net
	mknod /dev/net/tun c 10 200 || echo "setup: no /dev/net/tun and no right to make it"
fi
if [ -e /dev/net/tun ] && [ "$(stat -c %a /dev/net/tun)" != 666 ]; then
	echo "setup: opening /dev/net/tun to everybody (mode 0666, as distributions do)"
	chmod 0666 /dev/net/tun
fi

for knob in kernel/unprivileged_userns_clone=1 kernel/apparmor_restrict_unprivileged_userns=0; do
	file=/proc/sys/${knob%=*}
	if [ -e "$file" ] && [ "$(cat "$file")" != "${knob#*=}" ]; then
		echo "setup: note: ${knob%=*} is $(cat "$file"): ordinary users cannot make namespaces here (sysctl -w ${knob/\//.} allows it)"
	fi
done
