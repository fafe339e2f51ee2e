# row: Lua built with gcc, make -j2
# quick: yes
. /mnt/macro/lib.sh
cp -r /bench/src/lua5.4/src /tmp/lua
timed make -s -C /tmp/lua -j2 posix CC='gcc -O1' CFLAGS='-DLUA_USE_POSIX'
[ "$(/tmp/lua/lua -e 'print(6*7)')" = 42 ]
