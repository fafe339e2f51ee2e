# root: min
# The package tools.
export LC_ALL=C
dpkg -l | wc -l
dpkg -l bash | tail -n 1
dpkg -S /bin/bash
dpkg -L bash | sort | head -n 5
dpkg-query -W -f '${Package} ${Version}\n' | sort | md5sum
apt-get --version | head -n 1
apt-config dump | grep -c APT
apt-cache policy bash 2>/dev/null | head -n 2
dpkg --print-architecture
dpkg --verify bash && echo verified
mkdir -p /tmp/p/DEBIAN /tmp/p/usr/share/p && printf 'Package: p\nVersion: 1\nArchitecture: all\nMaintainer: n <n@n>\nDescription: d\n' >/tmp/p/DEBIAN/control && echo data >/tmp/p/usr/share/p/file
dpkg-deb --build /tmp/p /tmp/p.deb >/dev/null && dpkg -i /tmp/p.deb 2>&1 | tail -n 2 && cat /usr/share/p/file && dpkg -r p 2>&1 | tail -n 1; ls /usr/share/p 2>&1
