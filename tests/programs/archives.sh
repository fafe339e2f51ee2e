# root: min
# timeout: 400
# tar round trip of /usr, gzip, xz where it is, checksums before and after.
export LC_ALL=C
mkdir -p /tmp/a && cd /tmp/a
tar -C / -cf usr.tar usr || echo tar $?
tar -tf usr.tar | wc -l
mkdir out && tar -C out -xf usr.tar
(cd / && find usr -type f | sort | xargs -d '\n' md5sum | md5sum)
(cd out && find usr -type f | sort | xargs -d '\n' md5sum | md5sum)
(cd / && find usr -mindepth 1 -printf '%P %y %m %s %l\n' | awk '$2 == "d" { $4 = 0 } { print }' | sort | md5sum)
(cd out && find usr -mindepth 1 -printf '%P %y %m %s %l\n' | awk '$2 == "d" { $4 = 0 } { print }' | sort | md5sum)
rm -rf out usr.tar
tar -C /usr/share -czf doc.tgz doc && tar -tzf doc.tgz | wc -l
gzip -dc doc.tgz | md5sum; rm doc.tgz
head -c 3000000 /dev/zero | tr '\0' 'x' | gzip -9 | gzip -d | wc -c
cp /bin/bash bash && gzip bash && ls && gunzip bash && cmp bash /bin/bash && echo round trip
command -v xz >/dev/null && { xz -0 bash && xz -d bash.xz && cmp bash /bin/bash && echo xz round trip; }
cpio --version 2>/dev/null | head -n 0; true
