# row: dd of 300 MiB in blocks of 1 MiB | cat | wc -c
. /mnt/macro/lib.sh
test_pipeline() { dd if=/dev/zero bs=1M count=300 | cat | wc -c; }
timed test_pipeline
grep -qx 314572800 /tmp/output
