# row: GNU hello's configure script
. /mnt/macro/lib.sh
cp -r /bench/src/hello /tmp/hello
cd /tmp/hello
timed ./configure FORCE_UNSAFE_CONFIGURE=1
[ -f Makefile ]
