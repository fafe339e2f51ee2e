# root: full
# timeout: 300
# gcc and make: compile, link, run, a parallel build of a small project with a generated part.
mkdir -p /tmp/project && cd /tmp/project
cat >hello.c <<'END'
#include <stdio.h>
#include <pthread.h>
static void *run(void *a) { printf("thread %ld\n", (long)a); return a; }
int main(int argc, char **argv) { pthread_t t; for (long i = 0; i < 3; i++) { pthread_create(&t, 0, run, (void *)i); pthread_join(t, 0); } printf("%d %s\n", argc, argv[1]); return 42; }
END
gcc -O2 -Wall -pthread -o hello hello.c && ./hello argument; echo "code $?"
gcc -static -o static hello.c && ./static x | tail -n 1
gcc -shared -fPIC -o libx.so -x c - <<<'int x(void) { return 7; }' && gcc -o uses -x c - -L. -lx -Wl,-rpath,. <<<'int x(void); int main() { return x(); }' && ./uses; echo "code $?"
gcc -c -x c - <<<'int main() { syntax error }' 2>/dev/null; echo "error $?"
for i in $(seq 1 24); do printf '#include "all.h"\nint f%d(int x) { return x * %d + (int)sizeof(struct s); }\n' $i $i >f$i.c; done
printf 'struct s { int a, b; };\n' >all.h
{ echo '#include <stdio.h>'; for i in $(seq 1 24); do echo "int f$i(int);"; done; echo 'int main(void) { int s = 0;'; for i in $(seq 1 24); do echo "s += f$i($i);"; done; echo 'printf("sum %d\n", s); return 0; }'; } >main.c
cat >Makefile <<'END'
OBJECTS := main.o $(patsubst %,f%.o,$(shell seq 1 24)) generated.o
program: $(OBJECTS)
	@gcc -o $@ $^
%.o: %.c all.h
	@gcc -O1 -c -o $@ $<
generated.c: all.h
	@(sleep 0.1; echo 'int generated = 1;') > $@
clean:
	rm -f *.o program generated.c
END
make -s -j2 && ./program
make -s -j2; touch f3.c; make -n | grep -c gcc; make -s -j2; make -s clean; ls *.o 2>/dev/null | wc -l
echo 'all: ; @exit 3' >fails.mk; make -f fails.mk 2>/dev/null; echo "make $?"
objdump --version | head -n 1 | cut -c1-11; nm hello | grep -c ' T main'; strip hello; ./hello y | tail -n 1; ar rcs lib.a 2>&1; ldd hello | grep -c libc
