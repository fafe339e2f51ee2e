# root: min
# timeout: 300
# sort of a file of 100 MB.
export LC_ALL=C
cd /tmp
awk 'BEGIN { x = 12345; for (i = 0; i < 9300000; i++) { x = (x * 1103515245 + 12345) % 2147483648; printf "%010d\n", x } }' >big
stat -c %s big
sort -T /tmp -S 20M big >sorted
sort -c sorted && echo in order
md5sum <sorted
sort -u -n sorted | wc -l
